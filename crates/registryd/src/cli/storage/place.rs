//! The stores that a command line names.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use oci_core::Registry;
use oci_core::registry::Limits;
use oci_core::runtime::ThreadPool;

use crate::assemble;
use crate::config::{self, Config, Filesystem, Loader, Sled, StorageDriver};

/// A store that was named and not opened yet.
#[derive(Clone, Debug)]
pub(super) struct Place {
    storage: config::Storage,
}

/// Whether a store may be made if it is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Missing {
    Make,
    Refuse,
}

/// A store that is open.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) registry: Registry,
    pub(super) pool: ThreadPool,
}

impl Place {
    /// A configuration file, to which no variables are applied, or `filesystem:DIRECTORY` or
    /// `sled:DIRECTORY`.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        Self::read(text, Loader::new)
    }

    /// The same, with the variables that `registryd serve` would apply to the file.
    pub(super) fn served(text: &str) -> anyhow::Result<Self> {
        Self::read(text, Loader::from_process)
    }

    fn read(text: &str, loader: impl FnOnce() -> Loader) -> anyhow::Result<Self> {
        let (kind, directory) = text.split_once(':').unwrap_or_default();
        let driver = match kind {
            "filesystem" | "sled" if directory.is_empty() => {
                bail!("`{text}` names no directory; write `{kind}:DIRECTORY`")
            }
            "filesystem" => StorageDriver::Filesystem(Filesystem {
                rootdirectory: PathBuf::from(directory),
                ..Filesystem::default()
            }),
            "sled" => StorageDriver::Sled(Sled {
                path: PathBuf::from(directory),
            }),
            "s3" | "gcs" | "azure" => bail!(
                "`{text}`: a bucket needs credentials; name a configuration file with `storage.{kind}`"
            ),
            _ if text == "inmemory" || kind == "inmemory" => return memory(text),
            _ => return Self::configured(loader().path(text)),
        };
        let mut storage = Config::default().storage;
        storage.driver = driver;
        Ok(Self { storage })
    }

    /// What `registryd serve` would use.
    pub(super) fn of_process() -> anyhow::Result<Self> {
        Self::configured(Loader::from_process())
    }

    fn configured(loader: Loader) -> anyhow::Result<Self> {
        let loaded = loader
            .load()
            .map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))?;
        let storage = loaded.config.storage;
        if storage.driver == (StorageDriver::InMemory {}) {
            return memory("storage.inmemory");
        }
        Ok(Self { storage })
    }

    /// The driver and where it keeps content.
    pub(super) fn driver(&self) -> &StorageDriver {
        &self.storage.driver
    }

    /// How long its collector leaves alone what somebody was told exists.
    pub(super) fn grace(&self) -> Duration {
        self.storage.gc.grace
    }

    /// Whether both are the same store, by whatever path.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |a: &Path, b: &Path| {
            let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
            a == b || matches!((real(a), real(b)), (Ok(a), Ok(b)) if a == b)
        };
        match (self.directory(), other.directory()) {
            (Some(a), Some(b)) => same(a, b),
            _ => self.storage.driver == other.storage.driver,
        }
    }

    pub(super) async fn open(&self, missing: Missing) -> anyhow::Result<Opened> {
        if let Some(directory) = self.directory()
            && missing == Missing::Refuse
            && !directory.is_dir()
        {
            bail!(
                "there is no directory {}; check the spelling, and that the volume is mounted",
                directory.display()
            );
        }
        let pool = assemble::storage::pool(&self.storage);
        let opened = assemble::storage::open(&self.storage, &pool).await;
        let (builder, _) = opened.with_context(|| format!("cannot open {self}"))?;
        let mut limits = Limits::default();
        // What another registry took in is not refused here.
        limits.manifest_size = 64 << 20;
        limits.references = usize::MAX;
        let registry = builder.limits(limits).pool(Arc::new(pool.clone())).build();
        Ok(Opened { registry, pool })
    }

    fn directory(&self) -> Option<&Path> {
        match &self.storage.driver {
            StorageDriver::Filesystem(filesystem) => Some(&filesystem.rootdirectory),
            StorageDriver::Sled(sled) => Some(&sled.path),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.storage.driver {
            StorageDriver::Filesystem(filesystem) => {
                write!(f, "filesystem:{}", filesystem.rootdirectory.display())
            }
            StorageDriver::Sled(sled) => write!(f, "sled:{}", sled.path.display()),
            _ => f.write_str("the configured store"),
        }
    }
}

fn memory(text: &str) -> anyhow::Result<Place> {
    bail!("`{text}` is another process's memory, which nobody can read; name a store on a disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        for text in ["filesystem:/var/lib/registry", "sled:db"] {
            assert_eq!(Place::parse(text).unwrap().to_string(), text);
        }
        for (text, says) in [
            ("inmemory", "memory"),
            ("inmemory:", "memory"),
            ("sled:", "sled:DIRECTORY"),
            ("filesystem:", "filesystem:DIRECTORY"),
            ("s3:bucket", "storage.s3"),
            ("no-such-file.yml", "no-such-file.yml"),
        ] {
            let error = Place::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn the_same_store_by_another_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let place = |text: String| Place::parse(&text).unwrap();
        let one = place(format!("filesystem:{path}"));
        assert!(one.is_same(&place(format!("filesystem:{path}/."))));
        assert!(one.is_same(&place(format!("sled:{path}"))));
        assert!(!one.is_same(&place(format!("filesystem:{path}/other"))));
        let file = directory.path().join("config.yml");
        let yaml = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {path}}}}}\nhttp: {{addr: ':5000'}}\n"
        );
        std::fs::write(&file, yaml).unwrap();
        assert!(one.is_same(&place(file.to_str().unwrap().to_owned())));
    }
}

//! The Debian image that every client pushes and pulls.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    bench::{lock, target_directory},
    clients::Skopeo,
    command::Invocation,
    machine::Machine,
};

/// Debian's essential packages: one layer of about 133 MiB.
#[derive(Debug)]
#[non_exhaustive]
pub struct DebianImage {
    /// The root file system, as clients that build images want it.
    pub root_tar: PathBuf,
    /// The same as an OCI image layout.
    pub layout: PathBuf,
    /// The manifest's digest in the layout.
    pub digest: String,
}

impl DebianImage {
    /// The image's tag in the layout.
    pub const TAG: &str = "bookworm";

    /// The image; the first test that asks for it builds it, which takes about a minute.
    ///
    /// # Errors
    /// When `mmdebstrap` is missing or cannot reach a Debian mirror.
    pub fn cached() -> Result<Self> {
        let cache = target_directory().join("e2e-cache");
        fs::create_dir_all(&cache)?;
        let _lock = lock(&cache.join("lock"))?;
        let image = cache.join("debian");
        if !image.exists() {
            let building = tempfile::Builder::new()
                .prefix("building-")
                .tempdir_in(&cache)?;
            build(building.path())?;
            fs::rename(building.keep(), &image)?;
        }
        let layout = image.join("layout");
        let digest = layout_digest(&layout, Self::TAG)?;
        Ok(Self {
            root_tar: image.join("root.tar"),
            layout,
            digest,
        })
    }

    /// How skopeo and umoci name the image.
    pub fn oci(&self) -> String {
        format!("oci:{}:{}", self.layout.display(), Self::TAG)
    }
}

/// The digest under a tag in an OCI image layout.
pub fn layout_digest(layout: &Path, tag: &str) -> Result<String> {
    let index = fs::read(layout.join("index.json"))
        .with_context(|| format!("read the index of {}", layout.display()))?;
    let index: serde_json::Value = serde_json::from_slice(&index)?;
    let manifests = index.get("manifests").and_then(|list| list.as_array());
    manifests
        .into_iter()
        .flatten()
        .find(|descriptor| {
            descriptor.pointer("/annotations/org.opencontainers.image.ref.name")
                == Some(&serde_json::Value::from(tag))
        })
        .and_then(|descriptor| descriptor.get("digest")?.as_str())
        .map(str::to_owned)
        .with_context(|| format!("{} has no tag `{tag}`", layout.display()))
}

fn build(directory: &Path) -> Result<()> {
    let tar = directory.join("root.tar");
    let temporary = directory.join("tmp");
    fs::create_dir(&temporary)?;
    Invocation::new("mmdebstrap")
        .args([
            "--variant=essential",
            "--mode=root",
            "--aptopt=Acquire::Retries \"3\"",
        ])
        .arg("bookworm")
        .arg(&tar)
        .env("TMPDIR", &temporary)
        .env("LANG", "C.UTF-8")
        .limit(Duration::from_secs(480))
        .succeed()
        .context("build the Debian image (it needs a Debian mirror)")?;
    let size = fs::metadata(&tar)?.len();
    ensure!(
        size > 100 << 20,
        "the Debian root file system has only {size} bytes"
    );
    let machine = Machine::new(directory)?;
    let layout = directory.join("layout");
    Skopeo::new(&machine).copy(
        &format!("tarball:{}", tar.display()),
        &format!("oci:{}:{}", layout.display(), DebianImage::TAG),
        &[],
    )?;
    let made = machine.path().to_owned();
    drop(machine);
    fs::remove_dir_all(made)?;
    fs::remove_dir_all(temporary)?;
    Ok(())
}

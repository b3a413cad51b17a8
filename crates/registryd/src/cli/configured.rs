//! What commands that work on the registry of a configuration file have in common.

use std::path::PathBuf;

use anyhow::bail;

use crate::cli::out;
use crate::config::{Loaded, Loader, Severity, StorageDriver};
use crate::telemetry;

/// The configuration at `path`, or the one that the process is told of otherwise. `None`, and the reason is
/// printed, if it cannot be used.
pub(super) fn load(path: Option<PathBuf>, strict: bool) -> Option<Loaded> {
    let mut loader = Loader::from_process().strict(strict);
    if let Some(path) = path {
        loader = loader.path(path);
    }
    match loader.load() {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            out::eprint(error);
            None
        }
    }
}

/// Opens the log that is configured, and says there what was found in the configuration.
pub(super) fn begin_log(loaded: &Loaded) {
    telemetry::init(&loaded.config.log);
    for diagnostic in loaded.diagnostics.iter() {
        if diagnostic.severity == Severity::Note {
            tracing::debug!("{}", diagnostic.unranked());
        } else {
            tracing::warn!("{}", diagnostic.unranked());
        }
    }
}

/// Refuses a store that is not there: only `serve` makes one, and a mistyped path is no empty registry.
pub(super) fn existing(driver: &StorageDriver) -> anyhow::Result<()> {
    match driver {
        StorageDriver::Filesystem(filesystem) => {
            let root = &filesystem.rootdirectory;
            if !root.join("docker/registry/v2/blobs").is_dir() {
                bail!(
                    "`storage.filesystem.rootdirectory`: there is no registry in `{}`; name the directory \
                     that holds `docker/registry/v2`",
                    root.display()
                );
            }
        }
        StorageDriver::Sled(sled) if !sled.path.is_dir() => {
            bail!(
                "`storage.sled.path`: there is no database in `{}`",
                sled.path.display()
            );
        }
        StorageDriver::InMemory {} => {
            bail!(
                "`storage.inmemory`: what is in the memory of another process cannot be reached; the server \
                 does it by itself, see `storage.gc` and `storage.retention`"
            );
        }
        _ => {}
    }
    Ok(())
}

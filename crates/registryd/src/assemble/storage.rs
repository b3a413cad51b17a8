//! The store that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use oci_core::Registry;
use oci_core::memory::MemoryStore;
use oci_core::registry::RegistryBuilder;
use oci_core::runtime::ThreadPool;
use oci_http::Redirects;
use oci_storage::filesystem::{Filesystem, Options};

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use super::bucket::Connected;
use crate::config::{self, Storage, StorageDriver};

/// The threads that work on the disk.
pub(crate) fn pool(storage: &Storage) -> ThreadPool {
    match &storage.driver {
        // More threads than these only queue in the kernel instead of here.
        StorageDriver::Filesystem(filesystem) => {
            ThreadPool::new(filesystem.maxthreads.clamp(1, 32) as usize)
        }
        _ => ThreadPool::default(),
    }
}

/// The driver by the name that Distribution gives it in metrics and health checks.
pub(super) fn driver(storage: &Storage) -> &'static str {
    match &storage.driver {
        StorageDriver::Filesystem(_) => "filesystem",
        StorageDriver::InMemory {} => "inmemory",
        StorageDriver::S3(_) => "s3aws",
        StorageDriver::Gcs(_) => "gcs",
        StorageDriver::Azure(_) => "azure",
        StorageDriver::Sled(_) => "sled",
    }
}

/// Whether and how downloads are sent to the bucket.
pub(super) fn redirects(storage: &Storage) -> Option<Redirects> {
    let is_bucket = matches!(
        storage.driver,
        StorageDriver::S3(_) | StorageDriver::Gcs(_) | StorageDriver::Azure(_)
    );
    if !is_bucket || storage.redirect.disable == Some(true) {
        return None;
    }
    let mut redirects = Redirects::default();
    redirects.ttl = storage.redirect.ttl.clamp(SHORTEST, LONGEST);
    Some(redirects)
}

/// An address must still be good when the client has followed it.
const SHORTEST: Duration = Duration::from_secs(10);
/// No service signs for longer.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// A registry on the store, and the store's place in words.
#[cfg_attr(
    not(any(feature = "s3", feature = "gcs", feature = "azure")),
    expect(
        clippy::unused_async,
        reason = "only buckets are asked before they are used"
    )
)]
pub(crate) async fn open(
    storage: &Storage,
    pool: &ThreadPool,
) -> anyhow::Result<(RegistryBuilder, String)> {
    match &storage.driver {
        StorageDriver::Filesystem(config) => filesystem(config, storage.gc.grace, pool),
        StorageDriver::InMemory {} => {
            tracing::warn!("`storage.inmemory`: everything is gone when this process ends");
            Ok((Registry::builder(MemoryStore::new()), "memory".to_owned()))
        }
        #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
        driver @ (StorageDriver::S3(_) | StorageDriver::Gcs(_) | StorageDriver::Azure(_)) => {
            Ok(bucket(driver, storage.gc.grace).await?.registry())
        }
        #[cfg(feature = "sled")]
        StorageDriver::Sled(config) => sled(config, storage.gc.grace, pool),
        #[cfg(not(all(
            any(feature = "s3", feature = "gcs", feature = "azure"),
            feature = "sled"
        )))]
        driver => Err(left_out(driver)),
    }
}

/// The bucket of a driver that has one, and the store in it.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(crate) async fn bucket(driver: &StorageDriver, grace: Duration) -> anyhow::Result<Connected> {
    match driver {
        #[cfg(feature = "s3")]
        StorageDriver::S3(config) => super::bucket::s3(config, grace).await,
        #[cfg(feature = "gcs")]
        StorageDriver::Gcs(config) => super::bucket::gcs(config, grace).await,
        #[cfg(feature = "azure")]
        StorageDriver::Azure(config) => super::bucket::azure(config, grace).await,
        #[cfg(not(feature = "s3"))]
        StorageDriver::S3(_) => Err(left_out(driver)),
        #[cfg(not(feature = "gcs"))]
        StorageDriver::Gcs(_) => Err(left_out(driver)),
        #[cfg(not(feature = "azure"))]
        StorageDriver::Azure(_) => Err(left_out(driver)),
        StorageDriver::Filesystem(_) | StorageDriver::InMemory {} | StorageDriver::Sled(_) => {
            anyhow::bail!("the configured store is not in a bucket")
        }
    }
}

/// A driver that was switched off when this binary was built.
#[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure", feature = "sled")))]
fn left_out(driver: &StorageDriver) -> anyhow::Error {
    let name = match driver {
        StorageDriver::S3(_) => "s3",
        StorageDriver::Gcs(_) => "gcs",
        StorageDriver::Azure(_) => "azure",
        StorageDriver::Sled(_) => "sled",
        StorageDriver::Filesystem(_) | StorageDriver::InMemory {} => "filesystem",
    };
    anyhow::anyhow!(
        "`storage.{name}`: this registryd was built without the cargo feature `{name}`: build it \
         with `--features {name}`"
    )
}

fn filesystem(
    config: &config::Filesystem,
    grace: Duration,
    pool: &ThreadPool,
) -> anyhow::Result<(RegistryBuilder, String)> {
    let root = &config.rootdirectory;
    let mut options = Options::default();
    options.pool = Arc::new(pool.clone());
    options.grace = grace;
    let store = Filesystem::open(root, options).map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        let hint = super::hints::denied(root, &error);
        anyhow::anyhow!("`storage.filesystem.rootdirectory`: {error}{cause}{hint}")
    })?;
    let (fate, others) = crate::mounts::fate(root);
    if let Some((what, fix)) = fate.problem(root, &others) {
        tracing::warn!("`storage.filesystem.rootdirectory`: {what}: {fix}");
    }
    Ok((Registry::builder(store), root.display().to_string()))
}

#[cfg(feature = "sled")]
fn sled(
    config: &config::Sled,
    grace: Duration,
    pool: &ThreadPool,
) -> anyhow::Result<(RegistryBuilder, String)> {
    use oci_storage::records::{PoolSpawn, RecordsOptions};
    use oci_storage::sled::{Sled, SledOptions};

    let mut options = SledOptions::default();
    options.pool = Arc::new(pool.clone());
    let store = Sled::open(&config.path, options).map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        anyhow::anyhow!("`storage.sled.path`: {error}{cause}")
    })?;
    let mut options = RecordsOptions::default();
    options.grace = grace;
    options.spawn = Arc::new(PoolSpawn::new(Arc::new(ThreadPool::new(4))));
    Ok((
        Registry::builder(store.into_records(options)),
        config.path.display().to_string(),
    ))
}

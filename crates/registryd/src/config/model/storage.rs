//! `storage`: what keeps the content, and what is done to it in the background.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::FILE_ROOT;
use crate::config::buckets::{Azure, Gcs, S3};
use crate::config::duration;

/// `storage`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Storage {
    /// The one storage driver; its key names it.
    #[serde(flatten)]
    pub driver: StorageDriver,
    /// Deletion of manifests and blobs.
    #[serde(default)]
    pub delete: Delete,
    /// Background work and read-only mode.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// Removal of what no manifest refers to.
    #[serde(default)]
    pub gc: Gc,
    /// Removal of tags.
    #[serde(default)]
    pub retention: Retention,
    /// Redirection of downloads to the store.
    #[serde(default)]
    pub redirect: Redirect,
    /// Accepted; has no effect.
    #[serde(default)]
    pub cache: Cache,
    /// Accepted; has no effect.
    #[serde(default)]
    pub tag: TagLookup,
}

/// The storage driver of [`Storage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StorageDriver {
    /// `storage.filesystem`
    Filesystem(Filesystem),
    /// `storage.inmemory`: everything is gone when the process ends.
    InMemory {},
    /// `storage.s3`
    S3(S3),
    /// `storage.gcs`
    Gcs(Gcs),
    /// `storage.azure`
    Azure(Azure),
    /// `storage.sled`: a database directory that one process has open.
    Sled(Sled),
}

/// `storage.filesystem`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Filesystem {
    /// The directory everything is kept under.
    pub rootdirectory: PathBuf,
    /// How many operations may use the disk at a time; at least 25.
    pub maxthreads: u32,
}

impl Default for Filesystem {
    fn default() -> Self {
        Self {
            rootdirectory: PathBuf::from(FILE_ROOT),
            maxthreads: 100,
        }
    }
}

/// `storage.sled`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Sled {
    /// The directory of the database.
    pub path: PathBuf,
}

impl Default for Sled {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/registry-sled"),
        }
    }
}

/// `storage.delete`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Delete {
    /// Whether clients may delete. Off where a configuration file does not say.
    pub enabled: bool,
}

/// `storage.maintenance`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Maintenance {
    /// Removal of abandoned upload sessions.
    pub uploadpurging: UploadPurging,
    /// Read-only mode.
    pub readonly: ReadOnly,
}

/// `storage.maintenance.uploadpurging`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UploadPurging {
    /// Whether abandoned upload sessions are removed.
    pub enabled: bool,
    /// How old a session must be; one week by default.
    #[serde(with = "duration")]
    pub age: Duration,
    /// How often to look; once a day by default.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Whether to log only what would be removed.
    pub dryrun: bool,
}

impl Default for UploadPurging {
    fn default() -> Self {
        Self {
            enabled: true,
            age: Duration::from_secs(7 * 24 * 3600),
            interval: Duration::from_secs(24 * 3600),
            dryrun: false,
        }
    }
}

/// `storage.maintenance.readonly`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ReadOnly {
    /// Whether every request that would change something is refused.
    pub enabled: bool,
}

/// `storage.gc`: collecting garbage in the background.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of the configuration"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Gc {
    /// Whether it is done at all.
    pub enabled: bool,
    /// The time from one run to the next; once a day by default.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// What is younger stays; one day by default. No run begins before the process is as old.
    #[serde(with = "duration")]
    pub grace: Duration,
    /// Whether manifests go that no tag leads to.
    pub untagged: bool,
    /// Whether to log only what would be removed.
    pub dryrun: bool,
    /// A run that would remove more than so many per cent of all bytes, and more than a GiB, removes
    /// nothing.
    pub maxshare: u8,
    /// Whether to collect also on file systems whose locks may not keep out other machines.
    pub anyfilesystem: bool,
}

impl Default for Gc {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: Duration::from_secs(24 * 3600),
            grace: Duration::from_secs(24 * 3600),
            untagged: false,
            dryrun: false,
            maxshare: 50,
            anyfilesystem: false,
        }
    }
}

/// `storage.retention`: which tags go by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Retention {
    /// Whether tags go at all.
    pub enabled: bool,
    /// Whether to log only what would go.
    pub dryrun: bool,
    /// The first whose repositories match decides; where none does, every tag stays.
    pub policies: Vec<RetentionPolicy>,
}

/// `storage.retention.policies[]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RetentionPolicy {
    /// Patterns of names: `*` is anything but a slash, `**` anything.
    pub repositories: Vec<String>,
    /// What any of these keeps stays, all other tags go. Without any, every tag stays.
    pub keeptags: Vec<KeepTags>,
}

/// `storage.retention.policies[].keeptags[]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct KeepTags {
    /// Regular expressions of whole tags; without any, it is about every tag.
    pub patterns: Vec<String>,
    /// So many stay of those pushed last.
    pub mostrecentlypushedcount: Option<u32>,
    /// What was pushed within this time stays.
    #[serde(with = "duration::optional")]
    pub pushedwithin: Option<Duration>,
}

/// `storage.redirect`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Redirect {
    /// Whether downloads always pass through the registry; `None` where it was not written. Only a bucket
    /// can be sent to. It is if a configuration file does not say, as in Distribution, and is not
    /// without a file.
    pub disable: Option<bool>,
    /// How long an address that a client is sent to is good; 20 minutes by default. Distribution has no
    /// such key.
    #[serde(with = "duration")]
    pub ttl: Duration,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            disable: None,
            ttl: Duration::from_secs(20 * 60),
        }
    }
}

/// `storage.cache`: accepted, has no effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Cache {
    /// The kind of the cache.
    pub blobdescriptor: Option<String>,
    /// Its number of entries.
    pub blobdescriptorsize: Option<i64>,
}

/// `storage.tag`: accepted, has no effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TagLookup {
    /// The number of concurrent tag look-ups.
    pub concurrencylimit: Option<i64>,
}

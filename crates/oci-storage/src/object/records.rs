//! Records as objects, changed by conditional writes.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{GetOptions, ObjectMeta, PutMode, PutOptions, PutResult, UpdateVersion};
use tokio::sync::{Mutex, MutexGuard};

use super::bucket::{Bucket, Tokens};
use super::failure::{Attempts, BucketError};
use super::probe::Verdict;
use crate::records::{Guarantees, RecordError, RecordStore, ScanEntry, Version, Versioned};

/// How long one operation on a record may take, repetitions included.
const DEADLINE: Duration = Duration::from_secs(30);

/// No record is larger: a manifest and a little more.
const LARGEST: u64 = 32 << 20;

/// Records in a [`Bucket`]: one object each.
///
/// Reading, writing and removing are one request each, and a scan one for every 1000 keys. Where the
/// service does not keep its word about conditional writes ([`Verdict::is_shared`]), this process makes up
/// for it with locks of its own and one more request per write, and must be the only one.
#[derive(Debug)]
pub struct ObjectRecords {
    bucket: Bucket,
    /// Where this process alone sees to it that writes are conditional.
    alone: Option<Locks>,
}

impl ObjectRecords {
    /// Records in `bucket`, written as `verdict` allows.
    pub fn new(bucket: Bucket, verdict: &Verdict) -> Self {
        Self {
            bucket,
            alone: verdict.turns(),
        }
    }

    async fn write(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError> {
        let path = self.bucket.path(key).map_err(unavailable)?;
        let lock = match &self.alone {
            Some(locks) => Some(locks.lock(key).await),
            None => None,
        };
        let mode = if lock.is_some() {
            let current = self.meta(key).await?;
            let current = current.map(|meta| self.version(meta.e_tag, meta.version));
            if current.transpose()?.as_ref() != expected {
                return Err(RecordError::Conflict);
            }
            PutMode::Overwrite
        } else {
            match expected {
                Some(version) => PutMode::Update(self.token(version)),
                None => PutMode::Create,
            }
        };
        let attempts = Arc::new(Attempts::default());
        let mut options = PutOptions::from(mode);
        options.extensions.insert(Arc::clone(&attempts));
        let objects = self.bucket.service().objects();
        match objects.put_opts(&path, value.into(), options).await {
            Ok(PutResult { e_tag, version, .. }) => self.version(e_tag, version),
            Err(error) => Err(attempts.judge(error)),
        }
    }

    async fn meta(&self, key: &str) -> Result<Option<ObjectMeta>, RecordError> {
        let path = self.bucket.path(key).map_err(unavailable)?;
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        match self
            .bucket
            .service()
            .objects()
            .get_opts(&path, options)
            .await
        {
            Ok(found) => Ok(Some(found.meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Versioned>, RecordError> {
        let path = self.bucket.path(key).map_err(unavailable)?;
        let objects = self.bucket.service().objects();
        let found = match objects.get_opts(&path, GetOptions::default()).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(unavailable(error)),
        };
        if found.meta.size > LARGEST {
            return Err(unavailable(format!(
                "{key} has {} bytes, more than any record: something else wrote it",
                found.meta.size
            )));
        }
        let version = self.version(found.meta.e_tag.clone(), found.meta.version.clone())?;
        let value = found.bytes().await.map_err(unavailable)?;
        Ok(Some(Versioned::new(value, version)))
    }

    fn version(
        &self,
        e_tag: Option<String>,
        generation: Option<String>,
    ) -> Result<Version, RecordError> {
        let token = match self.bucket.settings().tokens {
            Tokens::ETag => e_tag,
            Tokens::Generation => generation,
        };
        // The write happened, but nobody can say at what the key stands now.
        let missing = "the service does not say which version of the object this is";
        token
            .map(Version::new)
            .ok_or_else(|| RecordError::Ambiguous(missing.into()))
    }

    fn token(&self, version: &Version) -> UpdateVersion {
        let token = Some(version.as_str().to_owned());
        match self.bucket.settings().tokens {
            Tokens::ETag => UpdateVersion {
                e_tag: token,
                version: None,
            },
            Tokens::Generation => UpdateVersion {
                e_tag: None,
                version: token,
            },
        }
    }
}

#[async_trait]
impl RecordStore for ObjectRecords {
    fn guarantees(&self) -> Guarantees {
        self.bucket.guarantees(self.alone.is_none())
    }

    fn scans_cheaply(&self) -> bool {
        false
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, RecordError> {
        within(self.read(key))
            .await
            .unwrap_or_else(|| Err(unavailable(LATE)))
    }

    async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError> {
        within(self.write(key, value, expected))
            .await
            .unwrap_or_else(|| Err(RecordError::Ambiguous(LATE.into())))
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, RecordError> {
        let found = within(self.bucket.list(prefix, after, limit))
            .await
            .ok_or_else(|| unavailable(LATE))?;
        let entries = found.map_err(unavailable)?.into_iter();
        Ok(entries.map(|(key, _)| ScanEntry::key(key)).collect())
    }

    async fn purge(&self, key: &str) -> Result<(), RecordError> {
        super::extents::remove(&self.bucket, key)
            .await
            .map_err(unavailable)
    }
}

const LATE: &str = "no answer within 30 s";

async fn within<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(DEADLINE, work).await.ok()
}

fn unavailable(error: impl Into<oci_core::error::BoxError>) -> RecordError {
    RecordError::Unavailable(error.into())
}

impl From<BucketError> for RecordError {
    fn from(error: BucketError) -> Self {
        unavailable(error)
    }
}

/// Who writes which key in this process; several keys share a lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks(Arc<Stripes>);

#[derive(Debug)]
struct Stripes {
    stripes: [Mutex<()>; 64],
    hasher: RandomState,
}

impl Default for Stripes {
    fn default() -> Self {
        Self {
            stripes: std::array::from_fn(|_| Mutex::new(())),
            hasher: RandomState::new(),
        }
    }
}

impl Locks {
    async fn lock(&self, key: &str) -> Option<MutexGuard<'_, ()>> {
        let hash = self.0.hasher.hash_one(key);
        let stripe = usize::try_from(hash % 64).unwrap_or_default();
        match self.0.stripes.get(stripe) {
            Some(stripe) => Some(stripe.lock().await),
            None => None,
        }
    }
}

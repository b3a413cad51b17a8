//! A storage backend in one short file: the registry in a [`redb`] database.
//!
//! The engine [`Records`](oci_storage::records::Records) does uploads, paging and the protocol with the
//! collector. A backend brings two small traits: [`RecordStore`], values changed by compare-and-swap,
//! and [`ExtentStore`], bytes written once. `tests/examples/third_party_backend.rs` proves with one
//! line, `oci_core::store_contracts!`, that every contract of storage is kept.
//!
//! To change: `look` and `write` are all that runs transactions. For images of many gigabytes, keep
//! extents as files or objects and only records in the database.

use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use oci_core::runtime::{ThreadPool, run_blocking};
use oci_core::{BoxError, Digest, store::BlobStream};
use oci_storage::records::{ExtentError, ExtentInfo, ExtentStore, Guarantees, PartLimits};
use oci_storage::records::{RecordError, RecordStore, ScanEntry, Version, Versioned};
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

/// Records and extents by key, behind the second of Unix time at which they were written.
const ROWS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("rows");
type Rows = ReadOnlyTable<&'static str, (u64, &'static [u8])>;
type Done<T> = Result<T, BoxError>;

/// Records and extents in one database file. Clones share it.
#[derive(Clone, Debug)]
pub struct RedbStore {
    database: Arc<Database>,
    /// Transactions block, which the thread that polls requests must not.
    pool: ThreadPool,
}

impl RedbStore {
    /// Opens the database in the file `path`, or makes it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, redb::Error> {
        let database = Arc::new(Database::builder().set_cache_size(32 << 20).create(path)?);
        let first = database.begin_write()?;
        first.open_table(ROWS)?;
        first.commit()?;
        let pool = ThreadPool::new(8);
        Ok(Self { database, pool })
    }

    async fn look<T, F>(&self, key: &str, work: F) -> Done<T>
    where
        T: Send + 'static,
        F: FnOnce(Rows, &str) -> Done<T> + Send + 'static,
    {
        let (database, key) = (Arc::clone(&self.database), key.to_owned());
        let transaction = move || work(database.begin_read()?.open_table(ROWS)?, &key);
        run_blocking(&self.pool, transaction).await?
    }

    /// Writes or removes a row, if it stands where `allowed` wants it; whoever still waits for it.
    /// Once answered, it is on the disk.
    async fn write<F>(&self, key: &str, value: Option<Bytes>, allowed: F) -> Done<bool>
    where
        F: FnOnce(Option<Version>) -> bool + Send + 'static,
    {
        let (database, key) = (Arc::clone(&self.database), key.to_owned());
        let transaction = move || {
            let transaction = database.begin_write()?;
            let mut rows = transaction.open_table(ROWS)?;
            if !allowed(rows.get(&*key)?.map(|row| version(row.value().1))) {
                return Ok(false);
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
            match value {
                Some(value) => drop(rows.insert(&*key, (now, &*value))?),
                None => drop(rows.remove(&*key)?),
            }
            drop(rows);
            transaction.commit()?;
            Ok(true)
        };
        run_blocking(&self.pool, transaction).await?
    }
}

#[async_trait]
impl RecordStore for RedbStore {
    fn guarantees(&self) -> Guarantees {
        durable()
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, RecordError> {
        let get = |rows: Rows, key: &str| Ok(rows.get(key)?.map(|row| versioned(row.value().1)));
        self.look(key, get).await.map_err(RecordError::Unavailable)
    }

    async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError> {
        let (version, expected) = (version(&value), expected.cloned());
        match self.write(key, Some(value), move |is| is == expected).await {
            Ok(true) => Ok(version),
            Ok(false) => Err(RecordError::Conflict),
            // A commit that failed may still be on the disk.
            Err(error) => Err(RecordError::Ambiguous(error)),
        }
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, RecordError> {
        let entry = |key: &str, _, value: &[u8]| ScanEntry::with_value(key, versioned(value));
        let found = self.look(prefix, page(after, limit, entry)).await;
        found.map_err(RecordError::Unavailable)
    }

    async fn purge(&self, key: &str) -> Result<(), RecordError> {
        let purged = self.write(key, None, |_| true).await;
        purged.map(drop).map_err(RecordError::Unavailable)
    }
}

/// An extent has one part, which is the extent already; a large blob has many extents.
#[async_trait]
impl ExtentStore for RedbStore {
    fn guarantees(&self) -> Guarantees {
        durable()
    }

    fn part_limits(&self) -> PartLimits {
        PartLimits::new(1, 4 << 20, 1)
    }

    async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), ExtentError> {
        self.put_part(key, "", 0, pieces).await.map(drop)
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<BlobStream, ExtentError> {
        let cut = move |rows: Rows, key: &str| {
            let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
            let extent = rows.get(key)?;
            Ok(extent.and_then(|row| row.value().1.get(range).map(Bytes::copy_from_slice)))
        };
        let found = self.look(key, cut).await;
        let bytes = found.map_err(ExtentError::Unavailable)?;
        let bytes = bytes.ok_or(ExtentError::NotFound)?;
        Ok(Box::pin(stream::iter([Ok(bytes)])))
    }

    async fn delete(&self, key: &str) -> Result<(), ExtentError> {
        let deleted = self.write(key, None, |_| true).await;
        deleted.map(drop).map_err(ExtentError::Unavailable)
    }

    async fn begin_parts(&self, _: &str) -> Result<String, ExtentError> {
        Ok(String::new())
    }

    async fn put_part(
        &self,
        key: &str,
        _: &str,
        _: usize,
        pieces: Vec<Bytes>,
    ) -> Result<String, ExtentError> {
        let bytes = Bytes::from(pieces.concat());
        let part = version(&bytes).as_str().to_owned();
        let put = self.write(key, Some(bytes), |_| true).await;
        put.map(|_| part).map_err(ExtentError::Unavailable)
    }

    async fn finish_parts(&self, key: &str, _: &str, parts: &[String]) -> Result<(), ExtentError> {
        let changed = || ExtentError::Unavailable("the part was written again".into());
        match self.get(key).await {
            Ok(Some(part)) if parts == [part.version.as_str()] => Ok(()),
            Ok(Some(_)) => Err(changed()),
            Ok(None) => Err(ExtentError::NotFound),
            Err(error) => Err(ExtentError::Unavailable(error.into())),
        }
    }

    async fn abort_parts(&self, _: &str, _: &str) -> Result<(), ExtentError> {
        // An extent that no record names: the collector deletes it.
        Ok(())
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExtentInfo>, ExtentError> {
        let extent = |key: &str, written, bytes: &[u8]| {
            let written = UNIX_EPOCH + Duration::from_secs(written);
            ExtentInfo::new(key, bytes.len() as u64, written)
        };
        let found = self.look(prefix, page(after, limit, extent)).await;
        found.map_err(ExtentError::Unavailable)
    }
}

/// At most `limit` rows of a prefix, in the order of their bytes.
fn page<T>(
    after: Option<&str>,
    limit: usize,
    read: fn(&str, u64, &[u8]) -> T,
) -> impl FnOnce(Rows, &str) -> Done<Vec<T>> + use<T> {
    let after = after.map(str::to_owned);
    move |rows, prefix| {
        let after = after.as_deref().filter(|after| *after >= prefix);
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut page = Vec::new();
        for row in rows.range::<&str>((start, Bound::Unbounded))?.take(limit) {
            let (key, row) = row?;
            if !key.value().starts_with(prefix) {
                break;
            }
            page.push(read(key.value(), row.value().0, row.value().1));
        }
        Ok(page)
    }
}

fn durable() -> Guarantees {
    let mut guarantees = Guarantees::ALL;
    guarantees.shared = false;
    guarantees
}

fn versioned(value: &[u8]) -> Versioned {
    Versioned::new(Bytes::copy_from_slice(value), version(value))
}

/// The engine never writes the same value twice.
fn version(value: &[u8]) -> Version {
    Version::new(Digest::sha256(value).to_string())
}

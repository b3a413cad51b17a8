//! Stores that count what is asked of them.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use oci_core::store::BlobStream;
use oci_storage::records::{
    ExtentError, ExtentInfo, ExtentStore, Guarantees, PartLimits, RecordError, RecordStore,
    ScanEntry, Version, Versioned,
};

/// Shared by both stores.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Mutex<[u64; 6]>>);

/// The columns of the table.
#[derive(Clone, Copy)]
enum Kind {
    RecordGet,
    RecordPut,
    RecordScan,
    ExtentGet,
    ExtentPut,
    Other,
}

impl Counts {
    fn add(&self, kind: Kind) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(kind as usize) {
            *count += 1;
        }
    }

    /// What was counted since the last time.
    pub(crate) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).to_vec()
    }
}

#[derive(Debug)]
pub(crate) struct Counting<S> {
    store: S,
    counts: Counts,
}

impl<S> Counting<S> {
    pub(crate) fn new(store: S, counts: &Counts) -> Self {
        let counts = counts.clone();
        Self { store, counts }
    }
}

#[async_trait]
impl<S: RecordStore> RecordStore for Counting<S> {
    fn guarantees(&self) -> Guarantees {
        self.store.guarantees()
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, RecordError> {
        self.counts.add(Kind::RecordGet);
        self.store.get(key).await
    }

    async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError> {
        self.counts.add(Kind::RecordPut);
        self.store.put_if(key, value, expected).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, RecordError> {
        self.counts.add(Kind::RecordScan);
        self.store.scan(prefix, after, limit).await
    }

    async fn purge(&self, key: &str) -> Result<(), RecordError> {
        self.counts.add(Kind::Other);
        self.store.purge(key).await
    }
}

#[async_trait]
impl<S: ExtentStore> ExtentStore for Counting<S> {
    fn guarantees(&self) -> Guarantees {
        self.store.guarantees()
    }

    fn part_limits(&self) -> PartLimits {
        self.store.part_limits()
    }

    async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), ExtentError> {
        self.counts.add(Kind::ExtentPut);
        self.store.put(key, pieces).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<BlobStream, ExtentError> {
        self.counts.add(Kind::ExtentGet);
        self.store.read(key, range).await
    }

    async fn delete(&self, key: &str) -> Result<(), ExtentError> {
        self.counts.add(Kind::Other);
        self.store.delete(key).await
    }

    async fn begin_parts(&self, key: &str) -> Result<String, ExtentError> {
        self.counts.add(Kind::ExtentPut);
        self.store.begin_parts(key).await
    }

    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        index: usize,
        pieces: Vec<Bytes>,
    ) -> Result<String, ExtentError> {
        self.counts.add(Kind::ExtentPut);
        self.store.put_part(key, upload, index, pieces).await
    }

    async fn finish_parts(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
    ) -> Result<(), ExtentError> {
        self.counts.add(Kind::ExtentPut);
        self.store.finish_parts(key, upload, parts).await
    }

    async fn abort_parts(&self, key: &str, upload: &str) -> Result<(), ExtentError> {
        self.counts.add(Kind::Other);
        self.store.abort_parts(key, upload).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExtentInfo>, ExtentError> {
        self.counts.add(Kind::Other);
        self.store.list(prefix, after, limit).await
    }
}

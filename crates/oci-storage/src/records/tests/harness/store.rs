//! Calls to the stores, with what is done to them on their way.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use oci_core::Digest;
use oci_core::store::BlobStream;

use super::world::{Control, Fault};
use crate::records::extent::{ExtentError, ExtentInfo};
use crate::records::store::{RecordError, ScanEntry};
use crate::records::{
    ExtentStore, Guarantees, MemoryExtents, MemoryRecords, PartLimits, RecordStore, Version,
    Versioned,
};

#[derive(Debug)]
pub(crate) struct Meddled<S>(pub(crate) S, pub(crate) Arc<Control>);

impl<S> Meddled<S> {
    /// A call that nobody minds repeating.
    async fn meddle<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        error: impl Fn(Fault) -> E,
    ) -> Result<T, E> {
        let result = match self.1.step().await {
            None => call.await,
            Some(fault @ (Fault::Applied | Fault::Overtaken)) => {
                call.await?;
                Err(error(fault))
            }
            Some(fault) => Err(error(fault)),
        };
        self.1.give_way().await;
        result
    }
}

/// The same record with another nonce, as a writer that changes nothing would leave it.
fn written_again(value: &Bytes) -> Bytes {
    let mut value = value.to_vec();
    for byte in &mut value[12..28] {
        *byte = !*byte;
    }
    let checksum = Digest::sha256(&value[12..]);
    value[4..12].copy_from_slice(&checksum.as_bytes()[..8]);
    value.into()
}

fn record_fault(fault: Fault) -> RecordError {
    match fault {
        Fault::NoSpace => RecordError::NoSpace("full".into()),
        _ => RecordError::Unavailable("down".into()),
    }
}

fn extent_fault(fault: Fault) -> ExtentError {
    match fault {
        Fault::NoSpace => ExtentError::NoSpace("full".into()),
        _ => ExtentError::Unavailable("down".into()),
    }
}

#[async_trait]
impl RecordStore for Meddled<MemoryRecords> {
    fn guarantees(&self) -> Guarantees {
        Guarantees::ALL
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, RecordError> {
        self.meddle(self.0.get(key), record_fault).await
    }

    async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError> {
        if let Some(meanwhile) = self.1.overtaking(key) {
            self.0.put_if(key, value, expected).await?;
            meanwhile.await;
            return Err(RecordError::Ambiguous("no answer".into()));
        }
        let again = written_again(&value);
        let call = self.0.put_if(key, value, expected);
        let overtaken = AtomicBool::new(false);
        let written = self.meddle(call, |fault| match fault {
            Fault::Overtaken => {
                overtaken.store(true, Ordering::SeqCst);
                RecordError::Ambiguous("no answer".into())
            }
            Fault::Applied | Fault::Dropped => RecordError::Ambiguous("no answer".into()),
            other => record_fault(other),
        });
        let written = written.await;
        if overtaken.into_inner()
            && let Some(found) = self.0.get(key).await?
        {
            self.0.put_if(key, again, Some(&found.version)).await?;
        }
        written
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, RecordError> {
        let after = self.1.going_on(after);
        let call = self.0.scan(prefix, after, limit);
        let entries = self.meddle(call, record_fault).await?;
        // As object stores list: without values.
        Ok(entries
            .into_iter()
            .map(|entry| ScanEntry::key(entry.key))
            .collect())
    }

    async fn purge(&self, key: &str) -> Result<(), RecordError> {
        self.meddle(self.0.purge(key), record_fault).await
    }

    fn can_purge_if(&self) -> bool {
        self.0.can_purge_if()
    }

    async fn purge_if(&self, key: &str, expected: &Version) -> Result<bool, RecordError> {
        self.meddle(self.0.purge_if(key, expected), record_fault)
            .await
    }
}

#[async_trait]
impl ExtentStore for Meddled<MemoryExtents> {
    fn guarantees(&self) -> Guarantees {
        Guarantees::ALL
    }

    fn part_limits(&self) -> PartLimits {
        self.0.part_limits()
    }

    async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), ExtentError> {
        self.meddle(self.0.put(key, pieces), extent_fault).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<BlobStream, ExtentError> {
        self.1
            .read
            .fetch_add(range.end - range.start, Ordering::SeqCst);
        self.meddle(self.0.read(key, range), extent_fault).await
    }

    async fn delete(&self, key: &str) -> Result<(), ExtentError> {
        if let Some(late) = &self.1.late {
            late.lock().unwrap().push_back(key.to_owned());
            return Ok(());
        }
        self.meddle(self.0.delete(key), extent_fault).await
    }

    async fn begin_parts(&self, key: &str) -> Result<String, ExtentError> {
        self.meddle(self.0.begin_parts(key), extent_fault).await
    }

    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        index: usize,
        pieces: Vec<Bytes>,
    ) -> Result<String, ExtentError> {
        let call = self.0.put_part(key, upload, index, pieces);
        self.meddle(call, extent_fault).await
    }

    async fn finish_parts(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
    ) -> Result<(), ExtentError> {
        let call = self.0.finish_parts(key, upload, parts);
        self.meddle(call, extent_fault).await
    }

    async fn abort_parts(&self, key: &str, upload: &str) -> Result<(), ExtentError> {
        self.meddle(self.0.abort_parts(key, upload), extent_fault)
            .await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExtentInfo>, ExtentError> {
        let after = self.1.going_on(after);
        self.meddle(self.0.list(prefix, after, limit), extent_fault)
            .await
    }
}

//! The one writer of an upload session.
//!
//! Content is, in this order: finished extents; the parts of an unfinished one; tails, which are small
//! extents that wait until there are enough bytes for a part; and a buffer. A checkpoint turns the
//! buffer into a tail, or notes it in the record itself if it is small, and writes all that down.
//!
//! Parts of one unfinished extent are only ever written by one writer after another, each of which left
//! nothing unrecorded behind. Any other writer first finishes that extent with the parts recorded, so that
//! nobody can replace them, and begins one of its own.

use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use oci_core::RepositoryName;
use oci_core::digest::{Digest, Hasher, HasherState};
use oci_core::error::StoreError;
use oci_core::store::{
    AppendMode, BlobUpload, CommittedBlob, ContentStream, UploadId, UploadOptions, UploadScope,
};

use super::Engine;
use super::budget::Buffer;
use super::detach::to_the_end;
use super::encoding::Nonce;
use super::extent::ExtentError;
use super::model::{Extent, Fence, PartsRecord, SessionRecord};
use super::sessions::{Session, UploadLock};
use super::store::Version;

mod append;
mod checkpoint;
mod commit;

pub(super) struct Upload {
    engine: Arc<Engine>,
    id: UploadId,
    scope: UploadScope,
    lock: UploadLock,
    part_size: usize,
    /// Over all that was received.
    hasher: Hasher,

    extents: Vec<Extent>,
    parts: Option<PartsRecord>,
    tails: Vec<Extent>,
    buffer: Buffer,
    /// Parts that are being written, behind those in `parts`.
    in_flight: FuturesOrdered<BoxFuture<'static, Result<String, ExtentError>>>,

    /// The session's record as this writer last wrote or read it.
    stored: Option<Stored>,
    /// The digest, if it was named at the beginning.
    named: Option<Digest>,
    /// If extents are stored under that digest: its fence before the first was.
    keyed: Option<(Digest, Fence)>,
    /// How many bytes the last append brought.
    appended: u64,
    /// Whether `parts` may have another writer.
    borrowed: bool,
    /// Whether parts were written that the record does not have.
    dirty: bool,
    /// Extents that this writer made and the record does not name.
    unrecorded: Vec<String>,
    /// The same for extents in parts: key and upload.
    begun: Vec<(String, String)>,
    /// Whether it is unknown what the record names, so that nothing may be deleted.
    uncertain: bool,
    checkpointed_at: u64,
}

struct Stored {
    version: Version,
    nonce: Nonce,
    record: SessionRecord,
    body: Bytes,
}

impl Upload {
    pub(super) fn begin(
        engine: Arc<Engine>,
        scope: &UploadScope,
        options: &UploadOptions,
    ) -> Result<Self, StoreError> {
        let id = UploadId::from_random(engine.options.ids.random());
        let algorithm = options
            .expected
            .map_or(options.algorithm, |digest| digest.algorithm());
        let part_size = engine.part_size(options.length);
        let hasher = Hasher::new(algorithm);
        let mut upload = Self::new(engine, scope, id, hasher, part_size)?;
        upload.named = options.expected;
        Ok(upload)
    }

    pub(super) async fn open(
        engine: Arc<Engine>,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<Self, StoreError> {
        let Some(lock) = engine.options.locks.take(id) else {
            let offset = engine.session(scope, id).await?.record.offset;
            return Err(StoreError::Conflict { offset });
        };
        let session = engine.session(scope, id).await?;
        let Session {
            version,
            nonce,
            record,
            body,
        } = engine.reopen(id, session).await?;
        let hash_length = usize::try_from(record.hash_length).unwrap_or(usize::MAX);
        let (state, tail) = body.split_at_checked(hash_length).ok_or_else(unreadable)?;
        let hasher = HasherState::from_bytes(state)
            .and_then(|state| Hasher::restore(&state))
            .map_err(|error| StoreError::unavailable("restoring an upload", error))?;
        let part_size = match &record.parts {
            Some(parts) => usize::try_from(parts.part_size).unwrap_or(usize::MAX),
            None => engine.part_size_after(record.extents.last()),
        };
        let mut buffer = Buffer::default();
        if !tail.is_empty() {
            buffer.grow(tail.len(), engine.budget.take(tail.len()).await?);
            buffer.push(tail);
        }
        let clean = lock.left_clean() == Some(nonce);
        let mut upload = Self::with_lock(engine, scope, id.clone(), lock, hasher, part_size);
        upload.borrowed = record.parts.is_some() && !clean;
        upload.keyed = record.expected;
        upload.extents.clone_from(&record.extents);
        upload.parts.clone_from(&record.parts);
        upload.tails.clone_from(&record.tails);
        upload.buffer = buffer;
        upload.stored = Some(Stored {
            version,
            nonce,
            record,
            body,
        });
        Ok(upload)
    }

    fn new(
        engine: Arc<Engine>,
        scope: &UploadScope,
        id: UploadId,
        hasher: Hasher,
        part_size: usize,
    ) -> Result<Self, StoreError> {
        // The id is new, so the lock is free.
        let lock = engine.options.locks.take(&id);
        let lock = lock.ok_or(StoreError::Conflict { offset: 0 })?;
        Ok(Self::with_lock(engine, scope, id, lock, hasher, part_size))
    }

    fn with_lock(
        engine: Arc<Engine>,
        scope: &UploadScope,
        id: UploadId,
        lock: UploadLock,
        hasher: Hasher,
        part_size: usize,
    ) -> Self {
        let checkpointed_at = engine.now();
        Self {
            engine,
            id,
            scope: scope.clone(),
            lock,
            part_size,
            hasher,
            extents: Vec::new(),
            parts: None,
            tails: Vec::new(),
            buffer: Buffer::default(),
            in_flight: FuturesOrdered::new(),
            stored: None,
            named: None,
            keyed: None,
            appended: 0,
            borrowed: false,
            dirty: false,
            unrecorded: Vec::new(),
            begun: Vec::new(),
            uncertain: false,
            checkpointed_at,
        }
    }

    /// What to tell the client of a failure: that there is no such upload, if somebody has cancelled it.
    /// Who cancels deletes bytes that this writer may be about to read, and fences their content off.
    async fn unless_cancelled<T>(
        &mut self,
        outcome: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match outcome {
            Err(error @ StoreError::Unavailable { .. }) if self.stored.is_some() => {
                // If that cannot be told either, the first failure says more.
                let cancelled = self.engine.is_given_up(&self.id).await.unwrap_or(false);
                Err(if cancelled {
                    StoreError::NotFound
                } else {
                    error
                })
            }
            outcome => outcome,
        }
    }

    /// How many bytes, in tails and the buffer, wait for more to make a part.
    fn waiting(&self) -> usize {
        let tails: u64 = self.tails.iter().map(|tail| tail.length).sum();
        let tails = usize::try_from(tails).unwrap_or(usize::MAX);
        tails.saturating_add(self.buffer.len())
    }
}

#[async_trait]
impl BlobUpload for Upload {
    fn id(&self) -> &UploadId {
        &self.id
    }

    fn offset(&self) -> u64 {
        self.hasher.length()
    }

    async fn append(
        &mut self,
        content: ContentStream<'_>,
        mode: AppendMode,
    ) -> Result<u64, StoreError> {
        let before = self.offset();
        let taken = self.take_in(content, mode).await;
        self.appended = self.offset().saturating_sub(before);
        self.unless_cancelled(taken).await?;
        Ok(self.offset())
    }

    async fn checkpoint(&mut self) -> Result<u64, StoreError> {
        let saved = self.save().await;
        self.unless_cancelled(saved).await?;
        Ok(self.offset())
    }

    async fn commit(
        self: Box<Self>,
        expected: &Digest,
        repository: &RepositoryName,
    ) -> Result<CommittedBlob, StoreError> {
        let spawn = Arc::clone(&self.engine.options.spawn);
        to_the_end(spawn, self.finish(*expected, repository.clone())).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        let spawn = Arc::clone(&self.engine.options.spawn);
        to_the_end(spawn, async move {
            if self.stored.is_some() {
                // Over already is as good.
                self.engine.clone().abort(&self.id.clone()).await?;
            }
            Ok(())
        })
        .await
    }
}

impl Drop for Upload {
    /// Deletes what nobody knows of, and tells the next writer whether anything can still be on its way.
    fn drop(&mut self) {
        if let Some(stored) = &self.stored
            && !self.dirty
            && !self.uncertain
            && !self.borrowed
        {
            self.lock.leave_clean(stored.nonce);
        }
        let unrecorded = std::mem::take(&mut self.unrecorded);
        let begun = std::mem::take(&mut self.begun);
        if self.uncertain || (unrecorded.is_empty() && begun.is_empty()) {
            return;
        }
        let engine = Arc::clone(&self.engine);
        self.engine.options.spawn.spawn(Box::pin(async move {
            for (key, upload) in begun {
                let _ = engine.extents.abort_parts(&key, &upload).await;
                engine.forget(&key).await;
            }
            for key in unrecorded {
                engine.forget(&key).await;
            }
        }));
    }
}

impl Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("id", &self.id)
            .field("scope", &self.scope)
            .field("offset", &self.hasher.length())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// The size of all parts of an upload, in bytes.
    fn part_size(&self, length: Option<u64>) -> usize {
        let limits = self.extents.part_limits();
        // Fewer parts if it is known that there would be too many; beyond that, further extents.
        let needed = length.map_or(0, |length| length.div_ceil(limits.max_parts.max(1) as u64));
        let wanted = self
            .options
            .part_size
            .max(needed.min(self.options.buffer_bytes / PARTS_IN_MEMORY))
            .max(limits.min_size)
            .min(limits.max_size)
            .max(1);
        usize::try_from(wanted).unwrap_or(usize::MAX)
    }

    /// The size of the parts that follow `last`. An append of more than a part leaves an extent of its
    /// length, and clients send chunks of one length: parts that it is a multiple of leave no rest at the
    /// end of each, which would have to wait for the next in an object of its own.
    fn part_size_after(&self, last: Option<&Extent>) -> usize {
        let usual = self.part_size(None);
        let least = usize::try_from(self.extents.part_limits().min_size).unwrap_or(usize::MAX);
        let chunk = last.and_then(|extent| usize::try_from(extent.length).ok());
        chunk
            .and_then(|chunk| part_of(chunk, usual, least))
            .unwrap_or(usual)
    }
}

/// The size of parts that `chunk` is a multiple of: the `usual` one, or one between `least` and half as
/// much again as usual.
fn part_of(chunk: usize, usual: usize, least: usize) -> Option<usize> {
    if chunk.is_multiple_of(usual) {
        return Some(usual);
    }
    let most = usual.saturating_add(usual / 2);
    let mut pieces = chunk.div_ceil(most)..=chunk / least.max(1);
    let pieces = pieces.find(|pieces| chunk.is_multiple_of(*pieces))?;
    Some(chunk / pieces)
}

fn unreadable() -> StoreError {
    StoreError::unavailable("reading an upload", "its record is not as it should be")
}

/// An upload holds a part that is being filled and two that are being written. Larger parts than let it
/// do so would be stored in pieces.
const PARTS_IN_MEMORY: u64 = 4;

#[cfg(test)]
mod tests {
    use super::part_of;

    #[test]
    fn parts_fit_into_the_chunks_of_clients() {
        const MIB: usize = 1 << 20;
        let part = |chunk| part_of(chunk, 8 * MIB, 5 * MIB);
        for (chunk, expected) in [
            (10 * MIB, Some(10 * MIB)),
            (20 * MIB, Some(10 * MIB)),
            (25_000_000, Some(12_500_000)),
            (50 * MIB, Some(10 * MIB)),
            (1 << 30, Some(8 * MIB)),
            (64 * MIB, Some(8 * MIB)),
            (4 * MIB, None),
            // A prime.
            (15_485_863, None),
        ] {
            assert_eq!(part(chunk), expected, "{chunk}");
        }
    }
}

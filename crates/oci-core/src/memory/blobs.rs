//! The content plane in memory.

use std::time::Duration;

use async_trait::async_trait;

use super::{MemoryStore, Session};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::{ManifestReference, ReferenceKind};
use crate::name::RepositoryName;
use crate::store::{
    AppendMode, BlobMeta, BlobPayload, BlobRead, BlobStore, BlobUpload, Capabilities, Claim,
    CommittedBlob, ContentStream, Page, PageRequest, ReadRange, UploadId, UploadOptions,
    UploadScope, UploadStatus,
};

#[async_trait]
impl BlobStore for MemoryStore {
    async fn blobs(&self, page: &PageRequest) -> Result<Page<BlobMeta>, StoreError> {
        let state = self.lock();
        let past = state
            .blobs
            .iter()
            .filter(|(digest, _)| page.is_past(&digest.to_string()));
        let blobs = past.map(|(digest, content)| BlobMeta::new(*digest, content.len() as u64));
        Ok(Page::cut(blobs, page.limit))
    }

    async fn discard_damaged(&self, digest: &Digest) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let content = state.blobs.get(digest).ok_or(StoreError::NotFound)?;
        let damaged = Digest::of(digest.algorithm(), content) != *digest;
        if damaged {
            state.blobs.remove(digest);
        }
        Ok(damaged)
    }

    fn capabilities(&self) -> Capabilities {
        // Its bytes are at hand anyway, so nothing is ever read again to resume.
        Capabilities {
            resumes_without_reading: true,
            lists_content: true,
            ..Capabilities::default()
        }
    }

    async fn stat(&self, digest: &Digest) -> Result<BlobMeta, StoreError> {
        let state = self.lock();
        let content = state.blobs.get(digest).ok_or(StoreError::NotFound)?;
        Ok(BlobMeta::new(*digest, content.len() as u64))
    }

    async fn read(&self, digest: &Digest, range: ReadRange) -> Result<BlobRead, StoreError> {
        let content = self
            .lock()
            .blobs
            .get(digest)
            .cloned()
            .ok_or(StoreError::NotFound)?;
        let size = content.len() as u64;
        let range = range
            .resolve(size)
            .ok_or(StoreError::RangeNotSatisfiable { size })?;
        let ends = (usize::try_from(range.start), usize::try_from(range.end));
        let (Ok(start), Ok(end)) = ends else {
            return Err(StoreError::RangeNotSatisfiable { size });
        };
        Ok(BlobRead::new(
            size,
            range,
            BlobPayload::Bytes(content.slice(start..end)),
        ))
    }

    async fn begin_upload(
        &self,
        scope: &UploadScope,
        options: &UploadOptions,
    ) -> Result<Box<dyn BlobUpload>, StoreError> {
        let id = UploadId::from_random(self.ids.random());
        let upload = MemoryUpload {
            store: self.clone(),
            id,
            scope: scope.clone(),
            algorithm: options.algorithm,
            content: Vec::new(),
            recorded: false,
            keep_unacknowledged: false,
        };
        Ok(Box::new(upload))
    }

    async fn open_upload(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<Box<dyn BlobUpload>, StoreError> {
        let mut state = self.lock();
        let session = state
            .uploads
            .get_mut(id)
            .filter(|session| session.scope == *scope);
        let session = session.ok_or(StoreError::NotFound)?;
        if session.taken {
            return Err(StoreError::Conflict {
                offset: session.content.len() as u64,
            });
        }
        session.taken = true;
        Ok(Box::new(MemoryUpload {
            store: self.clone(),
            id: id.clone(),
            scope: scope.clone(),
            algorithm: session.algorithm,
            content: session.content.clone(),
            recorded: true,
            keep_unacknowledged: false,
        }))
    }

    async fn upload_status(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<UploadStatus, StoreError> {
        let state = self.lock();
        let session = state
            .uploads
            .get(id)
            .filter(|session| session.scope == *scope);
        let offset = session.ok_or(StoreError::NotFound)?.content.len() as u64;
        Ok(UploadStatus::new(id.clone(), offset))
    }

    async fn abort_upload(&self, scope: &UploadScope, id: &UploadId) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state
            .uploads
            .get(id)
            .is_some_and(|session| session.scope == *scope)
        {
            state.uploads.remove(id);
            Ok(())
        } else {
            Err(StoreError::NotFound)
        }
    }

    async fn sweep_uploads(&self, idle: Duration) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let mut state = self.lock();
        let before = state.uploads.len();
        state.uploads.retain(|_, session| {
            session.taken || now.duration_since(session.touched).unwrap_or_default() < idle
        });
        Ok((before - state.uploads.len()) as u64)
    }

    async fn count_uploads(
        &self,
        scope: Option<&UploadScope>,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let state = self.lock();
        let of_principal = |session: &&Session| {
            scope.is_none_or(|scope| scope.principal() == session.scope.principal())
        };
        Ok((state.uploads.values().filter(of_principal).count() as u64).min(limit))
    }

    async fn claim(
        &self,
        repository: &RepositoryName,
        blobs: &[ManifestReference],
    ) -> Result<Claim, StoreError> {
        // Nothing is ever collected here, so being present is all that there is to it.
        let state = self.lock();
        let visible = state.repositories.get(repository);
        let missing: Vec<_> = blobs
            .iter()
            .filter(|blob| {
                let linked =
                    visible.is_some_and(|repository| repository.blobs.contains(&blob.digest));
                let size = state
                    .blobs
                    .get(&blob.digest)
                    .map(|content| content.len() as u64);
                !linked || size != Some(blob.size) || blob.kind != ReferenceKind::Blob
            })
            .copied()
            .collect();
        if missing.is_empty() {
            Ok(Claim::noted())
        } else {
            Err(StoreError::MissingReferences(missing))
        }
    }
}

/// The writer works on a copy, which a checkpoint copies back.
#[derive(Debug)]
struct MemoryUpload {
    store: MemoryStore,
    id: UploadId,
    scope: UploadScope,
    algorithm: crate::digest::Algorithm,
    content: Vec<u8>,
    /// Whether others know the session.
    recorded: bool,
    /// Whether bytes since the last checkpoint count even if the writer is dropped.
    keep_unacknowledged: bool,
}

impl MemoryUpload {
    fn record(&mut self) -> Result<(), StoreError> {
        let mut state = self.store.lock();
        if self.recorded {
            let session = state
                .uploads
                .get_mut(&self.id)
                .ok_or(StoreError::NotFound)?;
            session.content.clone_from(&self.content);
            session.touched = self.store.clock.now();
        } else {
            let session = Session {
                scope: self.scope.clone(),
                algorithm: self.algorithm,
                content: self.content.clone(),
                taken: true,
                touched: self.store.clock.now(),
            };
            state.uploads.insert(self.id.clone(), session);
            self.recorded = true;
        }
        Ok(())
    }
}

#[async_trait]
impl BlobUpload for MemoryUpload {
    fn id(&self) -> &UploadId {
        &self.id
    }

    fn offset(&self) -> u64 {
        self.content.len() as u64
    }

    async fn append(
        &mut self,
        mut content: ContentStream<'_>,
        mode: AppendMode,
    ) -> Result<u64, StoreError> {
        self.keep_unacknowledged = mode == AppendMode::Progressive;
        while let Some(piece) = std::future::poll_fn(|cx| content.as_mut().poll_next(cx)).await {
            self.content
                .extend_from_slice(&piece.map_err(StoreError::Body)?);
        }
        Ok(self.offset())
    }

    async fn checkpoint(&mut self) -> Result<u64, StoreError> {
        self.record()?;
        Ok(self.offset())
    }

    async fn commit(
        mut self: Box<Self>,
        expected: &Digest,
        repository: &RepositoryName,
    ) -> Result<CommittedBlob, StoreError> {
        self.keep_unacknowledged = false;
        let actual = Digest::of(expected.algorithm(), &self.content);
        if actual != *expected {
            return Err(StoreError::DigestMismatch {
                expected: *expected,
                actual,
            });
        }
        let mut state = self.store.lock();
        if self.recorded && state.uploads.remove(&self.id).is_none() {
            // Somebody aborted it meanwhile.
            return Err(StoreError::NotFound);
        }
        let content = std::mem::take(&mut self.content);
        let blob = BlobMeta::new(*expected, content.len() as u64);
        state.blobs.insert(*expected, content.into());
        state
            .repositories
            .entry(repository.clone())
            .or_default()
            .blobs
            .insert(*expected);
        drop(state);
        Ok(CommittedBlob::new(blob, true))
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.store.lock().uploads.remove(&self.id);
        Ok(())
    }
}

impl Drop for MemoryUpload {
    fn drop(&mut self) {
        if self.keep_unacknowledged && self.recorded {
            // An error means that it was aborted: then there is nothing to keep.
            let _ = self.record();
        }
        if let Some(session) = self.store.lock().uploads.get_mut(&self.id) {
            session.taken = false;
        }
    }
}

//! The content plane.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use oci_core::error::StoreError;
use oci_core::manifest::{ManifestReference, ReferenceKind};
use oci_core::store::{
    BlobMeta, BlobRead, BlobStore, BlobUpload, Capabilities, Claim, CollectObserver,
    CollectOptions, Collected, Page, PageRequest, PresignOptions, PresignedRead, PresignedReads,
    ReadRange, UploadId, UploadOptions, UploadScope, UploadStatus,
};
use oci_core::{Digest, RepositoryName};

use super::Records;
use super::access::gather;
use super::content::Promise;
use super::detach::to_the_end;
use super::keys::{self, Key};
use super::model::BlobRecord;
use super::upload::Upload;

#[async_trait]
impl BlobStore for Records {
    fn capabilities(&self) -> Capabilities {
        let records = self.engine.records.guarantees();
        let extents = self.engine.extents.guarantees();
        let mut capabilities = Capabilities::default();
        capabilities.persistent = records.persistent && extents.persistent;
        capabilities.durable = records.durable && extents.durable;
        capabilities.several_processes = records.shared && extents.shared;
        capabilities.resumes_without_reading = true;
        capabilities.lists_content = true;
        capabilities.collects = self.engine.can_collect();
        capabilities
    }

    async fn stat(&self, digest: &Digest) -> Result<BlobMeta, StoreError> {
        let found = self.engine.get::<BlobRecord>(&Key::Blob(*digest)).await?;
        let there = found.header().filter(|blob| blob.life.is_there());
        let size = there.ok_or(StoreError::NotFound)?.size;
        Ok(BlobMeta::new(*digest, size))
    }

    async fn read(&self, digest: &Digest, range: ReadRange) -> Result<BlobRead, StoreError> {
        self.engine.open(digest, range).await
    }

    async fn begin_upload(
        &self,
        scope: &UploadScope,
        options: &UploadOptions,
    ) -> Result<Box<dyn BlobUpload>, StoreError> {
        Ok(Box::new(Upload::begin(
            Arc::clone(&self.engine),
            scope,
            options,
        )?))
    }

    async fn open_upload(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<Box<dyn BlobUpload>, StoreError> {
        Ok(Box::new(
            Upload::open(Arc::clone(&self.engine), scope, id).await?,
        ))
    }

    async fn upload_status(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<UploadStatus, StoreError> {
        let offset = self.engine.standing(scope, id).await?;
        Ok(UploadStatus::new(id.clone(), offset))
    }

    async fn abort_upload(&self, scope: &UploadScope, id: &UploadId) -> Result<(), StoreError> {
        let engine = Arc::clone(&self.engine);
        let (scope, id) = (scope.clone(), id.clone());
        to_the_end(Arc::clone(&self.engine.options.spawn), async move {
            engine.session(&scope, &id).await?;
            if engine.abort(&id).await? {
                Ok(())
            } else {
                Err(StoreError::NotFound)
            }
        })
        .await
    }

    async fn sweep_uploads(&self, idle: Duration) -> Result<u64, StoreError> {
        self.engine.sweep(idle).await
    }

    async fn count_uploads(
        &self,
        scope: Option<&UploadScope>,
        limit: u64,
    ) -> Result<u64, StoreError> {
        self.engine.count(scope, limit).await
    }

    async fn claim(
        &self,
        repository: &RepositoryName,
        blobs: &[ManifestReference],
    ) -> Result<Claim, StoreError> {
        let missing = self
            .engine
            .missing(repository, blobs, Promise::Told, |needed| {
                needed.kind == ReferenceKind::Blob
            });
        let missing = missing.await?;
        if missing.is_empty() {
            // The renewed dates keep them for the grace period.
            Ok(Claim::noted())
        } else {
            Err(StoreError::MissingReferences(missing))
        }
    }

    async fn collect(
        &self,
        options: &CollectOptions,
        observer: Arc<dyn CollectObserver>,
    ) -> Result<Collected, StoreError> {
        self.engine.collect(options, observer).await
    }

    async fn blobs(&self, page: &PageRequest) -> Result<Page<BlobMeta>, StoreError> {
        let pick = |found: Vec<(Key, BlobRecord)>| {
            let blobs = found.into_iter().filter_map(|(key, blob)| match key {
                Key::Blob(digest) if blob.life.is_there() => Some(BlobMeta::new(digest, blob.size)),
                _ => None,
            });
            std::future::ready(Ok(blobs.collect())).boxed()
        };
        self.engine.digests(keys::BLOBS, page, pick).await
    }

    async fn discard_damaged(&self, digest: &Digest) -> Result<bool, StoreError> {
        let engine = Arc::clone(&self.engine);
        let digest = *digest;
        to_the_end(Arc::clone(&self.engine.options.spawn), async move {
            engine.discard_damaged(&digest).await
        })
        .await
    }

    fn presigned(&self) -> Option<&dyn PresignedReads> {
        self.engine.extents.presigns().then_some(self)
    }
}

#[async_trait]
impl PresignedReads for Records {
    async fn presign(
        &self,
        digest: &Digest,
        options: &PresignOptions,
    ) -> Result<Option<PresignedRead>, StoreError> {
        let found = self.engine.get::<BlobRecord>(&Key::Blob(*digest)).await?;
        let there = found.header().filter(|blob| blob.life.is_there());
        let blob = there.ok_or(StoreError::NotFound)?;
        let size = blob.size;
        let range = options
            .range
            .resolve(size)
            .ok_or(StoreError::RangeNotSatisfiable { size })?;
        // What is inline has no extent, and what was taken over by another process may have several.
        let [extent] = blob.extents.as_slice() else {
            return Ok(None);
        };
        if size < options.at_least {
            return Ok(None);
        }
        let url = self
            .engine
            .extents
            .presign(&extent.key, &options.method, options.ttl)
            .await
            .map_err(|error| error.into_store("signing an address"))?;
        Ok(url.map(|url| PresignedRead::new(url, size, range)))
    }
}

impl super::Engine {
    /// Those of `needed` that are not there, or not `allowed`, after protecting the others.
    pub(super) async fn missing(
        self: &Arc<Self>,
        repository: &RepositoryName,
        needed: &[ManifestReference],
        promise: Promise,
        allowed: fn(&ManifestReference) -> bool,
    ) -> Result<Vec<ManifestReference>, StoreError> {
        let looks = needed.iter().map(|needed| {
            let (engine, repository, needed) = (Arc::clone(self), repository.clone(), *needed);
            async move {
                let there = allowed(&needed)
                    && engine
                        .protect_reference(&repository, &needed, promise)
                        .await?;
                Ok((!there).then_some(needed))
            }
        });
        Ok(gather(looks.collect())
            .await?
            .into_iter()
            .flatten()
            .collect())
    }
}

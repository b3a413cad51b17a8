//! The two traits, each method one hop to the blocking pool; common questions are answered at once if
//! they can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use oci_core::runtime::{BlockingPool, BlockingTask, run_blocking};
use oci_core::store::{
    BlobMeta, BlobRead, Capabilities, Claim, CollectObserver, CollectOptions, Collected, Page,
    PageRequest, PutManifest, ReadRange, StoredManifest, TagState, UploadId, UploadOptions,
    UploadScope, UploadStatus,
};
use oci_core::{
    BlobStore, BlobUpload, Descriptor, Digest, ManifestReference, ManifestStore, ReferenceKind,
    RepositoryName, StoreError, Tag,
};

use super::Filesystem;
use super::durable::Ticket;

#[async_trait]
impl BlobStore for Filesystem {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.persistent = true;
        capabilities.durable = self.inner.disk.is_durable();
        capabilities.several_processes = true;
        capabilities.resumes_without_reading = true;
        capabilities.collects = cfg!(target_os = "linux");
        capabilities.lists_content = true;
        capabilities
    }

    async fn stat(&self, digest: &Digest) -> Result<BlobMeta, StoreError> {
        if let Some(blob) = self.inner.stat_at_once(digest) {
            return Ok(blob);
        }
        let digest = *digest;
        self.run("looking for a blob", move |inner| inner.stat_blob(&digest))
            .await
    }

    async fn read(&self, digest: &Digest, range: ReadRange) -> Result<BlobRead, StoreError> {
        if let Some(blob) = self.inner.blob_at_once(digest, range) {
            return Ok(blob);
        }
        let digest = *digest;
        self.run("opening a blob", move |inner| {
            inner.read_blob(&digest, range)
        })
        .await
    }

    async fn begin_upload(
        &self,
        scope: &UploadScope,
        options: &UploadOptions,
    ) -> Result<Box<dyn BlobUpload>, StoreError> {
        Ok(Box::new(self.new_upload(scope, options)))
    }

    async fn open_upload(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<Box<dyn BlobUpload>, StoreError> {
        Ok(Box::new(self.resume_upload(scope, id).await?))
    }

    async fn upload_status(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<UploadStatus, StoreError> {
        // A writer of this process that was just dropped may still be recording how far it came.
        self.inner.sessions.settled(id).await;
        let (scope, id) = (scope.clone(), id.clone());
        self.run("looking for an upload", move |inner| {
            inner.upload_status(&scope, &id)
        })
        .await
    }

    async fn abort_upload(&self, scope: &UploadScope, id: &UploadId) -> Result<(), StoreError> {
        self.inner.sessions.settled(id).await;
        let (scope, id) = (scope.clone(), id.clone());
        let ticket = self
            .run("ending an upload", move |inner| {
                inner.abort_upload(&scope, &id)
            })
            .await?;
        wait("ending an upload", ticket).await
    }

    async fn sweep_uploads(&self, idle: Duration) -> Result<u64, StoreError> {
        self.run("sweeping idle uploads", move |inner| {
            inner.sweep_uploads(idle)
        })
        .await
    }

    async fn count_uploads(
        &self,
        scope: Option<&UploadScope>,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let scope = scope.cloned();
        self.run("counting uploads", move |inner| {
            inner.count_uploads(scope.as_ref(), limit)
        })
        .await
    }

    async fn claim(
        &self,
        repository: &RepositoryName,
        blobs: &[ManifestReference],
    ) -> Result<Claim, StoreError> {
        let (repository, blobs) = (repository.clone(), blobs.to_vec());
        let ticket = self
            .run("claiming blobs", move |inner| {
                inner.claim(&repository, &blobs)
            })
            .await?;
        wait("claiming blobs", ticket).await?;
        Ok(Claim::noted())
    }

    async fn collect(
        &self,
        options: &CollectOptions,
        observer: Arc<dyn CollectObserver>,
    ) -> Result<Collected, StoreError> {
        let options = options.clone();
        let unwanted = StopOnDrop::default();
        let stop = Arc::clone(&unwanted.0);
        let inner = Arc::clone(&self.inner);
        // Not on the pool: requests would have a thread less for as long as it takes, and of a pool of one
        // thread none.
        let done = run_blocking(&OwnThread, move || {
            inner.collect(&options, &*observer, &stop)
        });
        match done.await {
            Ok(collected) => collected.map_err(|failure| failure.in_context("collecting garbage")),
            Err(closed) => Err(StoreError::unavailable("collecting garbage", closed)),
        }
    }

    async fn blobs(&self, page: &PageRequest) -> Result<Page<BlobMeta>, StoreError> {
        let page = page.clone();
        self.run("listing content", move |inner| inner.all_blobs(&page))
            .await
    }

    async fn discard_damaged(&self, digest: &Digest) -> Result<bool, StoreError> {
        let digest = *digest;
        let discarded = self
            .run("reading content again", move |inner| {
                inner.discard_damaged(&digest)
            })
            .await?;
        match discarded {
            Some(ticket) => {
                wait("removing damaged content", ticket).await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

#[async_trait]
impl ManifestStore for Filesystem {
    fn checks_references(&self) -> bool {
        true
    }

    async fn resolve(&self, repository: &RepositoryName, tag: &Tag) -> Result<Digest, StoreError> {
        if let Some(digest) = self.inner.tag_at_once(repository, tag) {
            return Ok(digest);
        }
        let (repository, tag) = (repository.clone(), tag.clone());
        self.run("reading a tag", move |inner| {
            inner.tag_target(&repository, &tag)
        })
        .await
    }

    async fn read(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<StoredManifest, StoreError> {
        if let Some(manifest) = self.inner.manifest_at_once(repository, digest) {
            return Ok(manifest);
        }
        let (repository, digest) = (repository.clone(), *digest);
        self.run("reading a manifest", move |inner| {
            inner.read_manifest(&repository, &digest)
        })
        .await
    }

    async fn claim_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &StoredManifest,
    ) -> Result<(), StoreError> {
        if self.inner.is_young_at_once(repository, &manifest.digest) {
            return Ok(());
        }
        let size = manifest.bytes.len() as u64;
        let kind = ReferenceKind::Manifest;
        let needed = ManifestReference::new(kind, manifest.digest, size);
        let repository = repository.clone();
        let ticket = self
            .run("claiming a manifest", move |inner| {
                inner.claim_manifest(&repository, needed)
            })
            .await?;
        match ticket {
            Some(ticket) => wait("claiming a manifest", ticket).await,
            None => Ok(()),
        }
    }

    async fn put(&self, put: PutManifest<'_>) -> Result<(), StoreError> {
        self.put_manifest(put).await
    }

    async fn delete(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, StoreError> {
        let (repository, digest) = (repository.clone(), *digest);
        let (tags, ticket) = self
            .run("deleting a manifest", move |inner| {
                inner.delete_manifest(&repository, &digest)
            })
            .await?;
        wait("deleting a manifest", ticket).await?;
        Ok(tags)
    }

    async fn untag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Digest, StoreError> {
        let (repository, tag) = (repository.clone(), tag.clone());
        let (digest, ticket) = self
            .run("deleting a tag", move |inner| {
                inner.untag(&repository, &tag)
            })
            .await?;
        wait("deleting a tag", ticket).await?;
        Ok(digest)
    }

    async fn tag_state(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<TagState, StoreError> {
        let (repository, tag) = (repository.clone(), tag.clone());
        self.run("reading a tag", move |inner| {
            inner.tag_state(&repository, &tag)
        })
        .await
    }

    async fn untag_if(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        expected: &TagState,
    ) -> Result<(), StoreError> {
        let (repository, tag, expected) = (repository.clone(), tag.clone(), *expected);
        let ticket = self
            .run("deleting a tag", move |inner| {
                inner.untag_if(&repository, &tag, &expected)
            })
            .await?;
        wait("deleting a tag", ticket).await
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Tag>, StoreError> {
        let (repository, page) = (repository.clone(), page.clone());
        self.run("listing tags", move |inner| {
            inner.list_tags(&repository, &page)
        })
        .await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        page: &PageRequest,
    ) -> Result<Page<Descriptor>, StoreError> {
        let (repository, subject, page) = (repository.clone(), *subject, page.clone());
        self.run("listing referrers", move |inner| {
            inner.list_referrers(&repository, &subject, &page)
        })
        .await
    }

    async fn repositories(&self, page: &PageRequest) -> Result<Page<RepositoryName>, StoreError> {
        let page = page.clone();
        self.run("listing repositories", move |inner| {
            inner.list_repositories(&page)
        })
        .await
    }

    async fn link_blob(
        &self,
        repository: &RepositoryName,
        blob: &BlobMeta,
    ) -> Result<(), StoreError> {
        let (repository, blob) = (repository.clone(), *blob);
        let ticket = self
            .run("linking a blob", move |inner| {
                inner.link_blob(&repository, &blob)
            })
            .await?;
        wait("linking a blob", ticket).await
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Digest>, StoreError> {
        let (repository, page) = (repository.clone(), page.clone());
        self.run("listing manifests", move |inner| {
            inner.all_manifests(&repository, &page)
        })
        .await
    }

    async fn linked_blobs(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Digest>, StoreError> {
        let (repository, page) = (repository.clone(), page.clone());
        self.run("listing the blobs of a repository", move |inner| {
            inner.linked_blobs(&repository, &page)
        })
        .await
    }

    async fn has_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        if self.inner.has_blob_at_once(repository, digest) {
            return Ok(true);
        }
        let (repository, digest) = (repository.clone(), *digest);
        self.run("looking for a blob's link", move |inner| {
            inner.has_blob(&repository, &digest)
        })
        .await
    }

    async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let (repository, digest) = (repository.clone(), *digest);
        let ticket = self
            .run("unlinking a blob", move |inner| {
                inner.unlink_blob(&repository, &digest)
            })
            .await?;
        wait("unlinking a blob", ticket).await
    }
}

/// A thread for each task.
#[derive(Debug)]
struct OwnThread;

impl BlockingPool for OwnThread {
    fn execute(&self, task: BlockingTask) {
        let thread = std::thread::Builder::new().name("registry-collector".to_owned());
        // Without a thread the task is dropped, which who waits for it sees.
        let _ = thread.spawn(task);
    }
}

/// Tells work on the blocking pool that nobody waits for it any more.
#[derive(Debug, Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until a change is on the disk.
pub(super) async fn wait(context: &'static str, ticket: Ticket) -> Result<(), StoreError> {
    ticket
        .wait()
        .await
        .map_err(|error| StoreError::from_io(context, error))
}

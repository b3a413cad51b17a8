//! Blob uploads and mounts.

use std::time::Duration;

use futures_core::Stream;

use super::{RETRY_AFTER, Registry, or, scope};
use crate::auth::Identity;
use crate::digest::Digest;
use crate::error::{ErrorCode, RegistryError, StoreError};
use crate::hooks::{Event, Operation, StoreCall};
use crate::manifest::{ManifestReference, ReferenceKind};
use crate::name::RepositoryName;
use crate::store::{
    AppendMode, BlobMeta, BlobUpload, ContentStream, UploadId, UploadOptions, UploadStatus,
};

/// Where a mounted blob may come from.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MountSource {
    /// From anywhere: the caller may pull every repository.
    Anywhere,
    /// From this repository, which the caller may pull.
    Repository(RepositoryName),
}

impl Registry {
    /// Begins an upload session.
    ///
    /// # Errors
    /// `TOOMANYREQUESTS` if too many sessions are open.
    pub async fn begin_upload(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        options: &UploadOptions,
    ) -> Result<UploadStatus, RegistryError> {
        let mut upload = self.new_upload(identity, repository, options).await?;
        let offset = upload
            .checkpoint()
            .await
            .map_err(or(ErrorCode::BlobUploadUnknown))?;
        Ok(UploadStatus::new(upload.id().clone(), offset))
    }

    /// Where an upload stands.
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`.
    pub async fn upload_status(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<UploadStatus, RegistryError> {
        let scope = scope(identity, repository);
        self.inner
            .blobs
            .upload_status(&scope, id)
            .await
            .map_err(or(ErrorCode::BlobUploadUnknown))
    }

    /// Appends to an upload and makes that durable. `start` is where the client believes the upload to
    /// stand; `None` takes its word for it that it stands where it does.
    ///
    /// `content` is not polled before everything that can be checked without it was checked.
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`; `RANGE_INVALID` with the true offset if `start` is wrong or another writer
    /// is at work; `BLOB_UPLOAD_INVALID` with the offset kept if `content` broke off.
    pub async fn append_upload(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        id: &UploadId,
        start: Option<u64>,
        content: ContentStream<'_>,
    ) -> Result<UploadStatus, RegistryError> {
        let unknown = or(ErrorCode::BlobUploadUnknown);
        self.check_writable()?;
        let mut upload = self.open_upload(identity, repository, id, start).await?;
        let appended = upload.append(content, AppendMode::Progressive);
        let appended = self.timed(StoreCall::AppendUpload, appended).await;
        if matches!(appended, Ok(_) | Err(StoreError::Body(_))) {
            let offset = upload.checkpoint().await.map_err(&unknown)?;
            appended.map_err(|error| unknown(error).with_upload_offset(offset))?;
            Ok(UploadStatus::new(id.clone(), offset))
        } else {
            appended.map_err(unknown)?;
            Ok(UploadStatus::new(id.clone(), upload.offset()))
        }
    }

    /// Appends the last bytes, if any, and turns the upload into a blob of `repository`.
    ///
    /// A replay after success, when the session is gone but the blob is there, succeeds again.
    ///
    /// # Errors
    /// As [`Registry::append_upload`], and `DIGEST_INVALID`. After an error the upload stands where it
    /// did before this call.
    pub async fn finish_upload(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        id: &UploadId,
        start: Option<u64>,
        digest: &Digest,
        content: ContentStream<'_>,
    ) -> Result<BlobMeta, RegistryError> {
        self.check_writable()?;
        let mut upload = match self.open_upload(identity, repository, id, start).await {
            Ok(upload) => upload,
            Err(error) if error.code() == ErrorCode::BlobUploadUnknown => {
                let finished = self
                    .stat_blob(repository, digest, super::Intent::Push)
                    .await;
                let Ok(blob) = finished else {
                    return Err(error);
                };
                // Whoever finished it may still be bringing it to the disk, or may have failed to.
                let linked = self.inner.manifests.link_blob(repository, &blob).await;
                linked.map_err(or(ErrorCode::BlobUploadUnknown))?;
                return Ok(blob);
            }
            Err(error) => return Err(error),
        };
        let before = upload.offset();
        let kept = |error| or(ErrorCode::BlobUploadUnknown)(error).with_upload_offset(before);
        let appended = upload.append(content, AppendMode::Atomic);
        self.timed(StoreCall::AppendUpload, appended)
            .await
            .map_err(kept)?;
        self.commit(identity, repository, digest, upload)
            .await
            .map_err(|error| error.with_upload_offset(before))
    }

    /// Pushes a blob in one go, without a session that anybody could resume.
    ///
    /// # Errors
    /// `DIGEST_INVALID`; `BLOB_UPLOAD_INVALID` if `content` broke off. Nothing is left behind.
    pub async fn push_blob(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        digest: &Digest,
        content: ContentStream<'_>,
    ) -> Result<BlobMeta, RegistryError> {
        let mut upload = self
            .new_upload(identity, repository, &UploadOptions::expecting(*digest))
            .await?;
        let appended = upload.append(content, AppendMode::Atomic);
        self.timed(StoreCall::AppendUpload, appended)
            .await
            .map_err(or(ErrorCode::BlobUploadUnknown))?;
        self.commit(identity, repository, digest, upload).await
    }

    /// Ends an upload and drops its bytes.
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`.
    pub async fn cancel_upload(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> Result<(), RegistryError> {
        let scope = scope(identity, repository);
        self.inner
            .blobs
            .abort_upload(&scope, id)
            .await
            .map_err(or(ErrorCode::BlobUploadUnknown))
    }

    /// Makes a blob of another repository visible in `repository`, without moving bytes. `None` if it
    /// is not there: the client then uploads.
    pub async fn mount_blob(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        digest: &Digest,
        source: &MountSource,
    ) -> Result<Option<BlobMeta>, RegistryError> {
        self.check_writable()?;
        let unknown = or(ErrorCode::BlobUnknown);
        let found = match source {
            MountSource::Anywhere => true,
            MountSource::Repository(from) => {
                let manifests = &self.inner.manifests;
                manifests.has_blob(from, digest).await.map_err(&unknown)?
                    || manifests
                        .has_blob(repository, digest)
                        .await
                        .map_err(&unknown)?
            }
        };
        if !found {
            return Ok(None);
        }
        let blob = match self.inner.blobs.stat(digest).await {
            Ok(blob) => blob,
            Err(StoreError::NotFound) => return Ok(None),
            Err(error) => return Err(unknown(error)),
        };
        let operation = Operation::MountBlob { repository, digest };
        self.inner.hooks.before(identity, &operation).await?;
        match self.inner.manifests.link_blob(repository, &blob).await {
            Ok(()) => {}
            Err(StoreError::NotFound) => return Ok(None),
            Err(error) => return Err(unknown(error)),
        }
        // From here the membership protects the blob like one just pushed; the claim closes the gap for
        // stores whose planes do not know each other.
        let reference = ManifestReference::new(ReferenceKind::Blob, *digest, blob.size);
        match self.inner.blobs.claim(repository, &[reference]).await {
            Ok(claim) => drop(claim),
            Err(StoreError::MissingReferences(_)) => return Ok(None),
            Err(error) => return Err(unknown(error)),
        }
        let from = match source {
            MountSource::Anywhere => None,
            MountSource::Repository(from) => Some(from.clone()),
        };
        self.emit(
            identity,
            &Event::BlobMounted {
                repository: repository.clone(),
                digest: *digest,
                from,
            },
        );
        Ok(Some(blob))
    }

    /// Ends every upload that nobody wrote to for `idle`; returns how many.
    pub async fn sweep_uploads(&self, idle: Duration) -> Result<u64, RegistryError> {
        self.inner
            .blobs
            .sweep_uploads(idle)
            .await
            .map_err(or(ErrorCode::BlobUploadUnknown))
    }

    /// Background work, driven by the host: at every tick, idle uploads are ended. Ends with `ticks`.
    ///
    /// A failed sweep is left for the next tick.
    #[must_use = "maintenance only happens while this future is polled"]
    pub fn maintenance<T: Stream<Item = ()> + Send>(
        &self,
        ticks: T,
        idle: Duration,
    ) -> impl Future<Output = ()> + Send + use<T> {
        let registry = self.clone();
        async move {
            let mut ticks = std::pin::pin!(ticks);
            while std::future::poll_fn(|cx| ticks.as_mut().poll_next(cx))
                .await
                .is_some()
            {
                let _ = registry.sweep_uploads(idle).await;
            }
        }
    }

    async fn new_upload(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        options: &UploadOptions,
    ) -> Result<Box<dyn BlobUpload>, RegistryError> {
        self.check_writable()?;
        let scope = scope(identity, repository);
        let limits = &self.inner.limits;
        // Everybody anonymous looks the same: only the limit for all can apply.
        let own =
            (!identity.is_anonymous()).then_some((Some(&scope), limits.uploads_per_principal));
        for (whose, limit) in own.into_iter().chain([(None, limits.uploads)]) {
            let open = self.inner.blobs.count_uploads(whose, limit).await;
            if open.map_err(or(ErrorCode::BlobUploadUnknown))? >= limit {
                return Err(RegistryError::new(
                    ErrorCode::TooManyRequests,
                    format!("{limit} uploads are open; finish or cancel some, or wait for them to expire"),
                )
                .with_retry_after(RETRY_AFTER));
            }
        }
        let begun = self.inner.blobs.begin_upload(&scope, options);
        let begun = self.timed(StoreCall::BeginUpload, begun);
        begun.await.map_err(or(ErrorCode::BlobUploadUnknown))
    }

    async fn open_upload(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        id: &UploadId,
        start: Option<u64>,
    ) -> Result<Box<dyn BlobUpload>, RegistryError> {
        let scope = scope(identity, repository);
        let upload = self.inner.blobs.open_upload(&scope, id).await;
        let upload = upload.map_err(or(ErrorCode::BlobUploadUnknown))?;
        let offset = upload.offset();
        match start {
            Some(start) if start != offset => Err(RegistryError::new(
                ErrorCode::RangeInvalid,
                format!(
                    "the upload stands at {offset} bytes, so the next byte is {offset}, not {start}"
                ),
            )
            .with_upload_offset(offset)),
            _ => Ok(upload),
        }
    }

    async fn commit(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        digest: &Digest,
        upload: Box<dyn BlobUpload>,
    ) -> Result<BlobMeta, RegistryError> {
        let operation = Operation::CommitBlob {
            repository,
            digest,
            size: upload.offset(),
        };
        self.inner.hooks.before(identity, &operation).await?;
        let unknown = or(ErrorCode::BlobUploadUnknown);
        let committed = upload.commit(digest, repository);
        let committed = self
            .timed(StoreCall::CommitUpload, committed)
            .await
            .map_err(&unknown)?;
        if !committed.linked {
            self.inner
                .manifests
                .link_blob(repository, &committed.blob)
                .await
                .map_err(unknown)?;
        }
        let blob = committed.blob;
        let event = Event::BlobPushed {
            repository: repository.clone(),
            digest: blob.digest,
            size: blob.size,
        };
        self.emit(identity, &event);
        Ok(blob)
    }
}

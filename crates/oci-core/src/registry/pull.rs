//! Reading: blobs and manifests.

use super::{Registry, or};
use crate::auth::Identity;
use crate::digest::Digest;
use crate::error::{ErrorCode, RegistryError, StoreError};
use crate::hooks::{Event, StoreCall};
use crate::manifest::{ManifestReference, ReferenceKind};
use crate::name::{Reference, RepositoryName};
use crate::store::{BlobMeta, BlobRead, PresignOptions, PresignedRead, ReadRange, StoredManifest};

/// Why somebody asks whether a blob exists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Intent {
    /// To read it. Writes nothing.
    Pull,
    /// To leave out its upload. The answer "yes" is then a promise: the blob is kept from the
    /// collector for its grace period.
    Push,
}

impl Registry {
    /// Size of a blob that is visible in `repository`.
    ///
    /// # Errors
    /// `BLOB_UNKNOWN` if it is not, even if another repository has it.
    pub async fn stat_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        intent: Intent,
    ) -> Result<BlobMeta, RegistryError> {
        let unknown = or(ErrorCode::BlobUnknown);
        self.check_visible(repository, digest).await?;
        let meta = self.inner.blobs.stat(digest);
        let meta = self
            .timed(StoreCall::StatBlob, meta)
            .await
            .map_err(&unknown)?;
        if intent == Intent::Push {
            let blob = ManifestReference::new(ReferenceKind::Blob, *digest, meta.size);
            match self.inner.blobs.claim(repository, &[blob]).await {
                Ok(claim) => drop(claim),
                // Collected between the two calls: the pusher must upload it.
                Err(StoreError::MissingReferences(_)) => return Err(unknown(StoreError::NotFound)),
                Err(error) => return Err(unknown(error)),
            }
        }
        Ok(meta)
    }

    /// Opens a blob that is visible in `repository`.
    ///
    /// # Errors
    /// `BLOB_UNKNOWN`, and `RANGE_INVALID` for a range outside the blob.
    pub async fn read_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        range: ReadRange,
    ) -> Result<BlobRead, RegistryError> {
        self.check_visible(repository, digest).await?;
        let read = self.inner.blobs.read(digest, range);
        self.timed(StoreCall::ReadBlob, read)
            .await
            .map_err(or(ErrorCode::BlobUnknown))
    }

    /// An address under which a blob that is visible in `repository` can be read from the store itself.
    /// `None` if it is to be read here.
    ///
    /// # Errors
    /// `BLOB_UNKNOWN`, and `RANGE_INVALID` for a range outside the blob.
    pub async fn presign_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        options: &PresignOptions,
    ) -> Result<Option<PresignedRead>, RegistryError> {
        let Some(store) = self.inner.blobs.presigned() else {
            return Ok(None);
        };
        self.check_visible(repository, digest).await?;
        let presigned = store.presign(digest, options);
        self.timed(StoreCall::ReadBlob, presigned)
            .await
            .map_err(or(ErrorCode::BlobUnknown))
    }

    /// Reads a manifest by tag or digest.
    ///
    /// # Errors
    /// `MANIFEST_UNKNOWN` if it is not in this repository.
    pub async fn manifest(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<StoredManifest, RegistryError> {
        let unknown = or(ErrorCode::ManifestUnknown);
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => {
                let resolved = self.inner.manifests.resolve(repository, tag);
                self.timed(StoreCall::ResolveTag, resolved)
                    .await
                    .map_err(&unknown)?
            }
        };
        let manifest = self.inner.manifests.read(repository, &digest);
        let manifest = self
            .timed(StoreCall::ReadManifest, manifest)
            .await
            .map_err(unknown)?;
        self.emit(
            identity,
            &Event::ManifestPulled {
                repository: repository.clone(),
                digest,
                reference: reference.clone(),
            },
        );
        Ok(manifest)
    }

    /// Makes the answer that a manifest is there a promise, for somebody who may push: it is kept from the
    /// collector for its grace period, and an index of it can be pushed meanwhile.
    ///
    /// # Errors
    /// `MANIFEST_UNKNOWN` if it was collected since it was read.
    pub async fn claim_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &StoredManifest,
    ) -> Result<(), RegistryError> {
        let claimed = self.inner.manifests.claim_manifest(repository, manifest);
        claimed.await.map_err(or(ErrorCode::ManifestUnknown))
    }

    pub(super) async fn check_visible(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let unknown = or(ErrorCode::BlobUnknown);
        if self
            .inner
            .manifests
            .has_blob(repository, digest)
            .await
            .map_err(&unknown)?
        {
            Ok(())
        } else {
            Err(unknown(StoreError::NotFound))
        }
    }
}

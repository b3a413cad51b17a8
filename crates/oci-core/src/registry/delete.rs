//! Deleting manifests, tags and blobs.

use super::{Registry, or};
use crate::auth::Identity;
use crate::digest::Digest;
use crate::error::{ErrorCode, RegistryError, StoreError};
use crate::hooks::{Event, Operation, StoreCall};
use crate::name::{Reference, RepositoryName, Tag};
use crate::store::TagState;

impl Registry {
    /// Deletes a manifest with all its tags, or only a tag, as `reference` says.
    ///
    /// # Errors
    /// `MANIFEST_UNKNOWN`; `UNSUPPORTED` if deletes are off.
    pub async fn delete_manifest(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(), RegistryError> {
        self.check_deletable()?;
        let unknown = or(ErrorCode::ManifestUnknown);
        self.inner
            .hooks
            .before(
                identity,
                &Operation::DeleteManifest {
                    repository,
                    reference,
                },
            )
            .await?;
        let event = match reference {
            Reference::Digest(digest) => {
                let tags = self.inner.manifests.delete(repository, digest);
                let tags = self.timed(StoreCall::Delete, tags).await.map_err(unknown)?;
                Event::ManifestDeleted {
                    repository: repository.clone(),
                    digest: *digest,
                    tags,
                }
            }
            Reference::Tag(tag) => {
                let digest = self.inner.manifests.untag(repository, tag);
                let digest = self
                    .timed(StoreCall::Delete, digest)
                    .await
                    .map_err(unknown)?;
                Event::TagDeleted {
                    repository: repository.clone(),
                    tag: tag.clone(),
                    digest,
                }
            }
        };
        self.emit(identity, &event);
        Ok(())
    }

    /// Removes a tag for maintenance, unless it was pushed since `expected` was its state: then the push wins,
    /// and this is `false`, as it is if the tag is gone.
    ///
    /// That clients may delete is not asked for; the host's hooks are, and may keep it.
    ///
    /// # Errors
    /// `UNSUPPORTED` if the registry is read-only or the store cannot do it in one step; else what the hooks
    /// or the store say.
    pub async fn untag_if(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        tag: &Tag,
        expected: &TagState,
    ) -> Result<bool, RegistryError> {
        self.check_writable()?;
        let operation = Operation::DeleteManifest {
            repository,
            reference: &Reference::Tag(tag.clone()),
        };
        self.inner.hooks.before(identity, &operation).await?;
        let untagged = self.inner.manifests.untag_if(repository, tag, expected);
        match self.timed(StoreCall::Delete, untagged).await {
            Ok(()) => {
                let event = Event::TagDeleted {
                    repository: repository.clone(),
                    tag: tag.clone(),
                    digest: expected.digest,
                };
                self.emit(identity, &event);
                Ok(true)
            }
            Err(StoreError::Precondition | StoreError::NotFound) => Ok(false),
            Err(error) => Err(or(ErrorCode::ManifestUnknown)(error)),
        }
    }

    /// Ends the visibility of a blob in `repository`. Other repositories keep it.
    ///
    /// # Errors
    /// `BLOB_UNKNOWN`; `UNSUPPORTED` if deletes are off.
    pub async fn delete_blob(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        self.check_deletable()?;
        self.inner
            .hooks
            .before(identity, &Operation::DeleteBlob { repository, digest })
            .await?;
        let unlinked = self.inner.manifests.unlink_blob(repository, digest);
        let unlinked = self.timed(StoreCall::Delete, unlinked);
        unlinked.await.map_err(or(ErrorCode::BlobUnknown))?;
        self.emit(
            identity,
            &Event::BlobDeleted {
                repository: repository.clone(),
                digest: *digest,
            },
        );
        Ok(())
    }
}

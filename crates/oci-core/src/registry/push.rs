//! Pushing manifests.

use std::collections::HashSet;

use bytes::Bytes;
use http::StatusCode;

use super::{Registry, or};
use crate::auth::Identity;
use crate::digest::{Algorithm, Digest};
use crate::error::{ErrorCode, RegistryError, StoreError};
use crate::hooks::{Event, Operation, StoreCall};
use crate::manifest::{Manifest, ManifestReference, ReferenceKind};
use crate::name::{Reference, RepositoryName, Tag};
use crate::store::{PutManifest, TagPrecondition, TagWrite};

/// A manifest to push.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PushManifest {
    /// The tag or digest it is pushed under.
    pub reference: Reference,
    /// Further tags, for a push by digest.
    pub tags: Vec<Tag>,
    /// What must hold of every tag before.
    pub precondition: TagPrecondition,
    /// What the client says it is.
    pub content_type: Option<String>,
    /// The document.
    pub bytes: Bytes,
}

impl PushManifest {
    /// A manifest pushed under a tag or digest.
    pub fn new(reference: impl Into<Reference>, bytes: impl Into<Bytes>) -> Self {
        Self {
            reference: reference.into(),
            tags: Vec::new(),
            precondition: TagPrecondition::None,
            content_type: None,
            bytes: bytes.into(),
        }
    }
}

/// A pushed manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PushedManifest {
    /// Its digest, in the algorithm of the push.
    pub digest: Digest,
    /// The tags that point to it since.
    pub tags: Vec<Tag>,
    /// The subject as the document writes it, if it has one and listings will show it.
    pub subject: Option<String>,
}

impl Registry {
    /// Stores a manifest and points tags to it.
    ///
    /// # Errors
    /// `MANIFEST_INVALID` (413 if too large); `DIGEST_INVALID` if it does not have the digest it is pushed
    /// under; `MANIFEST_BLOB_UNKNOWN`, one entry per digest, if content it needs is missing; status 412 if
    /// the precondition on a tag does not hold. Then nothing changed.
    pub async fn put_manifest(
        &self,
        identity: &Identity,
        repository: &RepositoryName,
        push: PushManifest,
    ) -> Result<PushedManifest, RegistryError> {
        self.check_writable()?;
        let limit = self.inner.limits.manifest_size;
        if push.bytes.len() > limit {
            return Err(manifest_too_large(limit));
        }
        let digest = match &push.reference {
            Reference::Digest(claimed) => {
                let actual = Digest::of(claimed.algorithm(), &push.bytes);
                if actual != *claimed {
                    let mismatch = StoreError::DigestMismatch {
                        expected: *claimed,
                        actual,
                    };
                    return Err(or(ErrorCode::DigestInvalid)(mismatch));
                }
                actual
            }
            Reference::Tag(_) => Digest::of(Algorithm::Sha256, &push.bytes),
        };
        let manifest = Manifest::parse(push.bytes, push.content_type.as_deref())
            .map_err(|error| RegistryError::new(ErrorCode::ManifestInvalid, error.to_string()))?;
        let mut tags = push.tags;
        if let Reference::Tag(tag) = push.reference {
            tags.push(tag);
        }
        tags.sort_unstable();
        tags.dedup();
        let references = self.closure(repository, &manifest).await?;
        let operation = Operation::PutManifest {
            repository,
            digest: &digest,
            manifest: &manifest,
            tags: &tags,
        };
        self.inner.hooks.before(identity, &operation).await?;

        let writes: Vec<TagWrite> = tags
            .iter()
            .map(|tag| TagWrite::only_if(tag.clone(), push.precondition))
            .collect();
        let put = PutManifest {
            references: &references,
            tags: &writes,
            ..PutManifest::new(repository, &digest, &manifest)
        };
        let unknown = or(ErrorCode::ManifestUnknown);
        if self.inner.manifests.checks_references() {
            let put = self.inner.manifests.put(put);
            let put = self.timed(StoreCall::PutManifest, put);
            put.await.map_err(unknown)?;
        } else {
            let blobs = self.visible_blobs(repository, &references).await?;
            // Held until the manifest is visible: from then on it is itself what keeps the blobs.
            let claim = self
                .inner
                .blobs
                .claim(repository, &blobs)
                .await
                .map_err(&unknown)?;
            let put = self.inner.manifests.put(put);
            let put = self.timed(StoreCall::PutManifest, put);
            put.await.map_err(unknown)?;
            drop(claim);
        }

        let event = Event::ManifestPushed {
            repository: repository.clone(),
            digest,
            tags: tags.clone(),
        };
        self.emit(identity, &event);
        let subject = manifest
            .subject()
            .map(|subject| subject.as_str().to_owned());
        Ok(PushedManifest {
            digest,
            tags,
            subject,
        })
    }

    /// Everything that `manifest` needs, through all child indexes, each digest once.
    ///
    /// A child that is no manifest but a blob of the repository counts as a blob: build caches are
    /// pushed as indexes of layers.
    async fn closure(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<Vec<ManifestReference>, RegistryError> {
        let unknown = or(ErrorCode::ManifestUnknown);
        let mut seen = HashSet::new();
        let mut needed = Vec::new();
        let mut missing = Vec::new();
        let mut open: Vec<ManifestReference> = manifest.references().to_vec();
        while let Some(mut reference) = open.pop() {
            if !seen.insert(reference) {
                continue;
            }
            if seen.len() > self.inner.limits.references {
                return Err(RegistryError::new(
                    ErrorCode::ManifestInvalid,
                    format!(
                        "the manifest needs more than {} contents",
                        self.inner.limits.references
                    ),
                ));
            }
            if reference.kind == ReferenceKind::Manifest {
                match self
                    .inner
                    .manifests
                    .read(repository, &reference.digest)
                    .await
                {
                    Ok(child) if child.bytes.len() as u64 == reference.size => {
                        // It was accepted when it was pushed; a volume written by another registry may
                        // hold children that this one would not, and those need nothing it knows of.
                        if let Ok(child) = Manifest::parse(child.bytes, None) {
                            open.extend_from_slice(child.references());
                        }
                    }
                    Ok(_) => missing.push(reference.digest),
                    Err(StoreError::NotFound) => reference.kind = ReferenceKind::Blob,
                    Err(error) => return Err(unknown(error)),
                }
            }
            needed.push(reference);
        }
        if missing.is_empty() {
            Ok(needed)
        } else {
            Err(RegistryError::missing_references(missing))
        }
    }

    async fn visible_blobs(
        &self,
        repository: &RepositoryName,
        references: &[ManifestReference],
    ) -> Result<Vec<ManifestReference>, RegistryError> {
        let mut blobs = Vec::with_capacity(references.len());
        let mut missing = Vec::new();
        for reference in references
            .iter()
            .filter(|reference| reference.kind == ReferenceKind::Blob)
        {
            let visible = self
                .inner
                .manifests
                .has_blob(repository, &reference.digest)
                .await;
            if visible.map_err(or(ErrorCode::ManifestUnknown))? {
                blobs.push(*reference);
            } else {
                missing.push(reference.digest);
            }
        }
        if missing.is_empty() {
            Ok(blobs)
        } else {
            Err(RegistryError::missing_references(missing))
        }
    }
}

/// The answer to a manifest of more than `limit` bytes, also before it was read.
pub(super) fn manifest_too_large(limit: usize) -> RegistryError {
    RegistryError::new(
        ErrorCode::ManifestInvalid,
        format!(
            "the manifest has more than {limit} bytes; move large annotations or data into a blob"
        ),
    )
    .with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

impl Registry {
    /// The error for a manifest that is larger than the limit, for callers that see so before they
    /// have read it.
    pub fn manifest_too_large(&self) -> RegistryError {
        manifest_too_large(self.inner.limits.manifest_size)
    }
}

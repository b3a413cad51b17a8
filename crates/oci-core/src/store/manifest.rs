//! The metadata plane.

use std::fmt::Debug;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::blob::BlobMeta;
use super::page::{Page, PageRequest};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::{Manifest, ManifestReference};
use crate::media_type::ManifestType;
use crate::name::{RepositoryName, Tag};

/// Repositories: their manifests, tags and referrers, and which blobs are visible in them.
///
/// # Contracts
///
/// * **Exact bytes.** A manifest is returned byte for byte as it was put.
/// * **All or nothing.** Manifest, tags and referrer entry of one [`put`](ManifestStore::put) become
///   visible together, after everything they need.
/// * **Order.** Listings are in byte order of the text form, paged by key; a page is a bounded scan.
/// * **Deletion is seen at once**, and takes every tag that points to the manifest with it.
/// * **A torn record is an absent record**: it is never an error of the whole repository.
/// * **Durability.** If the store is durable, what returned `Ok` survives loss of power.
#[async_trait]
pub trait ManifestStore: Debug + Send + Sync + 'static {
    /// Whether [`put`](ManifestStore::put) itself checks that every reference, blobs included, is there,
    /// and keeps them from being collected in the same protected step. A store that is also the
    /// content plane says `true`; otherwise the registry claims the blobs around the call.
    fn checks_references(&self) -> bool;

    /// Whether a page of tags costs about as much as a manifest. A registry then lists some to name the tags
    /// nearest to one that is not there. Object stores say `false`: a listing is their dearest request.
    fn lists_cheaply(&self) -> bool {
        true
    }

    /// What a tag points to.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown tag or repository.
    async fn resolve(&self, repository: &RepositoryName, tag: &Tag) -> Result<Digest, StoreError>;

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it is not in this repository.
    async fn read(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<StoredManifest, StoreError>;

    /// Keeps a manifest that somebody who may push was told is there, with all it needs, for the grace period
    /// of a collection. Only to be asked for where manifests can be collected at all; by itself it does
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it was collected since it was read.
    async fn claim_manifest(
        &self,
        repository: &RepositoryName,
        manifest: &StoredManifest,
    ) -> Result<(), StoreError> {
        let _ = (repository, manifest);
        Ok(())
    }

    /// Makes a manifest and its tags visible.
    ///
    /// # Errors
    /// [`StoreError::MissingReferences`] if some of `put.references` are absent or of another size;
    /// [`StoreError::Precondition`] if a tag is not where its writer required. Then nothing changed.
    ///
    /// # Cancel safety
    /// Dropped, either nothing happened or everything does.
    async fn put(&self, put: PutManifest<'_>) -> Result<(), StoreError>;

    /// Removes a manifest and every tag that points to it, and returns those tags in byte order.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it is not in this repository.
    async fn delete(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, StoreError>;

    /// Removes one tag and returns what it pointed to. The manifest stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn untag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Digest, StoreError>;

    /// What a tag points to and since when, for maintenance.
    ///
    /// # Errors
    /// As [`ManifestStore::resolve`], which this asks unless a store knows more.
    async fn tag_state(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<TagState, StoreError> {
        self.resolve(repository, tag).await.map(TagState::new)
    }

    /// Removes a tag, unless it was pushed since `expected` was its [state](ManifestStore::tag_state). The
    /// manifest stays.
    ///
    /// # Errors
    /// [`StoreError::Precondition`] if it was; [`StoreError::NotFound`]; [`StoreError::Unsupported`], as this
    /// method says by itself, of a store that cannot do it in one step.
    async fn untag_if(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        expected: &TagState,
    ) -> Result<(), StoreError> {
        let _ = (repository, tag, expected);
        Err(StoreError::Unsupported(
            "removing a tag unless it is pushed meanwhile",
        ))
    }

    /// A page of the repository's tags.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if no manifest was ever put there. A repository whose tags are all gone
    /// is an empty page.
    async fn tags(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Tag>, StoreError>;

    /// A page of the manifests whose subject is `subject`, in byte order of their digests. Unknown
    /// repositories and subjects are empty pages.
    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        page: &PageRequest,
    ) -> Result<Page<Descriptor>, StoreError>;

    /// A page of the repositories that hold at least one manifest.
    async fn repositories(&self, page: &PageRequest) -> Result<Page<RepositoryName>, StoreError>;

    /// Makes a stored blob visible in a repository. Linking it again is fine.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the store is also the content plane and the blob is not there.
    async fn link_blob(
        &self,
        repository: &RepositoryName,
        blob: &BlobMeta,
    ) -> Result<(), StoreError>;

    /// Whether a blob is visible in a repository.
    async fn has_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError>;

    /// Ends the visibility of a blob in one repository. Its content stays for the collector.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it was not visible there.
    async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StoreError>;

    /// A page of all manifests of a repository, tagged or not, in byte order of their digests. An
    /// unknown repository is an empty page. Only maintenance asks.
    ///
    /// A manifest is listed even if its content is damaged, so that a check can name it.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`], as this method says by itself, unless
    /// [`Capabilities::lists_content`](super::Capabilities::lists_content).
    async fn manifests(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Digest>, StoreError> {
        let _ = (repository, page);
        Err(StoreError::Unsupported("listing all manifests"))
    }

    /// A page of the blobs that are visible in a repository, in byte order of their digests. An unknown
    /// repository is an empty page. Only maintenance asks.
    ///
    /// # Errors
    /// As [`ManifestStore::manifests`].
    async fn linked_blobs(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Digest>, StoreError> {
        let _ = (repository, page);
        Err(StoreError::Unsupported("listing all blobs of a repository"))
    }
}

/// A manifest to put.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PutManifest<'a> {
    /// Where.
    pub repository: &'a RepositoryName,
    /// Its digest, which has been checked against the bytes.
    pub digest: &'a Digest,
    /// Its content.
    pub manifest: &'a Manifest,
    /// Everything it needs, through all child indexes.
    pub references: &'a [ManifestReference],
    /// The tags that shall point to it.
    pub tags: &'a [TagWrite],
}

impl<'a> PutManifest<'a> {
    /// A manifest without tags or references; set the fields for more.
    pub fn new(repository: &'a RepositoryName, digest: &'a Digest, manifest: &'a Manifest) -> Self {
        Self {
            repository,
            digest,
            manifest,
            references: &[],
            tags: &[],
        }
    }
}

/// A tag to write.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TagWrite {
    /// Which.
    pub tag: Tag,
    /// What must hold before.
    pub precondition: TagPrecondition,
}

impl TagWrite {
    /// Writes or moves `tag`, whatever it was.
    pub fn any(tag: Tag) -> Self {
        Self {
            tag,
            precondition: TagPrecondition::None,
        }
    }

    /// Writes `tag` only if `precondition` holds.
    pub fn only_if(tag: Tag, precondition: TagPrecondition) -> Self {
        Self { tag, precondition }
    }
}

/// What a tag must be before it is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum TagPrecondition {
    /// It must not exist.
    Absent,
    /// Anything.
    #[default]
    None,
    /// It must point here.
    PointsAt(Digest),
}

impl TagPrecondition {
    /// Whether it holds for what the tag points to now.
    pub fn holds(&self, current: Option<&Digest>) -> bool {
        match self {
            Self::Absent => current.is_none(),
            Self::None => true,
            Self::PointsAt(digest) => current == Some(digest),
        }
    }
}

/// A tag at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TagState {
    /// What it points to.
    pub digest: Digest,
    /// When it was pushed last, be it to the same manifest, as far as its store knows.
    pub pushed: Option<SystemTime>,
    /// What tells that push from others, if its store gives it a number.
    pub push: Option<u128>,
}

impl TagState {
    /// A tag that points to `digest`, nobody knows since when.
    pub fn new(digest: Digest) -> Self {
        Self {
            digest,
            pushed: None,
            push: None,
        }
    }
}

/// A manifest as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct StoredManifest {
    /// Its digest, in the algorithm it was put under.
    pub digest: Digest,
    /// Its type.
    pub manifest_type: ManifestType,
    /// Its bytes.
    pub bytes: Bytes,
}

impl StoredManifest {
    /// A stored manifest.
    pub fn new(digest: Digest, manifest_type: ManifestType, bytes: Bytes) -> Self {
        Self {
            digest,
            manifest_type,
            bytes,
        }
    }
}

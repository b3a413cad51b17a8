//! The content plane.

use std::any::Any;
use std::fmt;
use std::fmt::Debug;
use std::fs::File;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use super::collect::{CollectObserver, CollectOptions, Collected};
use super::page::{Page, PageRequest};
use super::presign::PresignedReads;
use super::upload::{BlobUpload, UploadId, UploadOptions, UploadScope, UploadStatus};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::ManifestReference;
use crate::name::RepositoryName;

/// Content by digest, and uploads that are not finished yet.
///
/// # Contracts
///
/// * **Streaming.** No operation holds a whole blob in memory.
/// * **Verified commit.** Nothing is visible before its digest was checked; a mismatch leaves nothing.
/// * **Resume.** Received bytes that were acknowledged outlive the process. Any process that shares the
///   store goes on from there without reading them again.
/// * **One writer** per upload. A second one gets [`StoreError::Conflict`] with the true offset.
/// * **Existence is never trusted blindly.** Committing bytes that "exist" replaces them, so that a
///   damaged blob heals when it is pushed again.
/// * **Cancellation.** Every future may be dropped at any await. Before the point of no return the state
///   is the last checkpoint; past it the operation completes or fails as a whole.
/// * **Durability.** If [`Capabilities::durable`], what returned `Ok` survives loss of power.
#[async_trait]
pub trait BlobStore: Debug + Send + Sync + 'static {
    /// What this store can do, for callers and for the test kit.
    fn capabilities(&self) -> Capabilities;

    /// Size of a blob.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn stat(&self, digest: &Digest) -> Result<BlobMeta, StoreError>;

    /// Opens a blob, or the part of it that `range` names.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::RangeNotSatisfiable`] if the range begins past the end.
    async fn read(&self, digest: &Digest, range: ReadRange) -> Result<BlobRead, StoreError>;

    /// Begins an upload. It is only known to others once [`BlobUpload::checkpoint`] has returned.
    async fn begin_upload(
        &self,
        scope: &UploadScope,
        options: &UploadOptions,
    ) -> Result<Box<dyn BlobUpload>, StoreError>;

    /// Takes over an upload, as its only writer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none, or not in this `scope`; [`StoreError::Conflict`] while
    /// another writer has it.
    async fn open_upload(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<Box<dyn BlobUpload>, StoreError>;

    /// Where an upload stands, without disturbing its writer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none, or not in this `scope`.
    async fn upload_status(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<UploadStatus, StoreError>;

    /// Ends an upload and drops its bytes, even while another writer has it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none, or not in this `scope`.
    async fn abort_upload(&self, scope: &UploadScope, id: &UploadId) -> Result<(), StoreError>;

    /// Ends every upload that was not written to for `idle`, and returns how many. An upload with a
    /// writer is never idle.
    async fn sweep_uploads(&self, idle: Duration) -> Result<u64, StoreError>;

    /// How many uploads are open, counted up to `limit`. With `scope`, only those of the same principal.
    async fn count_uploads(
        &self,
        scope: Option<&UploadScope>,
        limit: u64,
    ) -> Result<u64, StoreError>;

    /// Protects blobs that a client is told exist: none of them is collected while the claim lives, nor
    /// for the collector's grace period after it.
    ///
    /// If the store is also the metadata plane, the visibility of the blobs in `repository` is
    /// protected in the same way.
    ///
    /// # Errors
    /// [`StoreError::MissingReferences`] names those that are absent or have another size. Then
    /// nothing is claimed.
    async fn claim(
        &self,
        repository: &RepositoryName,
        blobs: &[ManifestReference],
    ) -> Result<Claim, StoreError>;

    /// Removes content, and its visibility in repositories, that nothing refers to. Pushes and pulls
    /// may go on meanwhile, in this and other processes: no acknowledged manifest loses anything that
    /// it needs. Whatever cannot be read or understood keeps all that it might refer to.
    ///
    /// Dropping the future ends the collection after the batch that it is busy with.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] unless [`Capabilities::collects`].
    async fn collect(
        &self,
        options: &CollectOptions,
        observer: Arc<dyn CollectObserver>,
    ) -> Result<Collected, StoreError> {
        let _ = (options, observer);
        Err(StoreError::Unsupported("garbage collection"))
    }

    /// A page of all content that the store holds, in byte order of the digests. Only maintenance asks:
    /// copies and checks.
    ///
    /// Blobs that no repository shows any more are listed as well, and so may be manifests, if the store
    /// keeps them in the same place. What is being written meanwhile may be listed or not.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`], as this method says by itself, unless
    /// [`Capabilities::lists_content`].
    async fn blobs(&self, page: &PageRequest) -> Result<Page<BlobMeta>, StoreError> {
        let _ = page;
        Err(StoreError::Unsupported("listing all content"))
    }

    /// Takes away content whose bytes are not what its digest says, so that it is absent and pushing it
    /// again heals it. `false` if they are what it says, which the store reads them again to know: then
    /// nothing changed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none; [`StoreError::Unsupported`], as this method says by
    /// itself.
    async fn discard_damaged(&self, digest: &Digest) -> Result<bool, StoreError> {
        let _ = digest;
        Err(StoreError::Unsupported("taking damaged content away"))
    }

    /// The store as one that gives out addresses of its content, if it is one.
    fn presigned(&self) -> Option<&dyn PresignedReads> {
        None
    }
}

/// What a store can do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each asked for by name"
)]
pub struct Capabilities {
    /// Acknowledged state survives the end of the process.
    pub persistent: bool,
    /// Acknowledged state survives loss of power.
    pub durable: bool,
    /// Several processes may use the same data at once.
    pub several_processes: bool,
    /// An upload resumes in another process without its bytes being read again.
    pub resumes_without_reading: bool,
    /// [`BlobStore::collect`] removes what nothing refers to.
    pub collects: bool,
    /// All content, and all manifests and blobs of a repository, can be listed:
    /// [`BlobStore::blobs`], [`ManifestStore::manifests`](crate::ManifestStore::manifests) and
    /// [`ManifestStore::linked_blobs`](crate::ManifestStore::linked_blobs). Without it, copies and
    /// checks see what tags lead to.
    pub lists_content: bool,
}

/// What is known of a blob without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BlobMeta {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl BlobMeta {
    /// A blob of `size` bytes.
    pub fn new(digest: Digest, size: u64) -> Self {
        Self { digest, size }
    }
}

/// The part of a blob that is wanted, as RFC 9110 ("Range Requests") can say it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum ReadRange {
    /// From a byte, up to the end.
    From(u64),
    /// From the first to the second byte, both included. An end past the blob's is cut.
    Inclusive(u64, u64),
    /// The last so many bytes.
    Suffix(u64),
    /// All of it.
    #[default]
    Whole,
}

impl ReadRange {
    /// The bytes that this means in content of `size` bytes; `None` if it cannot be satisfied.
    pub fn resolve(self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::From(start) => (start < size).then_some(start..size),
            Self::Inclusive(start, end) => {
                (start < size && start <= end).then(|| start..end.saturating_add(1).min(size))
            }
            Self::Suffix(length) => {
                (length > 0 && size > 0).then(|| size.saturating_sub(length)..size)
            }
            Self::Whole => Some(0..size),
        }
    }
}

/// An opened blob.
#[derive(Debug)]
#[non_exhaustive]
pub struct BlobRead {
    /// Length of the whole blob in bytes.
    pub size: u64,
    /// The bytes that `payload` yields.
    pub range: Range<u64>,
    /// The bytes, in the cheapest form that the store has.
    pub payload: BlobPayload,
}

impl BlobRead {
    /// An opened blob of `size` bytes, of which `payload` yields `range`.
    pub fn new(size: u64, range: Range<u64>, payload: BlobPayload) -> Self {
        Self {
            size,
            range,
            payload,
        }
    }
}

/// Where the bytes come from.
#[non_exhaustive]
pub enum BlobPayload {
    /// In memory already.
    Bytes(Bytes),
    /// In a file, which the caller reads as it likes.
    File(FileRange),
    /// As they arrive.
    Stream(BlobStream),
}

impl Debug for BlobPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::File(file) => file.fmt(f),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// Pieces of a blob, in order.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// A part of an open file. The file's own position is not used.
#[derive(Debug)]
#[non_exhaustive]
pub struct FileRange {
    /// The file, open for reading.
    pub file: File,
    /// The bytes that are meant.
    pub range: Range<u64>,
}

impl FileRange {
    /// The bytes `range` of `file`.
    pub fn new(file: File, range: Range<u64>) -> Self {
        Self { file, range }
    }
}

/// Keeps claimed blobs from being collected until it is dropped.
pub struct Claim {
    // Held for its Drop.
    _guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Claim {
    /// A claim that needs nothing held: the store has noted it already.
    pub fn noted() -> Self {
        Self { _guard: None }
    }

    /// A claim that lasts as long as `guard` lives.
    pub fn held(guard: impl Any + Send + Sync) -> Self {
        Self {
            _guard: Some(Box::new(guard)),
        }
    }
}

impl Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claim")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_as_in_rfc_9110() {
        for (range, size, expected) in [
            (ReadRange::Whole, 0, Some(0..0)),
            (ReadRange::From(0), 0, None),
            (ReadRange::From(3), 10, Some(3..10)),
            (ReadRange::From(10), 10, None),
            (ReadRange::Inclusive(2, 4), 10, Some(2..5)),
            (ReadRange::Inclusive(2, u64::MAX), 10, Some(2..10)),
            (ReadRange::Inclusive(4, 2), 10, None),
            (ReadRange::Suffix(3), 10, Some(7..10)),
            (ReadRange::Suffix(30), 10, Some(0..10)),
            (ReadRange::Suffix(0), 10, None),
        ] {
            assert_eq!(range.resolve(size), expected, "{range:?} of {size}");
        }
    }

    proptest! {
        #[test]
        fn a_resolved_range_lies_inside(start: u64, end: u64, size: u64) {
            for range in [ReadRange::Inclusive(start, end), ReadRange::From(start), ReadRange::Suffix(end)] {
                if let Some(resolved) = range.resolve(size) {
                    prop_assert!(resolved.start < resolved.end && resolved.end <= size);
                }
            }
        }
    }
}

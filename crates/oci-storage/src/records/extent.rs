//! What a plugin provides for content: byte extents that are written once.

use std::fmt::Debug;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use oci_core::error::{BoxError, StoreError};
use oci_core::store::BlobStream;

use super::Guarantees;

/// Byte extents under string keys: written once, whole or in parts, then only read and deleted.
///
/// Keys are `/`-separated paths of ASCII letters, digits and `-`, and never used for a second extent.
///
/// # Contracts
///
/// * An extent is there whole or not at all, and from the answer of [`put`](ExtentStore::put) or
///   [`finish_parts`](ExtentStore::finish_parts) on.
/// * Writes are not conditional: an extent whose `put` failed may be put again with the same bytes.
/// * Deleting may happen late, more than once, or to nothing.
#[async_trait]
pub trait ExtentStore: Debug + Send + Sync + 'static {
    /// What can be relied on.
    fn guarantees(&self) -> Guarantees;

    /// What the parts of an extent must look like.
    fn part_limits(&self) -> PartLimits;

    /// Writes an extent that consists of `pieces`, one after the other.
    async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), ExtentError>;

    /// Reads the bytes `range`, which lies inside the extent and is not empty.
    ///
    /// # Errors
    /// [`ExtentError::NotFound`], here or as an error of the stream.
    async fn read(&self, key: &str, range: Range<u64>) -> Result<BlobStream, ExtentError>;

    /// Deletes an extent.
    async fn delete(&self, key: &str) -> Result<(), ExtentError>;

    /// Begins an extent that is written in parts, and returns the store's name for that.
    async fn begin_parts(&self, key: &str) -> Result<String, ExtentError>;

    /// Writes part `index`, counted from 0, and returns what identifies exactly these bytes to
    /// [`finish_parts`](ExtentStore::finish_parts). A part may be written again, with other bytes.
    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        index: usize,
        pieces: Vec<Bytes>,
    ) -> Result<String, ExtentError>;

    /// Makes an extent of `parts`, as they were returned by `put_part`, in order.
    ///
    /// If the extent is there already because this was done before, that is fine, whatever `parts` are.
    ///
    /// # Errors
    /// [`ExtentError::NotFound`] if the upload is unknown and there is no such extent;
    /// [`ExtentError::Unavailable`] if a part was written again since.
    async fn finish_parts(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
    ) -> Result<(), ExtentError>;

    /// Gives up an extent in parts and frees them. Giving up what is not there is fine.
    async fn abort_parts(&self, key: &str, upload: &str) -> Result<(), ExtentError>;

    /// Lists at most `limit` extents whose keys begin with `prefix` and come after `after`, in byte
    /// order. Fewer than `limit` mean that there are no more. Only the collector asks.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExtentInfo>, ExtentError>;

    /// Whether [`presign`](ExtentStore::presign) gives out addresses.
    fn presigns(&self) -> bool {
        false
    }

    /// An address under which whoever has it can ask for the extent with `method`, for `ttl`.
    async fn presign(
        &self,
        key: &str,
        method: &Method,
        ttl: Duration,
    ) -> Result<Option<String>, ExtentError> {
        let _ = (key, method, ttl);
        Ok(None)
    }
}

/// What the parts of an extent must look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PartLimits {
    /// The smallest part in bytes; the last one may be smaller.
    pub min_size: u64,
    /// The largest part in bytes.
    pub max_size: u64,
    /// The most parts of one extent. A blob that needs more gets a second extent.
    pub max_parts: usize,
}

impl PartLimits {
    /// Those of S3 and most that follow it: 5 MiB to 5 GiB, 10,000 parts.
    pub const S3: Self = Self::new(5 << 20, 5 << 30, 10_000);

    /// Parts of `min_size` to `max_size` bytes, at most `max_parts` of them.
    pub const fn new(min_size: u64, max_size: u64, max_parts: usize) -> Self {
        Self {
            min_size,
            max_size,
            max_parts,
        }
    }
}

/// One entry of a listing of extents.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ExtentInfo {
    /// The whole key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub written: SystemTime,
}

impl ExtentInfo {
    /// An extent of `size` bytes under `key`.
    pub fn new(key: impl Into<String>, size: u64, written: SystemTime) -> Self {
        Self {
            key: key.into(),
            size,
            written,
        }
    }
}

/// Why an extent could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtentError {
    /// There is no room.
    #[error("no space left for content")]
    NoSpace(#[source] BoxError),
    /// No such extent.
    #[error("the extent is not there")]
    NotFound,
    /// The store does not answer.
    #[error("the store of content is unavailable")]
    Unavailable(#[source] BoxError),
}

impl ExtentError {
    /// The error as callers of the engine see it, with what was being done.
    pub(super) fn into_store(self, context: &'static str) -> StoreError {
        match self {
            Self::NoSpace(source) => StoreError::NoSpace(source),
            // A record names it, so it should be there: only the caller knows what that means.
            Self::NotFound => StoreError::unavailable(context, Self::NotFound),
            Self::Unavailable(source) => StoreError::unavailable(context, source),
        }
    }
}

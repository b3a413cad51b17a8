//! Reads that do not pass through the registry.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;

use super::blob::ReadRange;
use crate::digest::Digest;
use crate::error::StoreError;

/// Gives out addresses under which content can be read where it is kept.
///
/// A store that can returns itself from [`BlobStore::presigned`](super::BlobStore::presigned).
#[async_trait]
pub trait PresignedReads: Send + Sync {
    /// An address that answers one kind of request with the bytes of `digest`, to whoever has it, until
    /// it expires. `None` if these bytes are better read through the registry: they are few, or in
    /// several pieces.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::RangeNotSatisfiable`] if the range begins past the end.
    async fn presign(
        &self,
        digest: &Digest,
        options: &PresignOptions,
    ) -> Result<Option<PresignedRead>, StoreError>;
}

/// What an address is to be good for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PresignOptions {
    /// The method of the request; `GET`.
    pub method: Method,
    /// What the request is going to ask for; the whole. The address is good for any range: this is
    /// checked, so that who asks for what is not there hears it from the registry.
    pub range: ReadRange,
    /// How long it is good; 20 minutes.
    pub ttl: Duration,
    /// Content of fewer bytes gets no address; 64 KiB. To come back for so little takes longer than to
    /// send it.
    pub at_least: u64,
}

impl Default for PresignOptions {
    fn default() -> Self {
        Self {
            method: Method::GET,
            range: ReadRange::Whole,
            ttl: Duration::from_secs(20 * 60),
            at_least: 64 << 10,
        }
    }
}

/// Where content can be read.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct PresignedRead {
    /// The address. Whoever has it may read: it belongs into no log.
    pub url: String,
    /// Length of the whole blob in bytes.
    pub size: u64,
    /// The bytes that the range means.
    pub range: Range<u64>,
}

impl PresignedRead {
    /// `url` answers with the bytes of a blob of `size` bytes, of which `range` was asked for.
    pub fn new(url: impl Into<String>, size: u64, range: Range<u64>) -> Self {
        Self {
            url: url.into(),
            size,
            range,
        }
    }
}

impl std::fmt::Debug for PresignedRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the address: it lets in.
        f.debug_struct("PresignedRead")
            .field("size", &self.size)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

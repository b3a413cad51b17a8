//! What a plugin provides for metadata: small values, changed by compare-and-swap.

use std::fmt;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use oci_core::error::{BoxError, StoreError};

use super::Guarantees;

/// Small values under string keys, changed by compare-and-swap.
///
/// Keys are `/`-separated paths of ASCII letters, digits and `. _ - !`; none is a path prefix of
/// another, so that they can be object names, file names or a primary key. Values are bytes that the
/// store does not look into, most below a kilobyte, at most a manifest and a little more.
///
/// # Contracts
///
/// * [`put_if`](RecordStore::put_if) is atomic, and linear with [`get`](RecordStore::get): whoever
///   reads after a write was answered sees it or a later one.
/// * [`scan`](RecordStore::scan) lists every key whose write was answered before the scan began and
///   that was not purged.
/// * Two values that differ never have the same [`Version`] under one key. Every value the engine
///   writes is unique, so a hash of the content will do.
/// * What was answered survives as far as [`guarantees`](RecordStore::guarantees) says.
///
/// No conditional delete is needed, because object stores lack one: the engine deletes by writing a
/// value that says so, and purges it much later if it can.
#[async_trait]
pub trait RecordStore: Debug + Send + Sync + 'static {
    /// What can be relied on.
    fn guarantees(&self) -> Guarantees;

    /// Whether a short scan costs about as much as a few reads. Where it is the dearest of requests, as in
    /// object stores, what is only a help to people is not looked for.
    fn scans_cheaply(&self) -> bool {
        true
    }

    /// Reads one value; `None` if there is none.
    async fn get(&self, key: &str) -> Result<Option<Versioned>, RecordError>;

    /// Writes `value` if the key stands at `expected`; `None` means that there must be no value.
    ///
    /// # Errors
    /// [`RecordError::Conflict`] if it stands elsewhere. [`RecordError::Ambiguous`] if the write may or
    /// may not have happened, or may still happen: the engine then reads back.
    ///
    /// # Cancel safety
    /// Dropped, the write happened or not, or happens later.
    async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError>;

    /// Lists at most `limit` keys that begin with `prefix` and come after `after`, in byte order.
    ///
    /// `prefix` ends with `/`. Fewer than `limit` entries mean that there are no more.
    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, RecordError>;

    /// Removes a value, whatever it is. Removing nothing is fine, and so is doing it late.
    ///
    /// The engine does this only to keys that nobody writes again.
    async fn purge(&self, key: &str) -> Result<(), RecordError>;

    /// Whether [`purge_if`](RecordStore::purge_if) works. If not, what says that something is gone stays
    /// for good: some 300 bytes for each blob, link, manifest, tag and referrer that was removed.
    fn can_purge_if(&self) -> bool {
        false
    }

    /// Removes a value if the key stands at `expected`, as atomically as
    /// [`put_if`](RecordStore::put_if) writes one. `false` if it stands elsewhere, or cannot be removed so.
    async fn purge_if(&self, key: &str, expected: &Version) -> Result<bool, RecordError> {
        let _ = (key, expected);
        Ok(false)
    }
}

/// What a key stands at: an entity tag, a generation, a row version.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Version(String);

impl Version {
    /// A version in the store's own words.
    pub fn new(version: impl Into<String>) -> Self {
        Self(version.into())
    }

    /// The version as the store wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// Its version.
    pub version: Version,
}

impl Versioned {
    /// `value` at `version`.
    pub fn new(value: Bytes, version: Version) -> Self {
        Self { value, version }
    }
}

/// One entry of a listing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScanEntry {
    /// The whole key.
    pub key: String,
    /// Its value, if the listing brought it along; otherwise the engine asks for it.
    pub found: Option<Versioned>,
}

impl ScanEntry {
    /// A key whose value did not come with the listing.
    pub fn key(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            found: None,
        }
    }

    /// A key with its value.
    pub fn with_value(key: impl Into<String>, found: Versioned) -> Self {
        Self {
            key: key.into(),
            found: Some(found),
        }
    }
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Nobody knows whether the write happened: a timeout, a connection that broke off.
    #[error("it is not known whether the record was written")]
    Ambiguous(#[source] BoxError),
    /// The key does not stand where it was expected. Nothing was written.
    #[error("the record has changed")]
    Conflict,
    /// There is no room. Nothing was written.
    #[error("no space left for records")]
    NoSpace(#[source] BoxError),
    /// The store does not answer. Nothing was written.
    #[error("the record store is unavailable")]
    Unavailable(#[source] BoxError),
}

impl RecordError {
    /// The error as callers of the engine see it, with what was being done.
    pub(super) fn into_store(self, context: &'static str) -> StoreError {
        match self {
            Self::NoSpace(source) => StoreError::NoSpace(source),
            Self::Ambiguous(source) | Self::Unavailable(source) => {
                StoreError::unavailable(context, source)
            }
            Self::Conflict => StoreError::unavailable(context, Self::Conflict),
        }
    }
}

//! The error that a client sees: OCI distribution-spec, "Error Codes".

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use super::{BoxError, ErrorCode, StoreError};
use crate::digest::Digest;

/// A failed registry operation: a status, one or more coded entries, and a source for the log.
///
/// Messages say what to do next, because clients print them. What a backend said stays in
/// [`Error::source`] and never reaches a client.
pub struct RegistryError(Box<Inner>);

impl RegistryError {
    /// An error with one entry and the status that goes with its code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let entries = vec![ErrorEntry {
            code,
            message: message.into(),
            detail: None,
        }];
        Self(Box::new(Inner {
            status: code.status(),
            entries,
            upload_offset: None,
            retry_after: None,
            source: None,
        }))
    }

    /// Answers with another status than the code's usual one.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// Adds machine-readable detail to the first entry.
    #[must_use]
    pub fn with_detail(mut self, detail: serde_json::Value) -> Self {
        if let Some(entry) = self.0.entries.first_mut() {
            entry.detail = Some(detail);
        }
        self
    }

    /// Adds a further entry: some errors come one per digest.
    #[must_use]
    pub fn with_entry(mut self, entry: ErrorEntry) -> Self {
        self.0.entries.push(entry);
        self
    }

    /// Tells where the upload session stands, so that the client can go on from there.
    #[must_use]
    pub fn with_upload_offset(mut self, offset: u64) -> Self {
        self.0.upload_offset = Some(offset);
        self
    }

    /// Tells when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Maps a store's failure. `missing` is the code for "not found", which depends on what was asked.
    pub fn from_store(error: StoreError, missing: ErrorCode) -> Self {
        match error {
            StoreError::NotFound => Self::new(missing, missing_message(missing)),
            StoreError::Body(source) => Self::new(
                ErrorCode::BlobUploadInvalid,
                "the request body ended early; ask for the upload's status and resume from there",
            )
            .with_source(source),
            StoreError::Conflict { offset } => Self::new(
                ErrorCode::RangeInvalid,
                format!("the upload stands at {offset} bytes; another request may still be writing to it"),
            )
            .with_upload_offset(offset),
            StoreError::DigestMismatch { expected, actual } => Self::new(
                ErrorCode::DigestInvalid,
                format!("the content has the digest {actual}, not {expected}; nothing was stored"),
            )
            .with_detail(serde_json::json!({"expected": expected, "actual": actual})),
            StoreError::MissingReferences(references) => {
                Self::missing_references(references.into_iter().map(|reference| reference.digest))
            }
            StoreError::NoSpace(source) => Self::new(
                ErrorCode::Unavailable,
                "the registry's storage is full; nothing was lost, try again when there is room",
            )
            .with_status(StatusCode::INSUFFICIENT_STORAGE)
            .with_source(source),
            StoreError::Precondition => Self::new(
                ErrorCode::Denied,
                "the tag exists or has moved; pull its current digest before writing it",
            )
            .with_status(StatusCode::PRECONDITION_FAILED),
            StoreError::RangeNotSatisfiable { size } => Self::new(
                ErrorCode::RangeInvalid,
                format!("the range lies outside the {size} bytes of content"),
            ),
            StoreError::Unsupported(what) => {
                Self::new(ErrorCode::Unsupported, format!("this registry's storage does not support {what}"))
            }
            StoreError::Unavailable { context, retry_after, source } => Self::new(
                ErrorCode::Unavailable,
                "the registry's storage does not answer; try again shortly",
            )
            .with_retry_after(retry_after.unwrap_or(Duration::from_secs(1)))
            .with_source(Context { context, source }),
        }
    }

    /// One `MANIFEST_BLOB_UNKNOWN` entry for each digest.
    pub fn missing_references(digests: impl IntoIterator<Item = Digest>) -> Self {
        let mut entries = digests.into_iter().map(|digest| ErrorEntry {
            code: ErrorCode::ManifestBlobUnknown,
            message: format!("{digest} is not in this repository; push it before the manifest"),
            detail: Some(serde_json::json!({"digest": digest})),
        });
        let first = entries.next();
        let mut error = Self::new(
            ErrorCode::ManifestBlobUnknown,
            "referenced content is missing",
        );
        if let Some(first) = first {
            error.0.entries = vec![first];
        }
        error.0.entries.extend(entries.take(MAX_ENTRIES - 1));
        error
    }

    /// The HTTP status to answer with.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The code of the first entry.
    pub fn code(&self) -> ErrorCode {
        self.0
            .entries
            .first()
            .map_or(ErrorCode::Unknown, |entry| entry.code)
    }

    /// The entries of the JSON body, at least one.
    pub fn entries(&self) -> &[ErrorEntry] {
        &self.0.entries
    }

    /// Where the upload session stands, if the error concerns one.
    pub fn upload_offset(&self) -> Option<u64> {
        self.0.upload_offset
    }

    /// When the client should try again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The JSON body: `{"errors":[…]}`.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({"errors": self.0.entries})).unwrap_or_default()
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.entries.first() {
            Some(entry) => write!(f, "{}: {}", entry.code, entry.message),
            None => f.write_str(self.0.status.as_str()),
        }
    }
}

impl fmt::Debug for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryError")
            .field("status", &self.0.status)
            .field("entries", &self.0.entries)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl Error for RegistryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}

/// One element of the `errors` array.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ErrorEntry {
    /// What kind of error.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// For programs.
    pub detail: Option<serde_json::Value>,
}

impl ErrorEntry {
    /// An entry without detail.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: None,
        }
    }
}

impl Serialize for ErrorEntry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", self.code.as_str())?;
        map.serialize_entry("message", &self.message)?;
        if let Some(detail) = &self.detail {
            map.serialize_entry("detail", detail)?;
        }
        map.end()
    }
}

struct Inner {
    status: StatusCode,
    entries: Vec<ErrorEntry>,
    upload_offset: Option<u64>,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

/// Keeps what was being done in front of what failed.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
struct Context {
    context: &'static str,
    #[source]
    source: BoxError,
}

fn missing_message(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BlobUnknown => "the blob is not in this repository",
        ErrorCode::BlobUploadUnknown => {
            "no such upload session: it was finished, cancelled or has expired; begin a new one"
        }
        ErrorCode::ManifestUnknown => "no such manifest or tag in this repository",
        ErrorCode::NameUnknown => "no such repository",
        _ => "not found",
    }
}

/// A hostile index names a hundred thousand children; the answer stays readable.
const MAX_ENTRIES: usize = 100;

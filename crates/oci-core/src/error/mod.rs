//! What goes wrong: in a store ([`StoreError`]), and as a client sees it ([`RegistryError`]).

use std::error::Error;
use std::time::Duration;

use crate::digest::Digest;
use crate::manifest::ManifestReference;

mod code;
mod registry;

pub use code::ErrorCode;
pub use registry::{ErrorEntry, RegistryError};

/// Any error, as a source.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a store could not do what was asked.
///
/// The text and the source are for logs. Clients get a [`RegistryError`], which never carries them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The caller's stream of bytes failed; what had arrived may have been kept, see `BlobUpload::append`.
    #[error("the stream of content failed")]
    Body(#[source] BoxError),
    /// Another writer holds the upload session, or moved it on.
    #[error("another writer is at work on the upload, which stands at {offset} bytes")]
    Conflict {
        /// Where the session truly stands.
        offset: u64,
    },
    /// The content is not what its digest promises. Nothing became visible.
    #[error("the content has the digest {actual}, not {expected}")]
    DigestMismatch {
        /// What the client claimed.
        expected: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// A manifest was to be made visible without these.
    #[error("{} referenced contents are missing", .0.len())]
    MissingReferences(Vec<ManifestReference>),
    /// There is no room: a full disk or an exhausted quota. Nothing that was acknowledged is lost.
    #[error("no space left in the store")]
    NoSpace(#[source] BoxError),
    /// No such blob, manifest, tag, repository or upload session.
    #[error("not found")]
    NotFound,
    /// A tag does not point where its writer required.
    #[error("a precondition on the tag does not hold")]
    Precondition,
    /// The asked range lies outside the content.
    #[error("the range lies outside the {size} bytes of content")]
    RangeNotSatisfiable {
        /// The whole length.
        size: u64,
    },
    /// The store cannot do this at all.
    #[error("this store does not support {0}")]
    Unsupported(&'static str),
    /// The store failed in a way that may pass: the client should try again.
    #[error("the store is unavailable: {context}")]
    Unavailable {
        /// What was being done, in words.
        context: &'static str,
        /// When trying again makes sense, if the store knows.
        retry_after: Option<Duration>,
        /// The backend's own error.
        #[source]
        source: BoxError,
    },
}

impl StoreError {
    /// A failure of the backend that may pass, with what was being done.
    pub fn unavailable(context: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Unavailable {
            context,
            retry_after: None,
            source: source.into(),
        }
    }

    /// Whether it is [`StoreError::NotFound`].
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound)
    }

    /// Sorts an I/O error: a full disk or quota is [`StoreError::NoSpace`], all else may pass.
    pub fn from_io(context: &'static str, error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::NoSpace(error.into())
            }
            _ => Self::unavailable(context, error),
        }
    }
}

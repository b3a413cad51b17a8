//! Upload sessions.

use std::fmt;
use std::fmt::Debug;
use std::pin::Pin;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use super::blob::BlobMeta;
use crate::digest::{Algorithm, Digest};
use crate::error::{BoxError, StoreError};
use crate::name::RepositoryName;

/// The one writer of an upload session. Dropping it gives the session free for the next writer.
#[async_trait]
pub trait BlobUpload: Debug + Send {
    /// The session's id, as it stands in its URL.
    fn id(&self) -> &UploadId;

    /// How many bytes the session holds, counting those not checkpointed yet.
    fn offset(&self) -> u64;

    /// Appends all that `content` yields and returns the new offset.
    ///
    /// # Errors
    /// [`StoreError::Body`] if `content` fails. With [`AppendMode::Progressive`] what arrived before is
    /// kept and counted by [`BlobUpload::offset`]. After any error in [`AppendMode::Atomic`], or any other
    /// error, only dropping makes sense.
    ///
    /// # Cancel safety
    /// Dropped, with `Atomic`, the session stands where it did at the last checkpoint. With `Progressive`
    /// it stands there or further, at a prefix of what `content` yielded.
    async fn append(
        &mut self,
        content: ContentStream<'_>,
        mode: AppendMode,
    ) -> Result<u64, StoreError>;

    /// Makes the bytes received so far outlive this process, and returns the offset.
    ///
    /// # Cancel safety
    /// Dropped, the session stands at the last checkpoint or at this one.
    async fn checkpoint(&mut self) -> Result<u64, StoreError>;

    /// Makes the content visible under `expected`, if that is its digest, and ends the session.
    ///
    /// Another algorithm than the session's own costs one reading of the content. A store that is also
    /// the metadata plane links the blob into `repository` in the same protected step and says so by
    /// [`CommittedBlob::linked`]; others ignore `repository`.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`]: nothing became visible and the session stands at its last
    /// checkpoint. The same holds for every other error, unless the blob is already visible.
    ///
    /// # Cancel safety
    /// Dropped, either nothing happened or the commit completes as a whole.
    async fn commit(
        self: Box<Self>,
        expected: &Digest,
        repository: &RepositoryName,
    ) -> Result<CommittedBlob, StoreError>;

    /// Ends the session and drops its bytes.
    async fn abort(self: Box<Self>) -> Result<(), StoreError>;
}

/// A finished upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CommittedBlob {
    /// The blob it became.
    pub blob: BlobMeta,
    /// Whether it is visible in the repository already.
    pub linked: bool,
}

impl CommittedBlob {
    /// A blob that is visible in its repository, or has yet to be linked.
    pub fn new(blob: BlobMeta, linked: bool) -> Self {
        Self { blob, linked }
    }
}

/// Content that arrives piece by piece.
pub type ContentStream<'a> = Pin<&'a mut (dyn Stream<Item = Result<Bytes, BoxError>> + Send)>;

/// What becomes of bytes if the content breaks off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AppendMode {
    /// They do not count: the session goes back to its last checkpoint. For the request that closes an
    /// upload, which clients repeat as a whole.
    Atomic,
    /// They count, and are checkpointed on the way, so that a long push can be resumed.
    Progressive,
}

/// How an upload is begun.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct UploadOptions {
    /// What to hash with while bytes arrive.
    pub algorithm: Algorithm,
    /// The digest, if the client named it already.
    pub expected: Option<Digest>,
    /// The length in bytes, if the client named it already.
    pub length: Option<u64>,
}

impl UploadOptions {
    /// Hashes with `algorithm`; digest and length are not known yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            expected: None,
            length: None,
        }
    }

    /// Content whose digest is known from the start.
    pub fn expecting(digest: Digest) -> Self {
        Self {
            algorithm: digest.algorithm(),
            expected: Some(digest),
            length: None,
        }
    }
}

/// What an upload session belongs to. Stores compare it and count by `principal`, nothing else.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct UploadScope {
    repository: RepositoryName,
    principal: String,
}

impl UploadScope {
    /// The uploads of `principal` (empty for anonymous) in `repository`.
    pub fn new(repository: RepositoryName, principal: impl Into<String>) -> Self {
        Self {
            repository,
            principal: principal.into(),
        }
    }

    /// The repository that the upload was begun in.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// Who began it; empty if anonymous.
    pub fn principal(&self) -> &str {
        &self.principal
    }
}

impl Debug for UploadScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.principal, self.repository)
    }
}

/// The id of an upload session: a UUID in its canonical lower-case form.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UploadId(String);

impl UploadId {
    /// Makes a version 4 UUID of 16 random bytes.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
        *version = (*version & 0x0f) | 0x40;
        *variant = (*variant & 0x3f) | 0x80;
        let mut text = hex::encode(bytes);
        for at in [20, 16, 12, 8] {
            text.insert(at, '-');
        }
        Self(text)
    }

    /// The id as text, safe as a file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == 36
            && text.bytes().enumerate().all(|(at, b)| match at {
                8 | 13 | 18 | 23 => b == b'-',
                _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
            });
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(UploadIdError)
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not an upload id of this registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an upload id is a lower-case UUID")]
#[non_exhaustive]
pub struct UploadIdError;

/// Where an upload session stands.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct UploadStatus {
    /// The session.
    pub id: UploadId,
    /// How many bytes it surely holds.
    pub offset: u64,
}

impl UploadStatus {
    /// A session that holds `offset` bytes.
    pub fn new(id: UploadId, offset: u64) -> Self {
        Self { id, offset }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_round_trip(bytes: [u8; 16]) {
            let id = UploadId::from_random(bytes);
            prop_assert_eq!(id.as_str().parse::<UploadId>(), Ok(id));
        }
    }

    #[test]
    fn only_canonical_ids() {
        let good = UploadId::from_random([7; 16]).to_string();
        for bad in [
            "",
            "..",
            "../x",
            &good.to_uppercase().replace('0', "A"),
            &good[1..],
            &good.replace('-', ""),
        ] {
            assert_eq!(bad.parse::<UploadId>(), Err(UploadIdError), "{bad}");
        }
    }
}

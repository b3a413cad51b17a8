//! How a record is written. This is a stored format: it only grows by a new version.
//!
//! ```text
//! "ORR1"        4 bytes   format and version
//! checksum      8 bytes   the first of SHA-256 over all that follows
//! nonce        16 bytes   new for every write, so that no two writes are equal
//! kind          1 byte    which sort of record
//! length        4 bytes   of the header, little-endian
//! header                  JSON; readers of this version ignore fields they do not know
//! body                    raw bytes up to the end: content, a manifest, a hash state
//! ```
//!
//! A record that is cut off or altered counts as absent. One of a later version is an error: it is
//! there, and must not be overwritten by who cannot read it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use oci_core::Digest;
use oci_core::error::StoreError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a record's header is.
pub(super) trait Header: Serialize + DeserializeOwned + Send + Sync {
    const KIND: u8;
}

/// A record as it was read.
#[derive(Clone, Debug)]
pub(super) struct Decoded<H> {
    pub(super) nonce: Nonce,
    pub(super) header: H,
    pub(super) body: Bytes,
}

pub(super) fn encode<H: Header>(
    nonce: Nonce,
    header: &H,
    body: &[u8],
) -> Result<Bytes, StoreError> {
    let json = serde_json::to_vec(header)
        .map_err(|error| StoreError::unavailable("encoding a record", error))?;
    let length = u32::try_from(json.len())
        .map_err(|error| StoreError::unavailable("encoding a record", error))?;
    let mut rest = Vec::with_capacity(FIXED + json.len() + body.len());
    rest.extend_from_slice(MAGIC);
    rest.extend_from_slice(&[0; CHECKSUM]);
    rest.extend_from_slice(&nonce.0.to_be_bytes());
    rest.push(H::KIND);
    rest.extend_from_slice(&length.to_le_bytes());
    rest.extend_from_slice(&json);
    rest.extend_from_slice(body);
    let sum = checksum(rest.get(MAGIC.len() + CHECKSUM..).unwrap_or_default());
    for (to, from) in rest.iter_mut().skip(MAGIC.len()).zip(sum) {
        *to = from;
    }
    Ok(rest.into())
}

/// Reads a record; `None` if it is damaged.
pub(super) fn decode<H: Header>(value: &Bytes) -> Result<Option<Decoded<H>>, StoreError> {
    let Some(rest) = value.strip_prefix(MAGIC) else {
        if value.starts_with(FAMILY) && value.len() >= FIXED {
            return Err(StoreError::unavailable(
                "reading a record",
                "it was written by a later version of this program; upgrade before using the store",
            ));
        }
        return Ok(None);
    };
    Ok(decode_body(value, rest))
}

/// The nonce of a record of any kind.
pub(super) fn nonce_of(value: &Bytes) -> Option<Nonce> {
    let rest = checked(value.strip_prefix(MAGIC)?)?;
    Some(Nonce(u128::from_be_bytes(*rest.first_chunk()?)))
}

fn checked(rest: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = rest.split_first_chunk::<CHECKSUM>()?;
    (checksum(rest) == *sum).then_some(rest)
}

fn decode_body<H: Header>(value: &Bytes, rest: &[u8]) -> Option<Decoded<H>> {
    let rest = checked(rest)?;
    let (nonce, rest) = rest.split_first_chunk::<16>()?;
    let (kind, rest) = rest.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (json, body) = rest.split_at_checked(length)?;
    if *kind != H::KIND {
        return None;
    }
    Some(Decoded {
        nonce: Nonce(u128::from_be_bytes(*nonce)),
        header: serde_json::from_slice(json).ok()?,
        body: value.slice_ref(body),
    })
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = Digest::sha256(bytes);
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

const FAMILY: &[u8] = b"ORR";
const MAGIC: &[u8] = b"ORR1";
const CHECKSUM: usize = 8;
const FIXED: usize = MAGIC.len() + CHECKSUM + 16 + 1 + 4;

/// 16 random bytes that tell one write, push or extent from every other.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Nonce(u128);

impl Nonce {
    pub(super) fn from_random(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    pub(super) fn number(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Nonce {
    type Err = NonceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let canonical =
            text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !canonical {
            return Err(NonceError);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| NonceError)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a nonce is 32 lower-case hexadecimal digits")]
pub(super) struct NonceError;

impl Serialize for Nonce {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

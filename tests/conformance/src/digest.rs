//! Digests, computed apart from the registry's own code.

use std::fmt;

use sha2::{Digest as _, Sha256, Sha512};

/// A digest algorithm of the image-spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alg {
    Sha256,
    Sha512,
}

impl Alg {
    /// The digest of `bytes`, `algorithm:hex`.
    pub(crate) fn of(self, bytes: &[u8]) -> String {
        match self {
            Self::Sha256 => format!("sha256:{}", hex::encode(Sha256::digest(bytes))),
            Self::Sha512 => format!("sha512:{}", hex::encode(Sha512::digest(bytes))),
        }
    }

    /// A well-formed digest of this algorithm that is the digest of nothing anybody pushed.
    pub(crate) fn of_nothing(self) -> String {
        match self {
            Self::Sha256 => format!("sha256:{}", "0".repeat(64)),
            Self::Sha512 => format!("sha512:{}", "0".repeat(128)),
        }
    }
}

impl fmt::Display for Alg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        })
    }
}

/// The sha256 digest of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Alg::Sha256.of(bytes)
}

/// The sha256 digest of no bytes.
pub(crate) const EMPTY_SHA256: &str =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

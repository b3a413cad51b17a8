//! Content digests: `algorithm:hex`, the name of every blob and manifest.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

mod hasher;
pub use hasher::{Hasher, HasherState, HasherStateError};

/// The digest of some content: an [`Algorithm`] and its output, always in canonical form.
///
/// The value is `Copy` and holds no heap memory. Its text form, by [`fmt::Display`], is the one that
/// stands in URLs, descriptors and link files: `sha256:` and 64 lower-case hexadecimal digits.
///
/// Values order like their text form, byte by byte.
///
/// ```
/// use oci_core::{Algorithm, Digest};
///
/// let digest = Digest::of(Algorithm::Sha256, b"");
/// assert_eq!(
///     digest.to_string(),
///     "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
/// );
/// assert_eq!(digest.to_string().parse::<Digest>()?, digest);
/// # Ok::<(), oci_core::DigestError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Digest {
    algorithm: Algorithm,
    // Only the first `algorithm.output_len()` bytes are used; the rest stay zero.
    output: [u8; MAX_OUTPUT],
}

impl Digest {
    /// Hashes `content`, which is wholly in memory. Streams use a [`Hasher`].
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// The SHA-256 digest of `content`, which is what a manifest pushed by tag is known by.
    pub fn sha256(content: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, content)
    }

    pub(crate) fn from_output(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut output = [0; MAX_OUTPUT];
        for (to, from) in output.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self { algorithm, output }
    }

    /// Reads the two halves as they stand apart in storage paths.
    pub fn from_parts(algorithm: Algorithm, encoded: &str) -> Result<Self, DigestError> {
        let bytes = encoded.as_bytes();
        if bytes.len() != algorithm.output_len() * 2 {
            return Err(DigestError::Length {
                algorithm,
                expected: algorithm.output_len() * 2,
                found: bytes.len(),
            });
        }
        // `hex` accepts upper case, which is not canonical.
        if !bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Encoding { algorithm });
        }
        let mut output = [0; MAX_OUTPUT];
        let used = output
            .get_mut(..algorithm.output_len())
            .ok_or(DigestError::Encoding { algorithm })?;
        hex::decode_to_slice(bytes, used).map_err(|_| DigestError::Encoding { algorithm })?;
        Ok(Self { algorithm, output })
    }

    /// The hash function that made this digest.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw output, 32 bytes for SHA-256 and 64 for SHA-512.
    pub fn as_bytes(&self) -> &[u8] {
        self.output
            .get(..self.algorithm.output_len())
            .unwrap_or(&[])
    }

    /// The output in lower-case hexadecimal, without the algorithm.
    pub fn hex(&self) -> String {
        let mut text = [0; MAX_TEXT];
        self.write_hex(&mut text).to_owned()
    }

    /// Writes the output in hexadecimal to the beginning of `text`.
    fn write_hex<'a>(&self, text: &'a mut [u8]) -> &'a str {
        let bytes = self.as_bytes();
        let Some(text) = text.get_mut(..bytes.len() * 2) else {
            return "";
        };
        // Neither can fail: the length is right, and hexadecimal digits are text.
        let written = hex::encode_to_slice(bytes, text);
        written.map_or("", |()| str::from_utf8(text).unwrap_or_default())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What is right is looked at once; what is wrong with the rest takes a closer look.
        for algorithm in Algorithm::ALL {
            if let Some(encoded) = text.strip_prefix(algorithm.prefix())
                && let Ok(digest) = Self::from_parts(algorithm, encoded)
            {
                return Ok(digest);
            }
        }
        let (algorithm, encoded) = split(text)?;
        Self::from_parts(algorithm.parse()?, encoded)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece, so that a string is made with one allocation.
        let mut text = [0; MAX_TEXT];
        let prefix = self.algorithm.prefix();
        let Some((start, rest)) = text.split_at_mut_checked(prefix.len()) else {
            return Err(fmt::Error);
        };
        start.copy_from_slice(prefix.as_bytes());
        let length = prefix.len() + self.write_hex(rest).len();
        let text = text.get(..length).ok_or(fmt::Error)?;
        f.write_str(str::from_utf8(text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Digest {}

impl Ord for Digest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.algorithm
            .cmp(&other.algorithm)
            .then_with(|| self.as_bytes().cmp(other.as_bytes()))
    }
}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::hash::Hash for Digest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.algorithm.hash(state);
        self.as_bytes().hash(state);
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A hash function that this registry verifies content with.
///
/// OCI image-spec, "Registered algorithms": SHA-256 must be understood, SHA-512 may be.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Algorithm {
    /// `sha256`, what nearly every client uses.
    #[default]
    Sha256,
    /// `sha512`.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, in byte order of its name.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The registered identifier, as it stands before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the raw output in bytes; the hexadecimal form is twice as long.
    pub fn output_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => MAX_OUTPUT,
        }
    }
}

impl Algorithm {
    /// What the text form of a digest begins with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256:",
            Self::Sha512 => "sha512:",
        }
    }

    /// How many bytes the hash function takes in at a time.
    pub(crate) fn block_len(self) -> u64 {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(DigestError::UnknownAlgorithm),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not a digest that can be verified here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// Not of the form `algorithm:encoded`.
    #[error("a digest is written `algorithm:hex`, for example `sha256:` and 64 hexadecimal digits")]
    Grammar,
    /// Well-formed, but with an algorithm this registry cannot verify.
    #[error("the digest algorithm is not supported; use sha256 or sha512")]
    UnknownAlgorithm,
    /// The encoded part is too short or too long.
    #[error("a {algorithm} digest has {expected} hexadecimal digits, this one has {found}")]
    Length {
        /// The algorithm named before the colon.
        algorithm: Algorithm,
        /// How many digits it wants.
        expected: usize,
        /// How many characters there were.
        found: usize,
    },
    /// The encoded part has characters other than `0-9a-f`.
    #[error("a {algorithm} digest is written in lower-case hexadecimal digits")]
    Encoding {
        /// The algorithm named before the colon.
        algorithm: Algorithm,
    },
}

/// Splits at the colon and checks both halves against the grammar of OCI image-spec, "Digests".
fn split(text: &str) -> Result<(&str, &str), DigestError> {
    let (algorithm, encoded) = text.split_once(':').ok_or(DigestError::Grammar)?;
    let component = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let encoded_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-');
    if algorithm.split(['+', '.', '_', '-']).all(component)
        && !encoded.is_empty()
        && encoded.bytes().all(encoded_char)
    {
        Ok((algorithm, encoded))
    } else {
        Err(DigestError::Grammar)
    }
}

/// The longest output of any [`Algorithm`], in bytes.
const MAX_OUTPUT: usize = 64;
/// The longest text form: `sha512:` and two digits per byte.
const MAX_TEXT: usize = 7 + MAX_OUTPUT * 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn canonical_form_only() {
        assert!(EMPTY.parse::<Digest>().is_ok());
        for (text, error) in [
            (EMPTY.to_uppercase().as_str(), DigestError::Grammar),
            (
                &EMPTY.replace("e3b0", "E3B0"),
                DigestError::Encoding {
                    algorithm: Algorithm::Sha256,
                },
            ),
            ("sha256", DigestError::Grammar),
            ("sha256:", DigestError::Grammar),
            (":abc", DigestError::Grammar),
            ("sha256:../../x", DigestError::Grammar),
            ("blake3:aa", DigestError::UnknownAlgorithm),
            ("sha+b64u:abc", DigestError::UnknownAlgorithm),
            ("sha++b:abc", DigestError::Grammar),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text}");
        }
        for extra in ["", "0", "00"] {
            let text = format!("{}{extra}", &EMPTY[..EMPTY.len() - 1]);
            assert_eq!(text.parse::<Digest>().is_ok(), extra == "0", "{text}");
        }
    }

    #[test]
    fn sha512_is_its_own_algorithm() {
        let digest = Digest::of(Algorithm::Sha512, b"abc");
        assert_eq!(digest.hex().len(), 128);
        assert!(digest.to_string().starts_with("sha512:ddaf35a193617aba"));
    }

    proptest! {
        #[test]
        fn text_form_round_trips(content: Vec<u8>, sha512: bool) {
            let algorithm = if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = Digest::of(algorithm, &content);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        }

        #[test]
        fn order_is_that_of_the_text(a: Vec<u8>, b: Vec<u8>, x: bool, y: bool) {
            let of = |wide, content: &[u8]| Digest::of(if wide { Algorithm::Sha512 } else { Algorithm::Sha256 }, content);
            let (a, b) = (of(x, &a), of(y, &b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,200}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }
}

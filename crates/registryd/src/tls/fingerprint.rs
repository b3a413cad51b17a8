//! SHA-256 of a certificate, which people compare and commands check.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The SHA-256 of a certificate's DER.
///
/// Written `sha256:` and 64 hexadecimal digits; read with or without that, with colons as `openssl x509
/// -fingerprint` prints them, in either case.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    pub(super) fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = ["sha256:", "sha256 fingerprint=", "sha256="]
            .iter()
            .find_map(|prefix| lower.strip_prefix(prefix))
            .unwrap_or(&lower)
            .replace(':', "");
        let mut bytes = [0; 32];
        hex::decode_to_slice(&digits, &mut bytes).map_err(|_| FingerprintError)?;
        Ok(Self(bytes))
    }
}

/// A text that is no [`Fingerprint`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits, as the server prints them at start"
)]
#[non_exhaustive]
pub struct FingerprintError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_is_read() {
        let wanted = Fingerprint::of(b"certificate");
        let digits = wanted.to_string().replace("sha256:", "");
        let pairs: Vec<_> = digits.as_bytes().chunks(2).collect();
        let colons = String::from_utf8(pairs.join(&b':')).unwrap();
        for text in [
            wanted.to_string(),
            digits.to_uppercase(),
            colons.clone(),
            format!("SHA256 Fingerprint={}", colons.to_uppercase()),
            format!(" {digits}\n"),
        ] {
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
        for text in ["", "sha256:", "sha1:abcd", &digits[1..], "sha256:zz"] {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text}");
        }
    }
}

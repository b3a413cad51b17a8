//! What is stored of an upload beside its bytes.

use std::time::{Duration, SystemTime};

use oci_core::store::UploadScope;
use oci_core::{Algorithm, Digest, Hasher, HasherState};
use serde::{Deserialize, Serialize};

/// An upload as of its last checkpoint.
///
/// A line of text: a magic word, the version, a checksum over the rest; then one JSON object. A torn
/// record, or one of a later version, is no record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Record {
    repository: String,
    principal: String,
    /// How many bytes of the data file count.
    pub(super) offset: u64,
    /// The running hash over them, in hexadecimal.
    hash: String,
    /// When the upload began, in milliseconds since 1970.
    pub(super) started: u64,
    /// When it was last written to.
    touched: u64,
}

impl Record {
    pub(super) fn new(scope: &UploadScope, hasher: &Hasher, started: u64, now: SystemTime) -> Self {
        Self {
            repository: scope.repository().to_string(),
            principal: scope.principal().to_owned(),
            offset: hasher.length(),
            hash: to_hex(hasher.state().as_bytes()),
            started,
            touched: millis(now),
        }
    }

    /// An upload without bytes, which began at `started`.
    pub(super) fn empty(scope: &UploadScope, started: SystemTime) -> Self {
        let hasher = Hasher::new(Algorithm::default());
        Self::new(scope, &hasher, millis(started), started)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{MAGIC} {}\n{json}\n", checksum(&json)).into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, json) = str::from_utf8(bytes).ok()?.split_once('\n')?;
        let json = json.strip_suffix('\n')?;
        let sum = head.strip_prefix(MAGIC)?.strip_prefix(' ')?;
        if sum != checksum(json) {
            return None;
        }
        serde_json::from_str(json).ok()
    }

    /// Whether it is an upload of `scope`.
    pub(super) fn is_of(&self, scope: &UploadScope) -> bool {
        self.repository == scope.repository().as_str() && self.principal == scope.principal()
    }

    /// The running hash; `None` if it cannot be used, so that the bytes must be read again.
    pub(super) fn hasher(&self) -> Option<Hasher> {
        let state = HasherState::from_bytes(&from_hex(&self.hash)?).ok()?;
        let hasher = Hasher::restore(&state).ok()?;
        (hasher.length() == self.offset).then_some(hasher)
    }

    /// Whether nobody wrote to it for so long. A clock that went back makes it young.
    pub(super) fn is_idle(&self, idle: Duration, now: SystemTime) -> bool {
        let age = millis(now).saturating_sub(self.touched);
        u128::from(age) >= idle.as_millis()
    }
}

pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn checksum(json: &str) -> String {
    let mut hex = Digest::sha256(json.as_bytes()).hex();
    hex.truncate(16);
    hex
}

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// The last part is the version.
const MAGIC: &str = "registryd-upload 1";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(principal: &str) -> UploadScope {
        UploadScope::new("library/debian".parse().unwrap(), principal)
    }

    proptest! {
        #[test]
        fn a_record_reads_back(content: Vec<u8>, principal: String, started: u64) {
            let mut hasher = Hasher::new(Algorithm::Sha512);
            hasher.update(&content);
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            let record = Record::new(&scope(&principal), &hasher, started, now);
            let back = Record::decode(&record.encode()).unwrap();
            prop_assert_eq!(&back, &record);
            prop_assert!(back.is_of(&scope(&principal)));
            let longer = scope(&(principal + "x"));
            prop_assert!(!back.is_of(&longer));
            prop_assert_eq!(back.hasher().unwrap().finish(), Digest::of(Algorithm::Sha512, &content));
            prop_assert!(back.is_idle(Duration::ZERO, now));
            prop_assert!(!back.is_idle(Duration::from_secs(1), now));
        }

        #[test]
        fn a_torn_record_is_none(cut: prop::sample::Index, flip in 1..=255_u8, at: prop::sample::Index) {
            let record = Record::new(&scope("p"), &Hasher::new(Algorithm::Sha256), 1, SystemTime::UNIX_EPOCH);
            let whole = record.encode();
            prop_assert_eq!(Record::decode(&whole[..cut.index(whole.len())]), None);
            let mut changed = whole.clone();
            changed[at.index(whole.len())] ^= flip;
            prop_assert_eq!(Record::decode(&changed), None);
        }

        #[test]
        fn untrusted_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert_eq!(Record::decode(&bytes), None);
        }
    }

    #[test]
    fn an_unusable_hash_state_is_noticed() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"abc");
        let mut record = Record::new(&scope("p"), &hasher, 1, SystemTime::UNIX_EPOCH);
        record.offset = 4;
        assert!(record.hasher().is_none());
        record.offset = 3;
        assert!(record.hasher().is_some());
        for broken in ["", "zz", "00", "0"] {
            record.hash = broken.to_owned();
            assert!(record.hasher().is_none(), "{broken}");
        }
    }
}

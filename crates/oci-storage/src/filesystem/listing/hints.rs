//! Which manifest was last found in a repository: looking for that one again is all it takes to list the
//! repository.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::SystemTime;

use oci_core::{Algorithm, Digest};

use super::super::lock;
use super::stamp::Stamp;

/// A bounded table for repositories below which there are no others. Forgetting costs a look into the
/// directory, nothing else.
#[derive(Debug)]
pub(super) struct Hints {
    hasher: RandomState,
    /// Names and stamps are hashed, with a key that nobody knows.
    known: Mutex<HashMap<u64, Hint>>,
    limit: usize,
}

#[derive(Debug)]
struct Hint {
    directory: u64,
    revision: [u8; 32],
}

impl Hints {
    pub(super) fn new(budget: usize) -> Self {
        // A hash table has a power of two of places and fills seven of eight.
        let places = (budget / PLACE + 1).next_power_of_two() / 2;
        Self {
            hasher: RandomState::new(),
            known: Mutex::default(),
            limit: places / 8 * 7,
        }
    }

    /// A manifest that was in the repository, if its directory is still as it was then.
    pub(super) fn revision(&self, name: &str, directory: &Stamp) -> Option<Digest> {
        let known = lock(&self.known);
        let hint = known.get(&self.hasher.hash_one(name))?;
        if hint.directory != self.hasher.hash_one(directory) {
            return None;
        }
        Digest::from_parts(Algorithm::Sha256, &hex(&hint.revision)).ok()
    }

    /// Remembers a manifest of a repository, if nothing can have changed in its directory since without
    /// a trace.
    pub(super) fn learn(&self, name: &str, directory: &Stamp, revision: &Digest) {
        let Ok(bytes) = revision.as_bytes().try_into() else {
            return;
        };
        if self.limit == 0 || !directory.is_settled(SystemTime::now()) {
            return;
        }
        let mut known = lock(&self.known);
        if known.len() >= self.limit {
            known.clear();
        }
        let hint = Hint {
            directory: self.hasher.hash_one(directory),
            revision: bytes,
        };
        known.insert(self.hasher.hash_one(name), hint);
    }

    /// Bytes of memory that this holds, about.
    pub(super) fn memory(&self) -> usize {
        lock(&self.known).capacity() / 7 * 8 * PLACE
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A key, a hint, and the table's own byte.
const PLACE: usize = 8 + size_of::<Hint>() + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_only_for_what_did_not_change() {
        for budget in [0, 48, 1000, 100_000] {
            let hints = Hints::new(budget);
            let revision = Digest::sha256(b"manifest");
            for number in 0..5000 {
                let name = format!("r{number}");
                hints.learn(&name, &Stamp::NONE, &revision);
                if budget > 1000 {
                    assert_eq!(hints.revision(&name, &Stamp::NONE), Some(revision));
                }
                assert!(hints.memory() <= budget, "{} of {budget}", hints.memory());
            }
            assert_eq!(hints.revision("other", &Stamp::NONE), None);
            let metadata = std::fs::metadata("/").unwrap();
            assert_eq!(hints.revision("r4999", &Stamp::of(&metadata)), None);
        }
    }
}

//! Incremental hashing whose state can leave the process and come back in another one.

use std::fmt;

use sha2::digest::Digest as _;
use sha2::digest::common::hazmat::SerializableState;
use sha2::digest::common::hazmat::SerializedState;
use sha2::{Sha256, Sha512};

use super::{Algorithm, Digest};

/// A running hash over content that arrives piece by piece.
///
/// Its [state](Hasher::state) can be stored after every piece and [restored](Hasher::restore) by
/// another process, so that an interrupted upload goes on without reading what it already has.
///
/// ```
/// use oci_core::{Algorithm, Digest, Hasher, HasherState};
///
/// let mut first = Hasher::new(Algorithm::Sha256);
/// first.update(b"hello ");
/// let stored: Vec<u8> = first.state().as_bytes().to_vec();
///
/// let mut second = Hasher::restore(&HasherState::from_bytes(&stored)?)?;
/// assert_eq!(second.length(), 6);
/// second.update(b"world");
/// assert_eq!(second.finish(), Digest::sha256(b"hello world"));
/// # Ok::<(), oci_core::HasherStateError>(())
/// ```
#[derive(Clone)]
pub struct Hasher {
    running: Running,
    length: u64,
}

impl Hasher {
    /// Starts over nothing.
    pub fn new(algorithm: Algorithm) -> Self {
        let running = match algorithm {
            Algorithm::Sha256 => Running::Sha256(Sha256::new()),
            Algorithm::Sha512 => Running::Sha512(Sha512::new()),
        };
        Self { running, length: 0 }
    }

    /// Goes on where the hasher that made `state` stood.
    ///
    /// # Errors
    /// If the state is not one that this version wrote: content must then be hashed again from its start.
    pub fn restore(state: &HasherState) -> Result<Self, HasherStateError> {
        let (algorithm, length, inner) = state.parts()?;
        let running = match algorithm {
            Algorithm::Sha256 => Running::Sha256(deserialize(inner)?),
            Algorithm::Sha512 => Running::Sha512(deserialize(inner)?),
        };
        Ok(Self { running, length })
    }

    /// Takes in the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.length += piece.len() as u64;
        match &mut self.running {
            Running::Sha256(hash) => hash.update(piece),
            Running::Sha512(hash) => hash.update(piece),
        }
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        match self.running {
            Running::Sha256(hash) => Digest::from_output(Algorithm::Sha256, &hash.finalize()),
            Running::Sha512(hash) => Digest::from_output(Algorithm::Sha512, &hash.finalize()),
        }
    }

    /// The hash function in use.
    pub fn algorithm(&self) -> Algorithm {
        match self.running {
            Running::Sha256(_) => Algorithm::Sha256,
            Running::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// How many bytes were taken in.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The state as it can be stored.
    pub fn state(&self) -> HasherState {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(MAGIC);
        bytes.push(match self.algorithm() {
            Algorithm::Sha256 => SHA256,
            Algorithm::Sha512 => SHA512,
        });
        bytes.extend_from_slice(&self.length.to_le_bytes());
        match &self.running {
            Running::Sha256(hash) => bytes.extend_from_slice(&hash.serialize()),
            Running::Sha512(hash) => bytes.extend_from_slice(&hash.serialize()),
        }
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        HasherState(bytes)
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("algorithm", &self.algorithm())
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// The stored form of a [`Hasher`].
///
/// Layout, version 1: `OHS1`, one byte for the algorithm, the length as 8 bytes little-endian, the
/// state of the `sha2` crate (release series 0.11), and 8 bytes of checksum over all before. The
/// checksum finds torn writes; it does not keep out somebody who can write to the store.
#[derive(Clone, Eq, PartialEq)]
pub struct HasherState(Vec<u8>);

impl HasherState {
    /// Reads a stored state and checks that it is whole.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HasherStateError> {
        let state = Self(bytes.to_vec());
        let (algorithm, _, inner) = state.parts()?;
        match algorithm {
            Algorithm::Sha256 => deserialize::<Sha256>(inner).map(drop)?,
            Algorithm::Sha512 => deserialize::<Sha512>(inner).map(drop)?,
        }
        Ok(state)
    }

    /// The bytes to store, about 130 for SHA-256 and 230 for SHA-512.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes of content the state stands for.
    pub fn length(&self) -> u64 {
        self.parts().map_or(0, |(_, length, _)| length)
    }

    fn parts(&self) -> Result<(Algorithm, u64, &[u8]), HasherStateError> {
        let (body, sum) = self
            .0
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(HasherStateError)?;
        if checksum(body) != *sum {
            return Err(HasherStateError);
        }
        let rest = body.strip_prefix(MAGIC).ok_or(HasherStateError)?;
        let (algorithm, rest) = rest.split_first().ok_or(HasherStateError)?;
        let (length, inner) = rest.split_first_chunk::<8>().ok_or(HasherStateError)?;
        let algorithm = match *algorithm {
            SHA256 => Algorithm::Sha256,
            SHA512 => Algorithm::Sha512,
            _ => return Err(HasherStateError),
        };
        let length = u64::from_le_bytes(*length);
        if taken_in(algorithm, inner) != Some(length) || length > MAX_LENGTH {
            return Err(HasherStateError);
        }
        Ok((algorithm, length, inner))
    }
}

impl fmt::Debug for HasherState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HasherState({} bytes of content)", self.length())
    }
}

/// A stored hash state that is torn, of another version, or not a hash state at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the stored hash state is damaged or of another version")]
#[non_exhaustive]
pub struct HasherStateError;

#[derive(Clone)]
enum Running {
    Sha256(Sha256),
    Sha512(Sha512),
}

fn deserialize<H: SerializableState>(bytes: &[u8]) -> Result<H, HasherStateError> {
    let state = <&SerializedState<H>>::try_from(bytes).map_err(|_| HasherStateError)?;
    H::deserialize(state).map_err(|_| HasherStateError)
}

/// How many bytes the inner state has taken in, by its own account: the number of whole blocks stands
/// behind the chaining value, and one byte for what waits in the buffer behind that. Trusted blindly,
/// the count would overflow at the end of the hash, and the next state saved would contradict itself.
fn taken_in(algorithm: Algorithm, inner: &[u8]) -> Option<u64> {
    let (blocks, waiting) = match algorithm {
        Algorithm::Sha256 => {
            let (count, rest) = inner.get(32..)?.split_first_chunk()?;
            (u64::from_le_bytes(*count), rest.first()?)
        }
        Algorithm::Sha512 => {
            let (count, rest) = inner.get(64..)?.split_first_chunk()?;
            let count = u128::from_le_bytes(*count);
            (u64::try_from(count).ok()?, rest.first()?)
        }
    };
    blocks
        .checked_mul(algorithm.block_len())?
        .checked_add(u64::from(*waiting))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let full = Sha256::digest(bytes);
    full.first_chunk().copied().unwrap_or_default()
}

const MAGIC: &[u8] = b"OHS1";
const SHA256: u8 = 1;
const SHA512: u8 = 2;
const CHECKSUM_LEN: usize = 8;
/// SHA-256 counts bits in 64 bits; nothing this long exists.
const MAX_LENGTH: u64 = u64::MAX >> 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hashing_in_pieces_with_a_restart_after_each(pieces: Vec<Vec<u8>>, sha512: bool) {
            let algorithm = if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let mut hasher = Hasher::new(algorithm);
            for piece in &pieces {
                hasher.update(piece);
                let stored = hasher.state().as_bytes().to_vec();
                hasher = Hasher::restore(&HasherState::from_bytes(&stored).unwrap()).unwrap();
            }
            let whole = pieces.concat();
            prop_assert_eq!(hasher.length(), whole.len() as u64);
            prop_assert_eq!(hasher.finish(), Digest::of(algorithm, &whole));
        }

        #[test]
        fn one_changed_byte_is_refused(at: prop::sample::Index, flip in 1..=255_u8) {
            let mut stored = Hasher::new(Algorithm::Sha256).state().as_bytes().to_vec();
            let at = at.index(stored.len());
            stored[at] ^= flip;
            prop_assert_eq!(HasherState::from_bytes(&stored), Err(HasherStateError));
        }

        #[test]
        fn untrusted_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert_eq!(HasherState::from_bytes(&bytes), Err(HasherStateError));
        }

        // A state whose parts contradict each other would be accepted now and refused when saved again.
        #[test]
        fn a_false_length_is_refused(content in prop::collection::vec(any::<u8>(), 0..400), claimed in 0..500_u64, sha512: bool) {
            prop_assume!(claimed != content.len() as u64);
            let algorithm = if sha512 { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&content);
            let mut bytes = hasher.state().as_bytes().to_vec();
            bytes.truncate(bytes.len() - CHECKSUM_LEN);
            bytes[MAGIC.len() + 1..][..8].copy_from_slice(&claimed.to_le_bytes());
            bytes.extend_from_slice(&checksum(&bytes));
            prop_assert_eq!(HasherState::from_bytes(&bytes), Err(HasherStateError));
        }

        // With a right checksum the inner state is still untrusted: it may be refused, never panic.
        #[test]
        fn untrusted_inner_state_never_panics(algorithm in 0..4_u8, inner in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = MAGIC.to_vec();
            bytes.push(algorithm);
            bytes.extend_from_slice(&7_u64.to_le_bytes());
            bytes.extend_from_slice(&inner);
            bytes.extend_from_slice(&checksum(&bytes));
            if let Ok(state) = HasherState::from_bytes(&bytes) {
                let mut hasher = Hasher::restore(&state).unwrap();
                hasher.update(&[1; 200]);
                hasher.finish();
            }
        }
    }
}

//! Blobs that no registry has seen, without making or hashing them anew.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// How many bytes at its end tell one content from another.
///
/// The end and not the beginning: the hash of all that stands before is computed once.
pub const TAIL: u64 = TAIL_LENGTH as u64;
const TAIL_LENGTH: usize = 16;

/// How much is read from the file at once.
pub(crate) const STEP: usize = 256 * 1024;

/// A file of random bytes that contents are cut from. It should fit into the page cache.
#[derive(Debug)]
pub struct Source {
    file: Arc<File>,
    length: u64,
    hashes: Mutex<BTreeMap<u64, Sha256>>,
}

/// The bytes of one blob: the beginning of the file, and an end of its own.
#[derive(Clone, Debug)]
pub struct Content {
    file: Arc<File>,
    length: u64,
    tail: [u8; TAIL_LENGTH],
    digest: String,
}

impl Source {
    /// Makes the file, with so many bytes, and replaces it if it is there.
    pub fn create(path: &Path, length: u64) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(path)?;
        let mut random = Random::new(length);
        let mut written = 0;
        let mut piece = vec![0; STEP];
        while written < length {
            random.fill(&mut piece);
            let wanted = usize::try_from(length - written).unwrap_or(STEP).min(STEP);
            (&file).write_all(piece.get(..wanted).unwrap_or_default())?;
            written += wanted as u64;
        }
        Ok(Self {
            file: Arc::new(file),
            length,
            hashes: Mutex::default(),
        })
    }

    /// How many bytes the largest content can have.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Content of `length` bytes. The same `seed` gives the same content.
    ///
    /// # Errors
    /// If the file cannot be read, or the length is not between [`TAIL`] and the file's.
    pub fn content(&self, length: u64, seed: u64) -> io::Result<Content> {
        if length < TAIL || length > self.length {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "content of {length} bytes cannot be cut from a source of {} bytes: take {TAIL} to {}",
                    self.length, self.length
                ),
            ));
        }
        let mut random = Random::new(seed);
        let mut tail = [0; TAIL_LENGTH];
        random.fill(&mut tail);
        let mut hash = self.hash_of_start(length - TAIL)?;
        hash.update(tail);
        Ok(Content {
            file: Arc::clone(&self.file),
            length,
            tail,
            digest: format!("sha256:{}", hex::encode(hash.finalize())),
        })
    }

    fn hash_of_start(&self, length: u64) -> io::Result<Sha256> {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hash) = hashes.get(&length) {
            return Ok(hash.clone());
        }
        let mut hash = Sha256::new();
        let mut piece = vec![0; STEP];
        let mut offset = 0;
        while offset < length {
            let wanted = usize::try_from(length - offset).unwrap_or(STEP).min(STEP);
            let piece = piece.get_mut(..wanted).unwrap_or_default();
            self.file.read_exact_at(piece, offset)?;
            hash.update(&*piece);
            offset += wanted as u64;
        }
        hashes.insert(length, hash.clone());
        Ok(hash)
    }
}

impl Content {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Its digest, `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Writes it to a new file.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut to = File::create(path)?;
        let mut offset = 0;
        let mut piece = vec![0; STEP];
        while offset < self.file_end() {
            let left = usize::try_from(self.file_end() - offset).unwrap_or(STEP);
            let piece = piece.get_mut(..left.min(STEP)).unwrap_or_default();
            self.file.read_exact_at(piece, offset)?;
            to.write_all(piece)?;
            offset += piece.len() as u64;
        }
        to.write_all(&self.tail)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Where the bytes from the file end.
    pub(crate) fn file_end(&self) -> u64 {
        self.length - TAIL
    }

    /// The bytes of `from..to` that do not come from the file.
    pub(crate) fn tail(&self, from: u64, to: u64) -> &[u8] {
        let end = self.file_end();
        let from = usize::try_from(from.max(end) - end).unwrap_or(usize::MAX);
        let to = usize::try_from(to.max(end) - end).unwrap_or(usize::MAX);
        self.tail.get(from..to).unwrap_or_default()
    }
}

/// xorshift64: as fast as memory, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds would begin with similar numbers: splitmix64 parts them.
        let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((state ^ (state >> 31)) | 1)
    }

    /// The next number.
    pub fn next_number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let number = self.next_number().to_le_bytes();
            piece.copy_from_slice(number.get(..piece.len()).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_differ_and_their_digests_are_true() {
        let directory = std::env::temp_dir();
        let path = directory.join(format!("registry-load-driver-{}", std::process::id()));
        let source = Source::create(&path, 300_000).unwrap();
        let bytes = {
            let mut bytes = vec![0; 300_000];
            source.file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        std::fs::remove_file(&path).unwrap();
        let mut digests = Vec::new();
        for (length, seed) in [(16, 1), (1000, 1), (300_000, 1), (300_000, 2)] {
            let content = source.content(length, seed).unwrap();
            let mut all = bytes[..usize::try_from(content.file_end()).unwrap()].to_vec();
            all.extend_from_slice(content.tail(0, length));
            assert_eq!(all.len() as u64, length);
            let digest = format!("sha256:{}", hex::encode(Sha256::digest(&all)));
            assert_eq!(content.digest(), digest);
            assert!(!digests.contains(&digest));
            digests.push(digest);
        }
        assert!(source.content(15, 0).is_err());
        assert!(source.content(300_001, 0).is_err());
    }
}

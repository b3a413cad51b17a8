//! Content that is made up on the fly: gigabytes without holding them.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

const BLOCK: usize = 64 * 1024;

/// A deterministic source of numbers (`SplitMix64`); the same seed replays the same run.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A source that depends on nothing but the seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next_u64() % (high.saturating_sub(low) + 1)
    }

    /// True in `percent` of a hundred calls.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    /// An index below `len`, or nothing when there is none.
    pub fn index(&mut self, len: usize) -> Option<usize> {
        let len = u64::try_from(len).ok().filter(|&len| len > 0)?;
        usize::try_from(self.next_u64() % len).ok()
    }
}

/// A blob: its seed and length say every byte of it.
///
/// One block of random bytes is repeated, each time with another counter in front, so that no two
/// blocks are equal, any offset can be read at the speed of a copy, and nothing is worth compressing.
#[derive(Debug, Clone)]
pub struct Payload {
    seed: u64,
    len: u64,
    digest: String,
}

impl Payload {
    /// Makes the content up and hashes it.
    pub fn new(seed: u64, len: u64) -> Self {
        let mut payload = Self {
            seed,
            len,
            digest: String::new(),
        };
        let mut hasher = Sha256::new();
        let mut reader = payload.reader(0, len);
        while let Some(piece) = reader.next_piece() {
            hasher.update(piece);
        }
        payload.digest = format!("sha256:{}", hex::encode(hasher.finalize()));
        payload
    }

    /// The length in bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty payload is nothing special"
    )]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The digest of the whole content.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Reads `start..end`.
    pub fn reader(&self, start: u64, end: u64) -> Reader {
        let mut random = Random::new(self.seed);
        let mut block = Vec::with_capacity(BLOCK);
        let wanted = usize::try_from(self.len).map_or(BLOCK, |len| len.clamp(8, BLOCK));
        while block.len() < wanted {
            block.extend_from_slice(&random.next_u64().to_le_bytes());
        }
        block.resize(BLOCK, 0);
        Reader {
            front: block
                .first_chunk()
                .map_or(0, |front| u64::from_le_bytes(*front)),
            block,
            position: start,
            end: end.min(self.len),
            current: None,
        }
    }

    /// A checker that compares what is fed to it with `start..end`, byte for byte.
    pub fn comparison(&self, start: u64, end: u64) -> Comparison {
        Comparison {
            expected: self.reader(start, end),
            differs_at: None,
        }
    }
}

/// Reads a part of a [`Payload`].
#[derive(Debug)]
pub struct Reader {
    block: Vec<u8>,
    front: u64,
    position: u64,
    end: u64,
    current: Option<u64>,
}

impl Reader {
    /// The offset in the payload of the next byte.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn next_piece(&mut self) -> Option<&[u8]> {
        self.piece(BLOCK)
    }

    fn piece(&mut self, limit: usize) -> Option<&[u8]> {
        if self.position >= self.end {
            return None;
        }
        let index = self.position / BLOCK as u64;
        if self.current != Some(index) {
            let front = (self.front ^ index).to_le_bytes();
            self.block.get_mut(..8)?.copy_from_slice(&front);
            self.current = Some(index);
        }
        let within = usize::try_from(self.position % BLOCK as u64).ok()?;
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let len = limit.min(left).min(BLOCK - within);
        self.position += len as u64;
        self.block.get(within..within + len)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.piece(buffer.len()) else {
            return Ok(0);
        };
        if let Some(target) = buffer.get_mut(..piece.len()) {
            target.copy_from_slice(piece);
        }
        Ok(piece.len())
    }
}

/// Compares a stream with a [`Payload`].
#[derive(Debug)]
pub struct Comparison {
    expected: Reader,
    differs_at: Option<u64>,
}

impl Comparison {
    /// Takes the next bytes that arrived.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.differs_at.is_none() {
            let at = self.expected.position();
            let Some((expected, rest)) = self
                .expected
                .piece(bytes.len())
                .and_then(|piece| Some((piece, bytes.split_at_checked(piece.len())?)))
                .map(|(piece, (now, rest))| (piece == now, rest))
            else {
                self.differs_at = Some(at);
                return;
            };
            if !expected {
                self.differs_at = Some(at);
            }
            bytes = rest;
        }
    }

    /// What was wrong, if anything.
    pub fn finish(self) -> Result<(), String> {
        match self.differs_at {
            Some(at) => Err(format!("content differs in the piece at offset {at}")),
            None if self.expected.position < self.expected.end => Err(format!(
                "content ends at {} of {}",
                self.expected.position, self.expected.end
            )),
            None => Ok(()),
        }
    }
}

/// The digest of bytes at hand.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_reads_the_same() {
        let payload = Payload::new(7, 200_001);
        let mut whole = Vec::new();
        payload
            .reader(0, payload.len())
            .read_to_end(&mut whole)
            .unwrap();
        assert_eq!(digest(&whole), payload.digest());
        let mut part = Vec::new();
        payload
            .reader(65_530, 140_000)
            .read_to_end(&mut part)
            .unwrap();
        assert_eq!(part, whole[65_530..140_000]);
    }

    #[test]
    fn a_comparison_sees_every_difference() {
        let payload = Payload::new(8, 100_000);
        let mut bytes = Vec::new();
        payload
            .reader(0, payload.len())
            .read_to_end(&mut bytes)
            .unwrap();
        let check = |bytes: &[u8]| {
            let mut comparison = payload.comparison(0, payload.len());
            bytes.chunks(777).for_each(|piece| comparison.feed(piece));
            comparison.finish()
        };
        check(&bytes).unwrap();
        check(&bytes[..99_999]).unwrap_err();
        bytes[99_998] ^= 1;
        check(&bytes).unwrap_err();
        bytes[99_998] ^= 1;
        bytes.push(0);
        check(&bytes).unwrap_err();
    }
}

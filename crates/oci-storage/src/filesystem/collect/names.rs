//! Sets of digests, small: a registry may have millions.

use oci_core::{Algorithm, Digest};

/// A set of digests that takes 32 bytes for each, up to 64 while it grows, and 96 for the moment in which
/// it is moved.
///
/// Of a SHA-512 the first half is kept. Two that share it would keep each other, which nobody can bring
/// about and which would do no harm.
#[derive(Debug, Default)]
pub(super) struct DigestSet {
    sha256: Sorted,
    sha512: Sorted,
}

impl DigestSet {
    pub(super) fn insert(&mut self, digest: &Digest) {
        if let Some(key) = key(digest) {
            self.of(digest.algorithm()).insert(key);
        }
    }

    pub(super) fn contains(&mut self, digest: &Digest) -> bool {
        match key(digest) {
            Some(key) => self.of(digest.algorithm()).contains(&key),
            None => false,
        }
    }

    pub(super) fn extend(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.sha256, &other.sha256),
            (&mut self.sha512, &other.sha512),
        ] {
            for key in &from.keys {
                to.insert(*key);
            }
        }
    }

    fn of(&mut self, algorithm: Algorithm) -> &mut Sorted {
        match algorithm {
            Algorithm::Sha512 => &mut self.sha512,
            _ => &mut self.sha256,
        }
    }
}

type Key = [u8; 32];

fn key(digest: &Digest) -> Option<Key> {
    digest.as_bytes().first_chunk().copied()
}

/// Keys, of which the first `settled` are sorted and differ.
#[derive(Debug, Default)]
struct Sorted {
    keys: Vec<Key>,
    settled: usize,
}

impl Sorted {
    fn insert(&mut self, key: Key) {
        if self.keys.len() == self.keys.capacity() {
            // Layers are shared: before it takes more memory, it looks what is there twice.
            self.settle();
            if self.keys.len() > self.keys.capacity() / 2 {
                self.keys.reserve(self.keys.len().max(64));
            }
        }
        self.keys.push(key);
    }

    fn contains(&mut self, key: &Key) -> bool {
        self.settle();
        self.keys.binary_search(key).is_ok()
    }

    fn settle(&mut self) {
        if self.settled < self.keys.len() {
            self.keys.sort_unstable();
            self.keys.dedup();
            self.settled = self.keys.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(
            inserted in proptest::collection::vec((any::<u8>(), any::<bool>()), 0..600),
            asked in proptest::collection::vec((any::<u8>(), any::<bool>()), 0..50),
        ) {
            let of = |(seed, long): (u8, bool)| {
                let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
                Digest::of(algorithm, &[seed])
            };
            let (mut set, mut reference) = (DigestSet::default(), HashSet::new());
            for (i, which) in inserted.into_iter().enumerate() {
                set.insert(&of(which));
                reference.insert(which);
                if i % 100 == 0 {
                    prop_assert!(set.contains(&of(which)));
                }
            }
            let mut copy = DigestSet::default();
            copy.extend(&set);
            for which in asked {
                prop_assert_eq!(set.contains(&of(which)), reference.contains(&which));
                prop_assert_eq!(copy.contains(&of(which)), reference.contains(&which));
            }
        }
    }

    #[test]
    fn what_is_inserted_again_and_again_takes_no_more_room() {
        let mut set = Sorted::default();
        for round in 0..100_000_u32 {
            let mut key = [0; 32];
            key[0] = (round % 200) as u8;
            set.insert(key);
        }
        assert!(set.keys.capacity() <= 1024, "{}", set.keys.capacity());
    }
}

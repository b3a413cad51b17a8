//! Manifests in memory, by digest. They never change, so the only question is whether a repository has
//! one, and that is always asked of the disk.

use std::fmt;

use oci_core::Digest;
use oci_core::store::StoredManifest;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Verified manifests within a budget of bytes.
pub(super) struct ManifestCache {
    cache: Cache<Digest, StoredManifest, Weight>,
}

impl ManifestCache {
    /// Keeps about `budget` bytes; 0 keeps none.
    pub(super) fn new(budget: usize) -> Self {
        let budget = budget as u64;
        Self {
            cache: Cache::with_weighter((budget / TYPICAL) as usize, budget, Weight),
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<StoredManifest> {
        self.cache.get(digest)
    }

    pub(super) fn insert(&self, digest: Digest, manifest: StoredManifest) {
        self.cache.insert(digest, manifest);
    }
}

impl fmt::Debug for ManifestCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManifestCache")
            .field("manifests", &self.cache.len())
            .field("bytes", &self.cache.weight())
            .finish()
    }
}

#[derive(Clone, Copy, Debug)]
struct Weight;

impl Weighter<Digest, StoredManifest> for Weight {
    fn weight(&self, _: &Digest, manifest: &StoredManifest) -> u64 {
        manifest.bytes.len() as u64 + ENTRY
    }
}

/// What an entry takes beside the manifest's bytes.
const ENTRY: u64 = 300;
const TYPICAL: u64 = 2048;

#[cfg(test)]
mod tests {
    use oci_core::ManifestType;

    use super::*;

    #[test]
    fn it_stays_within_its_budget() {
        let cache = ManifestCache::new(100_000);
        for serial in 0..1000_u32 {
            let bytes = serial.to_le_bytes().repeat(250);
            let digest = Digest::sha256(&bytes);
            let manifest = StoredManifest::new(digest, ManifestType::OciImage, bytes.into());
            cache.insert(digest, manifest.clone());
            assert!(cache.get(&digest).is_none_or(|found| found == manifest));
        }
        assert!(cache.cache.weight() <= 100_000, "{cache:?}");
        assert!(cache.cache.len() > 20, "{cache:?}");
    }
}

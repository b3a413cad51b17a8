//! The contracts of both planes, on the records engine over memory.

#![cfg(feature = "records")]

use oci_core::Digest;
use oci_core::testkit::{StoreUnderTest, Stores};
use oci_storage::records::{
    Guarantees, MemoryExtents, MemoryRecords, PartLimits, Records, RecordsOptions, UploadLocks,
};

/// Records and extents that stay while engines come and go. The engines share who writes where, as
/// those of one process do.
#[derive(Debug)]
struct Place {
    records: MemoryRecords,
    extents: MemoryExtents,
    locks: UploadLocks,
    part_size: u64,
    buffer_bytes: u64,
}

impl Place {
    fn new(part_size: u64, buffer_bytes: u64, max_parts: usize) -> Self {
        let limits = PartLimits::new(part_size, 5 << 30, max_parts);
        Self {
            records: MemoryRecords::new().with_guarantees(Guarantees::ALL),
            extents: MemoryExtents::with_limits(limits).with_guarantees(Guarantees::ALL),
            locks: UploadLocks::default(),
            part_size,
            buffer_bytes,
        }
    }
}

impl StoreUnderTest for Place {
    fn open(&self) -> Stores {
        let mut options = RecordsOptions::default();
        options.locks = self.locks.clone();
        options.part_size = self.part_size;
        options.buffer_bytes = self.buffer_bytes;
        options.checkpoint_bytes = self.part_size * 3;
        Stores::both(Records::with_options(
            self.records.clone(),
            self.extents.clone(),
            options,
        ))
    }

    // A record that was cut off counts as absent. Extents are never cut off by the stores they are in.
    fn damage(&self, digest: &Digest) -> bool {
        let key = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        if !self.records.keys().contains(&key) {
            return false;
        }
        self.records.overwrite(&key, b"ORR1 and no more"[..].into());
        true
    }

    fn can_damage(&self) -> bool {
        true
    }
}

mod as_shipped {
    use super::Place;

    oci_core::store_contracts!(Place::new(8 << 20, 256 << 20, 10_000));
}

// Every upload of the kit has many parts, tails and several extents.
mod with_small_parts {
    use super::Place;

    oci_core::store_contracts!(Place::new(20_000, 64 << 20, 3));
}

// Hardly any memory for content, so that it is stored in whatever pieces fit.
mod with_little_memory {
    use super::Place;

    oci_core::store_contracts!(Place::new(1_500_000, 1, 10_000));
}

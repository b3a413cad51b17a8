//! The contracts of both planes, on the records engine over sled.
#![cfg(feature = "sled")]
#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use oci_core::Digest;
use oci_core::testkit::{StoreUnderTest, Stores};
use oci_storage::records::{RecordStore, RecordsOptions, UploadLocks};
use oci_storage::sled::{Sled, SledOptions};

/// One database, which stays open while engines over it come and go, as sled has it.
#[derive(Debug)]
struct Place {
    // Dropped first, so that the directory is not removed under it.
    store: Sled,
    locks: UploadLocks,
    part_size: u64,
    _directory: tempfile::TempDir,
}

impl Place {
    fn new(part_size: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = SledOptions::default();
        options.min_free = 0;
        Self {
            store: Sled::open(directory.path(), options).unwrap(),
            locks: UploadLocks::default(),
            part_size,
            _directory: directory,
        }
    }
}

impl StoreUnderTest for Place {
    fn open(&self) -> Stores {
        let mut options = RecordsOptions::default();
        options.locks = self.locks.clone();
        options.part_size = self.part_size;
        options.checkpoint_bytes = self.part_size * 3;
        Stores::both(self.store.clone().into_records(options))
    }

    fn damage(&self, digest: &Digest) -> bool {
        let key = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let Some(found) = self.store.get(&key).await.unwrap() else {
                return false;
            };
            let torn = b"ORR1 and no more"[..].into();
            let swapped = self.store.put_if(&key, torn, Some(&found.version)).await;
            swapped.is_ok()
        })
    }

    fn can_damage(&self) -> bool {
        true
    }
}

mod as_shipped {
    use super::Place;

    oci_core::store_contracts!(
        Place::new(8 << 20),
        skips = ["uploads_resume_in_another_process"]
    );
}

// Uploads of the kit have several parts, tails and extents.
mod with_small_parts {
    use super::Place;

    oci_core::store_contracts!(Place::new(1), skips = ["uploads_resume_in_another_process"]);
}

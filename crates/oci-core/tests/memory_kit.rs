//! The memory store keeps every contract.

use oci_core::memory::MemoryStore;
use oci_core::testkit::{StoreUnderTest, Stores};

#[derive(Debug, Default)]
struct InMemory(MemoryStore);

impl StoreUnderTest for InMemory {
    fn open(&self) -> Stores {
        Stores::both(self.0.clone())
    }
}

oci_core::store_contracts!(
    InMemory::default(),
    skips = [
        "a_damaged_blob_heals_when_pushed_again",
        "manifests_outlive_the_process",
        "uploads_resume_in_another_process",
    ]
);

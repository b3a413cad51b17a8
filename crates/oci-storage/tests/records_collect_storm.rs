//! A storm of pushes on the records engine, and a collector that never rests: first without any grace, when
//! every blob that was just pushed is garbage until its manifest comes; then with the grace that clients rely
//! on. The same on a bucket: `tests/object-storage/tests/collecting.rs`.
//!
//! Fifty times as many are pushed with `REGISTRY_STORM_PUSHES=100000`, and with `REGISTRY_STORM_GRACE=60` the grace
//! is that many seconds.
#![cfg(feature = "records")]
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

mod records_storm;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oci_storage::records::{MemoryExtents, MemoryRecords, Records, RecordsOptions};
use records_storm::{Replica, pushes, storm};

/// An hour, so that a slow machine does not outlive it.
fn grace() -> Duration {
    let asked = std::env::var("REGISTRY_STORM_GRACE").ok();
    Duration::from_secs(asked.map_or(3600, |text| text.parse().unwrap()))
}

fn memory() -> Replica {
    let (records, extents) = (MemoryRecords::new(), MemoryExtents::new());
    Arc::new(move |grace| {
        let mut options = RecordsOptions::default();
        options.grace = grace;
        Records::with_options(records.clone(), extents.clone(), options)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn without_grace_nothing_acknowledged_breaks_and_all_garbage_goes() {
    let seen = storm(&memory(), pushes(2000), Duration::ZERO).await;
    assert!(seen.deleted.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_grace_nobody_is_refused() {
    let seen = storm(&memory(), pushes(2000), grace()).await;
    assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
    assert_eq!(seen.again.load(Ordering::Relaxed), 0);
}

#[cfg(feature = "sled")]
mod on_sled {
    use oci_storage::sled::{Sled, SledOptions};

    use super::*;

    fn sled(directory: &tempfile::TempDir) -> Replica {
        let mut options = SledOptions::default();
        options.min_free = 0;
        let store = Sled::open(directory.path(), options).unwrap();
        Arc::new(move |grace| {
            let mut options = RecordsOptions::default();
            options.grace = grace;
            store.clone().into_records(options)
        })
    }

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_grace_nothing_acknowledged_breaks_and_all_garbage_goes() {
        let directory = directory();
        storm(&sled(&directory), pushes(100), Duration::ZERO).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn within_grace_nobody_is_refused() {
        let directory = directory();
        let seen = storm(&sled(&directory), pushes(100), grace()).await;
        assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
    }
}

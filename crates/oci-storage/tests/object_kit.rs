//! The contracts of both planes, on the records engine over a bucket in memory.

#![cfg(feature = "object-store")]
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use std::pin::Pin;

use oci_core::Digest;
use oci_core::testkit::{StoreUnderTest, Stores};
use oci_storage::object::{Bucket, ObjectRecords, Verdict, probe};
use oci_storage::records::{RecordStore, RecordsOptions, UploadLocks};

#[derive(Debug)]
struct Place {
    bucket: Bucket,
    verdict: Verdict,
    locks: UploadLocks,
}

impl Place {
    fn new(verdict: Verdict) -> Self {
        Self {
            bucket: Bucket::in_memory(),
            verdict,
            locks: UploadLocks::default(),
        }
    }
}

impl StoreUnderTest for Place {
    fn open(&self) -> Stores {
        let mut options = RecordsOptions::default();
        options.locks = self.locks.clone();
        Stores::both(self.bucket.records(&self.verdict, options))
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        runtime().block_on(future);
    }

    // A record that was cut off counts as absent.
    fn damage(&self, digest: &Digest) -> bool {
        let records = ObjectRecords::new(self.bucket.clone(), &self.verdict);
        let key = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        // The kit calls this on a thread that runs a runtime already.
        let damaged = std::thread::scope(|scope| {
            let damaging = scope.spawn(|| {
                runtime().block_on(async {
                    let found = records.get(&key).await.unwrap()?;
                    let cut = b"ORR1 and no more"[..].into();
                    Some(
                        records
                            .put_if(&key, cut, Some(&found.version))
                            .await
                            .unwrap(),
                    )
                })
            });
            damaging.join().unwrap()
        });
        damaged.is_some()
    }

    fn can_damage(&self) -> bool {
        true
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().unwrap()
}

mod by_conditional_writes {
    use oci_storage::object::Verdict;

    use super::Place;

    oci_core::store_contracts!(Place::new(Verdict::default()));
}

mod by_locks_of_one_process {
    use oci_storage::object::Verdict;

    use super::Place;

    oci_core::store_contracts!(
        Place::new(Verdict::nothing()),
        skips = ["uploads_resume_in_another_process"]
    );
}

#[test]
fn memory_keeps_what_is_asked_of_a_service_and_the_probe_clears_up() {
    let bucket = Bucket::in_memory();
    let verdict = runtime().block_on(probe(&bucket)).unwrap();
    assert!(verdict.is_shared(), "{verdict}");
    let records = ObjectRecords::new(bucket, &verdict);
    let left = runtime()
        .block_on(records.scan("probe/", None, 10))
        .unwrap();
    assert!(left.is_empty(), "{left:?}");
}

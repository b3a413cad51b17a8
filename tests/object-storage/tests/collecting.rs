//! A storm of pushes to a bucket, and a collector that never rests: first without any grace, when every blob
//! that was just pushed is garbage until its manifest comes; then with one of a minute. Each pusher and the
//! collector have a client of their own, as replicas do.
//!
//! Fifty times as many are pushed with `REGISTRY_STORM_PUSHES=2000`, and to another server than moto with
//! `REGISTRY_STORM_ENDPOINT=http://127.0.0.1:8333`, which has the bucket and the keys of the tests.
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

#[path = "../../../crates/oci-storage/tests/records_storm/mod.rs"]
mod records_storm;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oci_storage::object::{S3Options, probe};
use oci_storage::records::{RecordsOptions, Spawn};
use records_storm::{Replica, pushes, storm};
use registry_object_storage_tests::{Moto, moto};
use tokio::runtime::Handle;

/// What goes on after its caller has left.
#[derive(Debug)]
struct OnRuntime(Handle);

impl Spawn for OnRuntime {
    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(work);
    }
}

/// A prefix of its own for each storm. Listings of moto look at everything in a bucket, so each has a bucket,
/// too.
fn place(name: &str) -> S3Options {
    if let Ok(endpoint) = std::env::var("REGISTRY_STORM_ENDPOINT") {
        return moto::options(endpoint, name);
    }
    let moto = Moto::shared(env!("CARGO_TARGET_TMPDIR"));
    let mut options = moto.options(name);
    options.bucket = moto.fresh_bucket().unwrap();
    options
}

async fn bucket(name: &str) -> Replica {
    let options = place(name);
    let verdict = probe(&options.clone().open().unwrap()).await.unwrap();
    assert!(verdict.is_shared(), "{verdict}");
    Arc::new(move |grace| {
        let bucket = options.clone().open().unwrap();
        let mut options = RecordsOptions::default();
        options.grace = grace;
        options.spawn = Arc::new(OnRuntime(Handle::current()));
        bucket.records(&verdict, options)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_grace_nothing_acknowledged_breaks_and_all_garbage_goes() {
    let replica = bucket("storm-without-grace").await;
    storm(&replica, pushes(40), Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_a_minute_nobody_is_refused() {
    let replica = bucket("storm-with-grace").await;
    let seen = storm(&replica, pushes(40), Duration::from_secs(60)).await;
    assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
}

//! The contracts of both planes, on the records engine over a bucket of each of two S3 servers.
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use std::path::Path;
use std::pin::Pin;

use oci_core::Digest;
use oci_core::testkit::{StoreUnderTest, Stores};
use oci_storage::object::{Bucket, ObjectRecords, S3Options, Verdict, probe};
use oci_storage::records::{RecordStore, RecordsOptions, Spawn, UploadLocks};
use registry_object_storage_tests::{Moto, S3sFs};
use tokio::runtime::{Builder, Handle, Runtime};

#[derive(Debug)]
struct Place {
    options: S3Options,
    verdict: Verdict,
    locks: UploadLocks,
    _server: Option<S3sFs>,
}

impl Place {
    fn new(verdict: Verdict) -> Self {
        let moto = Moto::shared(env!("CARGO_TARGET_TMPDIR"));
        Self {
            options: moto.options(&moto.fresh_root()),
            verdict,
            locks: UploadLocks::default(),
            _server: None,
        }
    }

    /// A bucket of the other server. Racing creations have several winners there, so it is for one
    /// process, whose stores take turns by their verdict: the second process of the contracts has no place. It looks at all its keys for a listing,
    /// so each place has a server of its own.
    fn of_files() -> Self {
        let server = S3sFs::start(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
        Self {
            options: server.options("root"),
            verdict: Verdict::nothing(),
            locks: UploadLocks::default(),
            _server: Some(server),
        }
    }

    /// A client of its own, as another process would have.
    fn bucket(&self) -> Bucket {
        self.options.clone().open().unwrap()
    }
}

impl StoreUnderTest for Place {
    fn open(&self) -> Stores {
        let mut options = RecordsOptions::default();
        options.locks = self.locks.clone();
        if let Ok(runtime) = Handle::try_current() {
            options.spawn = std::sync::Arc::new(OnRuntime(runtime));
        }
        Stores::both(self.bucket().records(&self.verdict, options))
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        runtime().block_on(future);
    }

    // A record that was cut off counts as absent.
    fn damage(&self, digest: &Digest) -> bool {
        let key = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        let damage = async || {
            let records = ObjectRecords::new(self.bucket(), &self.verdict);
            let found = records.get(&key).await.unwrap()?;
            let cut = b"ORR1 and no more"[..].into();
            let written = records.put_if(&key, cut, Some(&found.version)).await;
            Some(written.unwrap())
        };
        // The kit calls this on a thread that runs a runtime already.
        let damaged = std::thread::scope(|scope| {
            let damaging = scope.spawn(|| runtime().block_on(damage()));
            damaging.join().unwrap()
        });
        damaged.is_some()
    }

    fn can_damage(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct OnRuntime(Handle);

impl Spawn for OnRuntime {
    fn spawn(&self, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(work);
    }
}

/// The kit blocks the thread that polls, so others have to wait for the network.
fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

mod by_conditional_writes {
    use oci_storage::object::Verdict;

    use super::Place;

    oci_core::store_contracts!(Place::new(Verdict::default()));
}

mod of_one_process_on_files {
    use super::Place;

    oci_core::store_contracts!(
        Place::of_files(),
        skips = ["uploads_resume_in_another_process"]
    );
}

#[test]
fn the_probe_finds_everything_kept_and_clears_up() {
    let place = Place::new(Verdict::default());
    let bucket = place.bucket();
    runtime().block_on(async {
        let verdict = probe(&bucket).await.unwrap();
        assert!(verdict.is_shared(), "{verdict}");
        let records = ObjectRecords::new(bucket.clone(), &verdict);
        let left = records.scan("probe/", None, 10).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
        let asked = bucket.requests().total();
        assert!(asked <= 75, "{asked} requests, as the documentation says");
    });
}

#[test]
fn a_scan_asks_for_its_page_and_goes_on_after_a_key() {
    let place = Place::new(Verdict::default());
    let records = ObjectRecords::new(place.bucket(), &place.verdict);
    runtime().block_on(async {
        for n in 0..7 {
            for directory in ["tags/a!", "tags/a-b!", "tags/a"] {
                let key = format!("{directory}/v{n}");
                records.put_if(&key, b"x"[..].into(), None).await.unwrap();
            }
        }
        let page = async |after: Option<&str>, limit| {
            let found = records.scan("tags/a!/", after, limit).await.unwrap();
            found.into_iter().map(|entry| entry.key).collect::<Vec<_>>()
        };
        assert_eq!(page(None, 2).await, ["tags/a!/v0", "tags/a!/v1"]);
        assert_eq!(
            page(Some("tags/a!/v4"), 9).await,
            ["tags/a!/v5", "tags/a!/v6"]
        );
        // Neither before the prefix nor behind it is anything of it.
        assert_eq!(page(Some("tags/a!"), 1).await, ["tags/a!/v0"]);
        assert!(page(Some("tags/b"), 1).await.is_empty());
    });
}

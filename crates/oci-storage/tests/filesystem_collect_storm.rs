//! A storm of pushes, and a collector that never rests: first without any grace, when every blob that was
//! just pushed is garbage until its manifest comes; then with the grace that clients rely on.
//!
//! Fifty times as many are pushed with `REGISTRY_STORM_PUSHES=100000`, and with `REGISTRY_STORM_GRACE=60` the grace
//! is that many seconds. The volume is in `/dev/shm`, where there is one: ext4 searches past each inode that was
//! lately removed.
#![cfg(all(feature = "filesystem", target_os = "linux"))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is how a test reports"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use filesystem_common::*;
use oci_core::store::{CollectEnd, CollectOptions};
use oci_core::{
    BlobStore, Digest, ManifestReference, ManifestStore, ReferenceKind, RepositoryName, StoreError,
};
use oci_storage::filesystem::Filesystem;

mod filesystem_common;

/// Pushers at a time.
const PUSHERS: u64 = 8;
/// Images whose blobs several pushers push, over and over.
const SHARED: u64 = 40;

fn pushes() -> u64 {
    let asked = std::env::var("REGISTRY_STORM_PUSHES").ok();
    asked.map_or(2000, |text| text.parse().unwrap())
}

/// An hour, so that a slow machine does not outlive it.
fn grace() -> Duration {
    let asked = std::env::var("REGISTRY_STORM_GRACE").ok();
    Duration::from_secs(asked.map_or(3600, |text| text.parse().unwrap()))
}

/// What the pushers saw.
#[derive(Debug, Default)]
struct Seen {
    removed: AtomicU64,
    acknowledged: AtomicU64,
    deleted: AtomicU64,
    refused: AtomicU64,
    abandoned: AtomicU64,
}

struct Image {
    repository: RepositoryName,
    blobs: [Vec<u8>; 2],
    tag: String,
}

impl Image {
    /// A third has content of its own, the others take turns on what is shared.
    fn of(pusher: u64, serial: u64) -> Self {
        let seed = if serial.is_multiple_of(3) {
            1000 + serial
        } else {
            serial % SHARED
        };
        Self {
            // Deleting a manifest reads each tag of its repository, so no repository has very many.
            repository: name(&format!("storm/{}-{}", serial / 2000, pusher % 3)),
            blobs: [content(seed, 60), content(seed * 7 + 1_000_000, 700)],
            tag: format!("t{serial}"),
        }
    }

    fn manifest(&self) -> oci_core::Manifest {
        let [config, layer] = &self.blobs;
        image(config, layer, None)
    }

    /// As clients do: ask, upload what is missing, put the manifest, and if that is refused, again.
    async fn push(&self, store: &Filesystem, seen: &Seen) -> Digest {
        let manifest = self.manifest();
        loop {
            for blob in &self.blobs {
                let digest = Digest::sha256(blob);
                let size = blob.len() as u64;
                let reference = ManifestReference::new(ReferenceKind::Blob, digest, size);
                match store.claim(&self.repository, &[reference]).await {
                    Ok(_) => {}
                    Err(StoreError::MissingReferences(_)) => {
                        push(store, &self.repository, blob).await.unwrap();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            match put(store, &self.repository, &manifest, &[&self.tag]).await {
                Ok(digest) => return digest,
                Err(StoreError::MissingReferences(_)) => {
                    seen.refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn assert_whole(&self, store: &Filesystem) {
        let manifest = self.manifest();
        let digest = Digest::sha256(manifest.bytes());
        let stored = ManifestStore::read(store, &self.repository, &digest).await;
        assert_eq!(&stored.unwrap().bytes, manifest.bytes());
        for blob in &self.blobs {
            let digest = Digest::sha256(blob);
            let at = &self.repository;
            assert!(
                store.has_blob(at, &digest).await.unwrap(),
                "{at} {}",
                self.tag
            );
            let bytes = read(store, &digest).await;
            assert!(&bytes.unwrap() == blob, "{at} {}", self.tag);
        }
    }
}

/// Pushes, reads back what was acknowledged, and deletes some of it; returns what must be there in the end.
async fn pusher(id: u64, store: Filesystem, seen: Arc<Seen>) -> Vec<Image> {
    let mut whole: Vec<Image> = Vec::new();
    for serial in (0..pushes()).filter(|serial| serial % PUSHERS == id) {
        let image = Image::of(id, serial);
        if serial % 11 == 5 {
            // The client goes away in the middle.
            push(&store, &image.repository, &content(serial + 9_000_000, 500))
                .await
                .unwrap();
            seen.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        let digest = image.push(&store, &seen).await;
        seen.acknowledged.fetch_add(1, Ordering::Relaxed);
        if serial % 3 == 0 && serial % 2 == 0 {
            // Nobody else pushes this one.
            image.assert_whole(&store).await;
            ManifestStore::delete(&store, &image.repository, &digest)
                .await
                .unwrap();
            seen.deleted.fetch_add(1, Ordering::Relaxed);
        } else {
            whole.push(image);
        }
    }
    whole
}

async fn storm(options: CollectOptions, store_grace: Duration) -> (Volume, Filesystem, Arc<Seen>) {
    let volume = Volume::in_memory();
    let mut how = oci_storage::filesystem::Options::default();
    how.grace = store_grace;
    let (store, collecting) = (volume.open_with(how.clone()), volume.open_with(how));
    let seen = Arc::new(Seen::default());
    let over = Arc::new(AtomicBool::new(false));
    let (ended, told) = (Arc::clone(&over), Arc::clone(&seen));
    let collector = tokio::spawn(async move {
        let mut runs = 0;
        while !ended.load(Ordering::Relaxed) {
            let collected = collecting.collect(&options, Arc::new(())).await.unwrap();
            runs += u64::from(collected.end == CollectEnd::Complete);
            told.removed
                .fetch_add(collected.removed.count, Ordering::Relaxed);
            println!("{runs} runs; {told:?}");
        }
        runs
    });
    let pushers: Vec<_> = (0..PUSHERS)
        .map(|id| tokio::spawn(pusher(id, store.clone(), Arc::clone(&seen))))
        .collect();
    let mut whole = Vec::new();
    for pusher in pushers {
        whole.extend(pusher.await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let runs = collector.await.unwrap();
    println!("{runs} runs; {seen:?}");
    assert!(runs > 2, "{runs} runs");
    assert_eq!(seen.acknowledged.load(Ordering::Relaxed), pushes());
    for image in &whole {
        image.assert_whole(&store).await;
        let tag = tag(&image.tag);
        let at = store.resolve(&image.repository, &tag).await.unwrap();
        assert_eq!(at, Digest::sha256(image.manifest().bytes()));
    }
    (volume, store, seen)
}

/// What a run would find to remove.
async fn garbage(store: &Filesystem) -> u64 {
    let mut dry = after(Duration::ZERO);
    dry.dry_run = true;
    let found = store.collect(&dry, Arc::new(())).await.unwrap();
    found.garbage.count + found.garbage_links
}

#[tokio::test(flavor = "multi_thread")]
async fn without_grace_nothing_acknowledged_breaks_and_all_garbage_goes() {
    let (_volume, store, seen) = storm(after(Duration::ZERO), Duration::from_secs(86400)).await;
    assert!(seen.deleted.load(Ordering::Relaxed) > 0);
    for _ in 0..2 {
        store
            .collect(&after(Duration::ZERO), Arc::new(()))
            .await
            .unwrap();
    }
    assert_eq!(garbage(&store).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_grace_nobody_is_refused() {
    let grace = grace();
    let (_volume, store, seen) = storm(after(grace), grace).await;
    assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
    let garbage_of_all = garbage(&store).await + seen.removed.load(Ordering::Relaxed);
    assert!(garbage_of_all >= seen.abandoned.load(Ordering::Relaxed));
    for _ in 0..2 {
        store
            .collect(&after(Duration::ZERO), Arc::new(()))
            .await
            .unwrap();
    }
    assert_eq!(garbage(&store).await, 0);
}

const ROOT: &str = "OCI_STORAGE_TEST_COLLECTED";

/// A process that collects until it is killed. As a test of its own it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn second_process() {
    let Ok(root) = std::env::var(ROOT) else {
        return;
    };
    let store = Filesystem::open(&root, oci_storage::filesystem::Options::default()).unwrap();
    loop {
        let collected = store.collect(&after(Duration::ZERO), Arc::new(())).await;
        if collected.unwrap().removed.count > 0 {
            std::fs::write(std::path::Path::new(&root).join("removed"), "").unwrap();
        }
    }
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_killed_again_and_again_breaks_nothing() {
    let volume = Volume::in_memory();
    let store = volume.open();
    let seen = Seen::default();
    let mut images = Vec::new();
    let marker = volume.root().join("removed");
    for cycle in 0..12_u64 {
        let _ = std::fs::remove_file(&marker);
        let collector = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "second_process", "--nocapture"])
            .env(ROOT, volume.root())
            .stdout(std::process::Stdio::null())
            .spawn();
        let mut collector = Killed(collector.unwrap());
        let mut serial = 0;
        // At least so many, and until it has removed something; then it dies in the middle of anything.
        while serial < 15 || !marker.exists() {
            assert!(
                collector.0.try_wait().unwrap().is_none(),
                "the collector failed"
            );
            let image = Image::of(serial, cycle * 100_000 + serial);
            push(&store, &image.repository, &content(serial + 5_000_000, 90))
                .await
                .unwrap();
            image.push(&store, &seen).await;
            images.push(image);
            serial += 1;
        }
        drop(collector);
        for image in &images {
            image.assert_whole(&store).await;
        }
    }
    // What the last one left is cleared up by the next.
    for _ in 0..2 {
        store
            .collect(&after(Duration::ZERO), Arc::new(()))
            .await
            .unwrap();
    }
    assert_eq!(garbage(&store).await, 0);
    assert_eq!(volume.files("_registryd/trash"), [""; 0]);
    assert!(!volume.at("_registryd/delta").exists());
}

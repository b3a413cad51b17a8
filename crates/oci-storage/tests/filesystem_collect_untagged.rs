//! Collecting manifests that no tag leads to, while somebody begins to use one of them again.
#![cfg(all(feature = "filesystem", target_os = "linux"))]
#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use std::fs::{File, FileTimes};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use filesystem_common::*;
use oci_core::store::{Brake, CollectEnd, CollectOptions, Collected};
use oci_core::{BlobStore, Digest, ManifestStore, Registry, StoreError};
use oci_storage::filesystem::Filesystem;

mod filesystem_common;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn untagged(grace: Duration) -> CollectOptions {
    let mut options = after(grace);
    options.untagged = true;
    options
}

/// Collects, with `operation` of another opening of the volume between marking and removing.
async fn collect_around<F: Future<Output = ()>>(
    volume: &Volume,
    options: &CollectOptions,
    operation: impl FnOnce(Filesystem) -> F + Send + 'static,
) -> Collected {
    let (store, other) = (volume.open(), volume.open());
    let runtime = tokio::runtime::Handle::current();
    let between = Between::new(move || runtime.block_on(operation(other)));
    let collected = store.collect(options, between).await.unwrap();
    assert_eq!(collected.end, CollectEnd::Complete);
    collected
}

fn set_old(path: &std::path::Path) {
    let old = SystemTime::now() - 365 * DAY;
    let file = File::open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(old)).unwrap();
}

/// Makes every file look a year old.
fn age(volume: &Volume) {
    for file in volume.files("") {
        set_old(&volume.at(&file));
    }
}

fn revision(volume: &Volume, digest: &Digest) -> std::path::PathBuf {
    volume.at(&format!(
        "repositories/a/_manifests/revisions/sha256/{}/link",
        digest.hex()
    ))
}

/// The log of pushes said only that the digest was pushed. So the manifest stayed and its layers went: it
/// could be pulled, and its layers could not.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_pushed_as_a_blob_goes_as_a_manifest() {
    let volume = Volume::new();
    let store = volume.open();
    let loose = push_image(&store, &name("a"), 1, &[]).await.unwrap();
    let bytes = read(&store, &loose).await.unwrap();
    let again = bytes.clone();
    collect_around(&volume, &untagged(Duration::ZERO), async move |other| {
        push(&other, &name("a"), &again).await.unwrap();
    })
    .await;
    let store = volume.open();
    let gone = ManifestStore::read(&store, &name("a"), &loose).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    assert!(store.has_blob(&name("a"), &loose).await.unwrap());
    assert_eq!(read(&store, &loose).await.unwrap(), bytes);
}

/// A pusher asked for a child, was told that it is there, left it out, and the index was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_a_pusher_was_told_of_stays_and_is_new_again() {
    let volume = Volume::new();
    let loose = push_image(&volume.open(), &name("a"), 1, &[])
        .await
        .unwrap();
    age(&volume);
    let collected = collect_around(&volume, &untagged(DAY), async move |other| {
        let registry = Registry::new(other);
        let manifests = registry.manifests();
        let manifest = manifests.read(&name("a"), &loose).await.unwrap();
        registry
            .claim_manifest(&name("a"), &manifest)
            .await
            .unwrap();
    })
    .await;
    assert_eq!(collected.removed_manifests, 0);
    assert_image(&volume.open(), &name("a"), 1).await;
    // The next run finds it young, and what it needs is old but needed.
    let collected = collect_around(&volume, &untagged(DAY), async |_| {}).await;
    assert_eq!(collected.removed_manifests + collected.removed.count, 0);
    assert_image(&volume.open(), &name("a"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_gone_cannot_be_claimed() {
    let volume = Volume::new();
    let store = volume.open();
    let loose = push_image(&store, &name("a"), 1, &[]).await.unwrap();
    let manifest = ManifestStore::read(&store, &name("a"), &loose)
        .await
        .unwrap();
    collect_around(&volume, &untagged(Duration::ZERO), async |_| {}).await;
    let claimed = store.claim_manifest(&name("a"), &manifest).await;
    assert!(matches!(claimed, Err(StoreError::NotFound)), "{claimed:?}");
}

/// A registry without referrers wrote no list of them, and the collector looked only there: the signature of
/// an image that was tagged during the run was gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_stays_with_what_is_tagged_meanwhile() {
    let volume = Volume::new();
    let store = volume.open();
    let loose = push_image(&store, &name("a"), 1, &[]).await.unwrap();
    let (config, layer) = (content(50, 90), content(51, 800));
    push(&store, &name("a"), &config).await.unwrap();
    push(&store, &name("a"), &layer).await.unwrap();
    let signature = image(&config, &layer, Some(&loose));
    let signature = put(&store, &name("a"), &signature, &[]).await.unwrap();
    let (config, other_layer) = (content(60, 90), content(61, 800));
    push(&store, &name("a"), &config).await.unwrap();
    push(&store, &name("a"), &other_layer).await.unwrap();
    // Of the signature itself, as some attach a timestamp to it.
    let stamp = image(&config, &other_layer, Some(&signature));
    let stamp = put(&store, &name("a"), &stamp, &[]).await.unwrap();
    std::fs::remove_dir_all(volume.at("repositories/a/_registryd")).unwrap();
    let collected = collect_around(&volume, &untagged(Duration::ZERO), async |other| {
        let (config, layer) = (content(1, 100), content(1_000_001, 5000));
        let manifest = image(&config, &layer, None);
        put(&other, &name("a"), &manifest, &["t"]).await.unwrap();
    })
    .await;
    assert_eq!(
        (collected.garbage_manifests, collected.removed_manifests),
        (3, 0)
    );
    let store = volume.open();
    assert_image(&store, &name("a"), 1).await;
    for referrer in [signature, stamp] {
        assert!(
            ManifestStore::read(&store, &name("a"), &referrer)
                .await
                .is_ok()
        );
    }
    for blob in [layer, other_layer] {
        assert_eq!(read(&store, &Digest::sha256(&blob)).await.unwrap(), blob);
    }
}

/// The tags of a volume were not mounted, its blobs had been copied that day: all manifests went, and the
/// brake saw no garbage, because the blobs were young.
#[tokio::test(flavor = "multi_thread")]
async fn the_brake_counts_what_goes_later() {
    let volume = Volume::new();
    let store = volume.open();
    for seed in [1, 2] {
        let loose = push_image(&store, &name("a"), seed, &[]).await.unwrap();
        set_old(&revision(&volume, &loose));
    }
    // A push that is under way is nothing unusual.
    push(&store, &name("a"), &content(9, 50_000)).await.unwrap();
    let mut options = untagged(DAY);
    let mut brake = Brake::default();
    (brake.bytes, brake.share) = (8000, 0.1);
    options.brake = Some(brake);
    let collected = store.collect(&options, Arc::new(())).await.unwrap();
    assert_eq!(collected.end, CollectEnd::Braked);
    assert_eq!(
        (collected.garbage.count, collected.removed_manifests),
        (0, 0)
    );
    assert_eq!(collected.orphaned.count, 6);
    brake.bytes = 12_000;
    options.brake = Some(brake);
    let collected = store.collect(&options, Arc::new(())).await.unwrap();
    assert_eq!(collected.end, CollectEnd::Complete);
    assert_eq!(collected.removed_manifests, 2);
}

/// A manifest by its SHA-512 that Distribution took in lies under its SHA-256. Claimed, it stayed, and its
/// layers went.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_under_another_digest_is_followed_too() {
    let volume = Volume::new();
    let store = volume.open();
    let loose = push_image(&store, &name("a"), 1, &[]).await.unwrap();
    let bytes = read(&store, &loose).await.unwrap();
    let long = Digest::of(oci_core::Algorithm::Sha512, &bytes);
    let link = format!(
        "repositories/a/_manifests/revisions/sha512/{}/link",
        long.hex()
    );
    volume.plant(&link, loose.to_string());
    std::fs::remove_file(revision(&volume, &loose)).unwrap();
    let log = volume.at("_registryd/delta");
    let line = format!("\nmanifest a {long}\n");
    collect_around(&volume, &untagged(Duration::ZERO), async move |_| {
        std::fs::write(log, line).unwrap();
    })
    .await;
    assert!(volume.at(&link).exists());
    let store = volume.open();
    for (seed, length) in [(1, 100), (1_000_001, 5000)] {
        let blob = content(seed, length);
        assert_eq!(read(&store, &Digest::sha256(&blob)).await.unwrap(), blob);
    }
}

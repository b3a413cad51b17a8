//! The push half of the protocol, one operation at a time: what happens between a collector's marking
//! and its removing is seen by it.
#![cfg(feature = "filesystem")]
#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use std::fs::{File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use filesystem_common::*;
use oci_core::store::{BlobMeta, CollectEnd, Collected};
use oci_core::{BlobStore, Digest, ManifestReference, ManifestStore, ReferenceKind, StoreError};
use oci_storage::filesystem::Filesystem;

mod filesystem_common;

/// Makes every file look a year old.
fn age(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else {
            let old = SystemTime::now() - Duration::from_secs(365 * 24 * 3600);
            let file = File::open(&path).unwrap();
            file.set_times(FileTimes::new().set_modified(old)).unwrap();
        }
    }
}

/// A volume with a config and a layer that nothing refers to, old enough to go.
async fn garbage() -> (Volume, Filesystem, Vec<Digest>) {
    let volume = Volume::new();
    let store = volume.open();
    let mut digests = Vec::new();
    for bytes in [content(1, 100), content(2, 5000)] {
        digests.push(push(&store, &name("a"), &bytes).await.unwrap());
    }
    age(volume.root());
    (volume, store, digests)
}

/// Collects, with `operation` of another opening of the volume between marking and removing.
async fn collect_around<F: Future<Output = ()>>(
    volume: &Volume,
    store: &Filesystem,
    operation: impl FnOnce(Filesystem) -> F + Send + 'static,
) -> Collected {
    let other = volume.open();
    let runtime = tokio::runtime::Handle::current();
    let between = Between::new(move || runtime.block_on(operation(other)));
    let grace = Duration::from_secs(24 * 3600);
    let collected = store.collect(&after(grace), between).await.unwrap();
    assert_eq!(collected.end, CollectEnd::Complete);
    collected
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_refers_to_goes() {
    let (volume, store, digests) = garbage().await;
    let collected = collect_around(&volume, &store, async |_| {}).await;
    assert_eq!((collected.removed.count, collected.removed_links), (2, 2));
    for digest in &digests {
        assert!(matches!(
            store.stat(digest).await,
            Err(StoreError::NotFound)
        ));
        assert!(!store.has_blob(&name("a"), digest).await.unwrap());
    }
    // And comes again.
    push(&store, &name("a"), &content(1, 100)).await.unwrap();
    assert_eq!(read(&store, &digests[0]).await.unwrap(), content(1, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_pushed_while_marking_keeps_what_it_needs() {
    let (volume, store, _) = garbage().await;
    let collected = collect_around(&volume, &store, async |other| {
        let manifest = image(&content(1, 100), &content(2, 5000), None);
        put(&other, &name("a"), &manifest, &["t"]).await.unwrap();
    })
    .await;
    assert_eq!((collected.removed.count, collected.removed_links), (0, 0));
    let manifest = image(&content(1, 100), &content(2, 5000), None);
    for needed in manifest.references() {
        assert!(store.has_blob(&name("a"), &needed.digest).await.unwrap());
        assert_eq!(store.stat(&needed.digest).await.unwrap().size, needed.size);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_claimed_while_marking_stays_and_is_new_again() {
    let (volume, store, digests) = garbage().await;
    let claimed = digests[1];
    let collected = collect_around(&volume, &store, async move |other| {
        let reference = ManifestReference::new(ReferenceKind::Blob, claimed, 5000);
        other.claim(&name("a"), &[reference]).await.unwrap();
    })
    .await;
    assert_eq!((collected.removed.count, collected.removed_links), (1, 1));
    assert!(store.has_blob(&name("a"), &claimed).await.unwrap());
    assert_eq!(read(&store, &claimed).await.unwrap(), content(2, 5000));
    // The next run finds it young: its pusher has the whole grace to push the manifest.
    let collected = collect_around(&volume, &store, async |_| {}).await;
    assert_eq!((collected.removed.count, collected.removed_links), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_mounted_while_marking_stays() {
    let (volume, store, digests) = garbage().await;
    let mounted = digests[1];
    collect_around(&volume, &store, async move |other| {
        let blob = BlobMeta::new(mounted, 5000);
        other.link_blob(&name("b"), &blob).await.unwrap();
    })
    .await;
    assert!(store.has_blob(&name("b"), &mounted).await.unwrap());
    assert_eq!(read(&store, &mounted).await.unwrap(), content(2, 5000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_pushed_again_while_marking_stays() {
    let (volume, store, digests) = garbage().await;
    let again = digests[1];
    collect_around(&volume, &store, async |other| {
        push(&other, &name("a"), &content(2, 5000)).await.unwrap();
    })
    .await;
    assert!(store.has_blob(&name("a"), &again).await.unwrap());
    assert_eq!(read(&store, &again).await.unwrap(), content(2, 5000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_was_told_no_repeats_and_succeeds() {
    let (volume, store, _) = garbage().await;
    collect_around(&volume, &store, async |_| {}).await;
    let manifest = image(&content(1, 100), &content(2, 5000), None);
    let refused = put(&store, &name("a"), &manifest, &["t"]).await;
    assert!(
        matches!(&refused, Err(StoreError::MissingReferences(missing)) if missing.len() == 2),
        "{refused:?}"
    );
    for bytes in [content(1, 100), content(2, 5000)] {
        push(&store, &name("a"), &bytes).await.unwrap();
    }
    put(&store, &name("a"), &manifest, &["t"]).await.unwrap();
}

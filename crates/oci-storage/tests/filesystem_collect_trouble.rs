//! A collection on a disk that is full, beside deletions, under another user, and with a log that is not what
//! it should be.
#![cfg(all(feature = "filesystem", target_os = "linux"))]

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use filesystem_common::*;
use oci_core::runtime::ThreadPool;
use oci_core::store::{CollectEnd, CollectOptions};
use oci_core::{BlobStore, Digest, ManifestStore, StoreError};
use oci_storage::filesystem::{DiskOperation, Options};

mod filesystem_common;

fn now() -> CollectOptions {
    after(Duration::ZERO)
}

/// A file system without a free block: what is there can be renamed over and removed, and that is all.
fn full() -> Options {
    Options::default().with_faults(Arc::new(|operation, _| match operation {
        DiskOperation::CreateDirectory | DiskOperation::CreateFile | DiskOperation::Write => {
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    }))
}

/// To open the volume took a block, the log took one, and so did the trash: where a collection was needed
/// most there was none.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_can_be_opened_and_collected() {
    for with_trash in [false, true] {
        let volume = Volume::new();
        let store = volume.open();
        push_image(&store, &name("a"), 1, &["t"]).await.unwrap();
        let garbage = push(&store, &name("a"), &content(7, 300)).await.unwrap();
        if with_trash {
            std::fs::create_dir(volume.at("_registryd/trash")).unwrap();
        }
        drop(store);
        let store = volume.open_with(full());
        let refused = push(&store, &name("a"), &content(8, 300)).await;
        assert!(
            matches!(refused, Err(StoreError::NoSpace { .. })),
            "{refused:?}"
        );
        let collected = store.collect(&now(), Arc::new(())).await.unwrap();
        assert_eq!(collected.end, CollectEnd::Complete);
        assert_eq!((collected.removed.count, collected.removed_links), (1, 1));
        assert!(!volume.data(&garbage).exists());
        assert!(!volume.at("_registryd/delta").exists());
        assert_image(&store, &name("a"), 1).await;
        // There is room again, and the next one is prepared for.
        drop(store);
        push(&volume.open(), &name("a"), &content(8, 300))
            .await
            .unwrap();
        assert!(volume.at("_registryd/delta.spare").exists());
    }
}

/// A full directory of trash takes no further name.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_renamed_away_is_removed_in_place() {
    let volume = Volume::new();
    push(&volume.open(), &name("a"), &content(7, 300))
        .await
        .unwrap();
    let faults = Arc::new(|operation, path: &Path| match operation {
        DiskOperation::Rename if path.ends_with("data") || path.ends_with("link") => {
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    });
    let store = volume.open_with(Options::default().with_faults(faults));
    let collected = store.collect(&now(), Arc::new(())).await.unwrap();
    assert_eq!((collected.removed.count, collected.removed_links), (1, 1));
    assert_eq!(volume.files("blobs"), [""; 0]);
}

/// Whoever could not write his line to its end was told so by the disk, and told his client. But every run met
/// the line, and ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_a_full_disk_cut_short_harms_nobody() {
    let volume = Volume::new();
    let store = volume.open();
    let kept = push(&store, &name("a"), &content(1, 300)).await.unwrap();
    let last = push(&store, &name("a"), &content(2, 300)).await.unwrap();
    let goes = push(&store, &name("a"), &content(3, 300)).await.unwrap();
    let torn = &goes.to_string()[..40];
    let lines = format!(
        "\nblob a {torn}\nblob a {kept}\n\nmanifest a/b\nbl\nmanifest\n\nblob a \nblob a {last}"
    );
    let log = volume.at("_registryd/delta");
    let between = Between::new(move || std::fs::write(log, lines).unwrap());
    let collected = store.collect(&now(), between).await.unwrap();
    assert_eq!((collected.removed.count, collected.revived), (1, 4));
    for digest in [kept, last] {
        assert!(store.stat(&digest).await.is_ok());
        assert!(store.has_blob(&name("a"), &digest).await.unwrap());
    }
    assert!(store.stat(&goes).await.is_err());
}

/// A collector in one process, an administrator who tidies up in another: what was logged from then on was read
/// by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_replaced_ends_the_run_and_keeps_everything() {
    for anew in [true, false] {
        let volume = Volume::new();
        let store = volume.open();
        let garbage = push(&store, &name("a"), &content(7, 300)).await.unwrap();
        let log = volume.at("_registryd/delta");
        let between = Between::new(move || {
            let old = std::fs::File::open(&log).unwrap();
            std::fs::remove_file(&log).unwrap();
            if anew {
                std::fs::write(&log, "").unwrap();
            }
            drop(old);
        });
        let failed = store.collect(&now(), between).await;
        assert!(
            matches!(failed, Err(StoreError::Unavailable { .. })),
            "{failed:?}"
        );
        assert!(store.has_blob(&name("a"), &garbage).await.unwrap());
        let collected = store.collect(&now(), Arc::new(())).await.unwrap();
        assert_eq!(collected.removed.count, 1);
    }
}

/// A client deleted a blob between the look at its link and its removal, and the whole run ended there.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_in_the_middle_of_a_batch_is_gone_and_nothing_else() {
    let volume = Volume::new();
    for seed in 0..10 {
        push(&volume.open(), &name("a"), &content(seed, 300))
            .await
            .unwrap();
    }
    let once = AtomicBool::new(true);
    let faults = Arc::new(move |operation, path: &Path| {
        if operation == DiskOperation::Rename
            && path.ends_with("link")
            && once.swap(false, Ordering::SeqCst)
        {
            std::fs::remove_file(path).unwrap();
        }
        Ok(())
    });
    let store = volume.open_with(Options::default().with_faults(faults));
    let collected = store.collect(&now(), Arc::new(())).await.unwrap();
    assert_eq!(collected.end, CollectEnd::Complete);
    assert_eq!((collected.removed_links, collected.removed.count), (9, 10));
}

/// With one thread for blocking work, nothing was served for as long as a collection took.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_takes_no_thread_from_requests() {
    let volume = Volume::new();
    let mut options = Options::default();
    options.pool = Arc::new(ThreadPool::new(1));
    let store = volume.open_with(options);
    push(&store, &name("a"), &content(7, 300)).await.unwrap();
    let (runtime, meanwhile) = (tokio::runtime::Handle::current(), store.clone());
    let between = Between::new(move || {
        let pushed = async { push_image(&meanwhile, &name("a"), 1, &["t"]).await };
        let patience = Duration::from_secs(60);
        runtime
            .block_on(async { tokio::time::timeout(patience, pushed).await })
            .unwrap_or_else(|_| panic!("the only thread is taken"))
            .unwrap();
    });
    let collected = store.collect(&now(), between).await.unwrap();
    assert_eq!(collected.removed.count, 1);
    assert_image(&store, &name("a"), 1).await;
}

/// An administrator whose files nobody else may touch by default collected first, and the registry, as its own
/// user, could never again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_belongs_to_whoever_owns_the_volume() {
    let volume = Volume::new();
    let ours = volume.at("_registryd");
    std::fs::create_dir_all(&ours).unwrap();
    std::fs::set_permissions(&ours, PermissionsExt::from_mode(0o777)).unwrap();
    // Only an administrator can do that; with anybody else the owner is the same anyway.
    let _ = std::os::unix::fs::chown(&ours, Some(12_345), Some(12_345));
    let owner = std::fs::metadata(&ours).unwrap().uid();
    let store = volume.open();
    push(&store, &name("a"), &content(7, 300)).await.unwrap();
    let log = volume.at("_registryd/delta");
    let between = Between::new(move || {
        let log = std::fs::metadata(log).unwrap();
        assert_eq!((log.uid(), log.mode() & 0o777), (owner, 0o666));
    });
    store.collect(&now(), between).await.unwrap();
    for (file, mode) in [
        ("gate", 0o666),
        ("lock", 0o666),
        ("gc.lock", 0o666),
        ("delta.spare", 0o666),
        ("trash", 0o777),
        ("tmp", 0o777),
        ("uploads", 0o777),
    ] {
        let made = std::fs::metadata(ours.join(file)).unwrap();
        assert_eq!((made.uid(), made.mode() & 0o777), (owner, mode), "{file}");
    }
}

/// A push that heals a damaged manifest logs it first. A run that read the log in that moment ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_that_is_just_pushed_keeps_its_repository_and_nothing_else() {
    let volume = Volume::new();
    let store = volume.open();
    let damaged = push_image(&store, &name("a"), 1, &["t"]).await.unwrap();
    let mine = push(&store, &name("a"), &content(7, 300)).await.unwrap();
    let other = push(&store, &name("b"), &content(8, 300)).await.unwrap();
    let (log, data) = (volume.at("_registryd/delta"), volume.data(&damaged));
    let line = format!("\nmanifest a {damaged}\n");
    // After the mark, so that only the log tells.
    let between = Between::new(move || {
        std::fs::write(data, "{\"schemaVersion\":").unwrap();
        std::fs::write(log, line).unwrap();
    });
    let collected = volume.open().collect(&now(), between).await.unwrap();
    assert_eq!(collected.end, CollectEnd::Complete);
    assert_eq!((collected.kept_whole, collected.removed.count), (1, 1));
    assert!(store.has_blob(&name("a"), &mine).await.unwrap());
    assert!(store.stat(&mine).await.is_ok());
    assert!(store.stat(&other).await.is_err());
}

/// Nobody here can say what a manifest needs whose keys are only understood in another letter case.
#[tokio::test(flavor = "multi_thread")]
async fn an_unclear_manifest_that_is_pushed_meanwhile_keeps_its_repository() {
    let volume = Volume::new();
    let store = volume.open();
    let needed = push(&store, &name("a"), &content(7, 300)).await.unwrap();
    push(&store, &name("b"), &content(8, 300)).await.unwrap();
    let json = format!(r#"{{"schemaVersion":2,"LAYERS":[{{"DIGEST":"{needed}"}}]}}"#);
    let manifest = Digest::sha256(json.as_bytes());
    let pushed = format!(
        "blobs/sha256/{}/{}/data",
        &manifest.hex()[..2],
        manifest.hex()
    );
    volume.plant(&pushed, json);
    let log = volume.at("_registryd/delta");
    let line = format!("\nmanifest a {manifest}\n");
    let between = Between::new(move || std::fs::write(log, line).unwrap());
    let collected = store.collect(&now(), between).await.unwrap();
    assert_eq!((collected.kept_whole, collected.removed.count), (1, 1));
    assert!(store.has_blob(&name("a"), &needed).await.unwrap());
    assert!(store.stat(&needed).await.is_ok());
}

/// A tag that is pushed to the manifest it points to already is as new as any other. It was removed for its age.
#[tokio::test]
async fn a_tag_that_is_pushed_again_is_new_and_stays() {
    let volume = Volume::new();
    let store = volume.open();
    let pushed = push_image(&store, &name("a"), 1, &["t"]).await.unwrap();
    let link = volume.at("repositories/a/_manifests/tags/t/current/link");
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    let times = std::fs::FileTimes::new().set_modified(old);
    std::fs::File::open(&link)
        .unwrap()
        .set_times(times)
        .unwrap();
    let state = store.tag_state(&name("a"), &tag("t")).await.unwrap();
    assert_eq!((state.digest, state.pushed), (pushed, Some(old)));
    push_image(&store, &name("a"), 1, &["t"]).await.unwrap();
    let removed = store.untag_if(&name("a"), &tag("t"), &state).await;
    assert!(
        matches!(removed, Err(StoreError::Precondition)),
        "{removed:?}"
    );
    let state = store.tag_state(&name("a"), &tag("t")).await.unwrap();
    assert!(state.pushed > Some(old));
    store.untag_if(&name("a"), &tag("t"), &state).await.unwrap();
    assert!(store.resolve(&name("a"), &tag("t")).await.is_err());
}

//! Uploads on the disk: resumed without reading, bounded in memory, of one writer.
#![cfg(feature = "filesystem")]
#![expect(
    clippy::unwrap_used,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a failed expectation is how a test reports"
)]

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use filesystem_common::*;
use oci_core::runtime::Clock;
use oci_core::store::{AppendMode, UploadId, UploadOptions};
use oci_core::testkit::pieces;
use oci_core::{Algorithm, BlobStore, Digest, StoreError};
use oci_storage::filesystem::{DiskOperation, FaultHook, Filesystem, Options};

mod filesystem_common;

async fn begin(store: &Filesystem) -> UploadId {
    let scope = scope(&name("a"));
    let mut upload = store
        .begin_upload(&scope, &UploadOptions::default())
        .await
        .unwrap();
    upload.checkpoint().await.unwrap();
    upload.id().clone()
}

#[tokio::test]
async fn resuming_in_another_process_reads_nothing_again() {
    let volume = Volume::new();
    let bytes = content(1, 3_000_000);
    let scope = scope(&name("a"));
    let first = volume.open();
    let id = begin(&first).await;
    drop(first);
    for part in bytes.chunks(700_000) {
        let store = volume.open();
        let mut upload = store.open_upload(&scope, &id).await.unwrap();
        append(&mut *upload, part, AppendMode::Progressive)
            .await
            .unwrap();
        upload.checkpoint().await.unwrap();
        assert_eq!(store.statistics().bytes_read_again, 0);
    }
    let store = volume.open();
    let digest = Digest::sha256(&bytes);
    let upload = store.open_upload(&scope, &id).await.unwrap();
    upload.commit(&digest, &name("a")).await.unwrap();
    assert_eq!(store.statistics().bytes_read_again, 0);
    assert_eq!(read(&store, &digest).await.unwrap(), bytes);
    assert_eq!(volume.files("_registryd/uploads"), [""; 0]);
}

#[tokio::test]
async fn another_algorithm_is_verified_by_one_reading() {
    let volume = Volume::new();
    let store = volume.open();
    let bytes = content(2, 1_000_000);
    let scope = scope(&name("a"));
    let options = UploadOptions::default();
    let mut upload = store.begin_upload(&scope, &options).await.unwrap();
    append(&mut *upload, &bytes, AppendMode::Atomic)
        .await
        .unwrap();
    let digest = Digest::of(Algorithm::Sha512, &bytes);
    upload.commit(&digest, &name("a")).await.unwrap();
    assert_eq!(store.statistics().bytes_read_again, 1_000_000);
    assert_eq!(read(&store, &digest).await.unwrap(), bytes);
}

#[tokio::test]
async fn an_unusable_hash_state_costs_one_reading() {
    let volume = Volume::new();
    let store = volume.open();
    let bytes = content(3, 500_000);
    let scope = scope(&name("a"));
    let id = begin(&store).await;
    let mut upload = store.open_upload(&scope, &id).await.unwrap();
    append(&mut *upload, &bytes, AppendMode::Progressive)
        .await
        .unwrap();
    upload.checkpoint().await.unwrap();
    drop(upload);
    store.upload_status(&scope, &id).await.unwrap();

    // As a later version of the hash library would find it: the record is whole, its state is not.
    let file = volume
        .files("_registryd/uploads")
        .into_iter()
        .find(|name| name.ends_with(".state"))
        .unwrap();
    let file = format!("_registryd/uploads/{file}");
    let text = volume.text(&file);
    let json = text
        .split_once('\n')
        .unwrap()
        .1
        .trim_end()
        .replace("\"hash\":\"4f485331", "\"hash\":\"4f485332");
    let sum = Digest::sha256(json.as_bytes()).hex();
    volume.plant(
        &file,
        format!("registryd-upload 1 {}\n{json}\n", &sum[..16]),
    );
    let upload = store.open_upload(&scope, &id).await.unwrap();
    assert_eq!(upload.offset(), 500_000);
    upload
        .commit(&Digest::sha256(&bytes), &name("a"))
        .await
        .unwrap();
    assert_eq!(store.statistics().bytes_read_again, 500_000);
}

#[tokio::test]
async fn a_torn_record_is_no_upload_and_is_swept() {
    let volume = Volume::new();
    let store = volume.open_with(with_clock(Duration::from_secs(2 * 3600)));
    let id = begin(&store).await;
    let scope = scope(&name("a"));
    let mut upload = store.open_upload(&scope, &id).await.unwrap();
    append(&mut *upload, &content(9, 100), AppendMode::Progressive)
        .await
        .unwrap();
    upload.checkpoint().await.unwrap();
    drop(upload);
    store.upload_status(&scope, &id).await.unwrap();
    let state = volume
        .files("_registryd/uploads")
        .into_iter()
        .find(|name| name.ends_with(".state"))
        .unwrap();
    let state = format!("_registryd/uploads/{state}");
    let whole = volume.text(&state);
    volume.plant(&state, &whole[..whole.len() - 5]);
    let opened = store.open_upload(&scope, &id).await;
    assert!(matches!(opened, Err(StoreError::NotFound)), "{opened:?}");
    assert_eq!(
        store.sweep_uploads(Duration::from_secs(60)).await.unwrap(),
        1
    );
    assert_eq!(volume.files("_registryd/uploads"), [""; 0]);
}

#[tokio::test]
async fn a_client_that_hangs_up_keeps_what_arrived() {
    let volume = Volume::new();
    let store = volume.open();
    let scope = scope(&name("a"));
    let bytes = content(4, 2_000_000);
    let id = begin(&store).await;
    let mut upload = store.open_upload(&scope, &id).await.unwrap();
    {
        let mut all = pieces(&bytes[..1_500_000], 50_000);
        let endless = pin!(Endless(&mut all));
        let mut appending = pin!(upload.append(endless, AppendMode::Progressive));
        // Until nothing more arrives.
        let gave_up = tokio::time::timeout(
            Duration::from_millis(300),
            poll_fn(|cx| appending.as_mut().poll(cx)),
        );
        assert!(gave_up.await.is_err());
    }
    drop(upload);
    let status = store.upload_status(&scope, &id).await.unwrap();
    assert_eq!(status.offset, 1_500_000);
    // Also for another process, at once: the lock is free when the status is known.
    let other = volume.open();
    let mut upload = other.open_upload(&scope, &id).await.unwrap();
    assert_eq!(upload.offset(), 1_500_000);
    append(&mut *upload, &bytes[1_500_000..], AppendMode::Atomic)
        .await
        .unwrap();
    upload
        .commit(&Digest::sha256(&bytes), &name("a"))
        .await
        .unwrap();
    assert_eq!(other.statistics().bytes_read_again, 0);
}

/// A stream that never ends after its pieces.
struct Endless<'a>(&'a mut oci_core::testkit::Pieces);

impl futures_core::Stream for Endless<'_> {
    type Item = Result<bytes::Bytes, oci_core::BoxError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        match Pin::new(&mut *self.0).poll_next(cx) {
            Poll::Ready(None) => Poll::Pending,
            other => other,
        }
    }
}

#[tokio::test]
async fn an_upload_ended_by_another_process_cannot_be_committed() {
    let volume = Volume::new();
    let (here, there) = (volume.open(), volume.open());
    let scope = scope(&name("a"));
    let bytes = content(5, 400_000);
    let id = begin(&here).await;
    let mut upload = here.open_upload(&scope, &id).await.unwrap();
    append(&mut *upload, &bytes, AppendMode::Progressive)
        .await
        .unwrap();
    let taken = there.open_upload(&scope, &id).await;
    assert!(
        matches!(taken, Err(StoreError::Conflict { offset: 0 })),
        "{taken:?}"
    );
    there.abort_upload(&scope, &id).await.unwrap();
    let digest = Digest::sha256(&bytes);
    let committed = upload.commit(&digest, &name("a")).await;
    assert!(
        matches!(committed, Err(StoreError::NotFound)),
        "{committed:?}"
    );
    assert!(matches!(
        here.stat(&digest).await,
        Err(StoreError::NotFound)
    ));
    assert!(!here.has_blob_in("a", &digest).await);
    assert_eq!(volume.files("_registryd/uploads"), [""; 0]);
}

trait HasBlob {
    async fn has_blob_in(&self, repository: &str, digest: &Digest) -> bool;
}

impl HasBlob for Filesystem {
    async fn has_blob_in(&self, repository: &str, digest: &Digest) -> bool {
        oci_core::ManifestStore::has_blob(self, &name(repository), digest)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_wrong_digest_leaves_the_session_at_its_checkpoint() {
    let volume = Volume::new();
    let store = volume.open();
    let scope = scope(&name("a"));
    let bytes = content(6, 900_000);
    let id = begin(&store).await;
    let mut upload = store.open_upload(&scope, &id).await.unwrap();
    append(&mut *upload, &bytes[..300_000], AppendMode::Progressive)
        .await
        .unwrap();
    upload.checkpoint().await.unwrap();
    append(&mut *upload, &bytes[300_000..], AppendMode::Atomic)
        .await
        .unwrap();
    let wrong = Digest::sha256(b"something else");
    let committed = upload.commit(&wrong, &name("a")).await;
    assert!(
        matches!(committed, Err(StoreError::DigestMismatch { .. })),
        "{committed:?}"
    );
    let status = store.upload_status(&scope, &id).await.unwrap();
    assert_eq!(status.offset, 300_000);
    let data = volume
        .files("_registryd/uploads")
        .into_iter()
        .find(|name| name.ends_with(".data"))
        .unwrap();
    let data = std::fs::metadata(volume.at(&format!("_registryd/uploads/{data}"))).unwrap();
    assert_eq!(
        data.len(),
        300_000,
        "what does not count does not fill the disk"
    );
}

#[tokio::test]
async fn a_used_up_budget_slows_uploads_and_stops_none() {
    let volume = Volume::new();
    let mut options = Options::default();
    options.upload_memory = 300 * 1024;
    let store = volume.open_with(options);
    let watched = store.clone();
    let most = tokio::spawn(async move {
        let mut most = 0;
        for _ in 0..100 {
            most = most.max(watched.statistics().upload_memory);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        most
    });
    let mut pushes = Vec::new();
    for seed in 0..12 {
        let store = store.clone();
        pushes.push(tokio::spawn(async move {
            let bytes = content(100 + seed, 2_000_000);
            let digest = push(&store, &name("a"), &bytes).await.unwrap();
            assert!(read(&store, &digest).await.unwrap() == bytes);
        }));
    }
    for push in pushes {
        push.await.unwrap();
    }
    let most = most.await.unwrap();
    assert!(
        most > 0 && most <= (300 + 12 * 16) * 1024,
        "{most} bytes at once"
    );
    assert_eq!(store.statistics().upload_memory, 0);
}

#[tokio::test]
async fn a_small_blob_costs_two_file_syncs() {
    let volume = Volume::new();
    let store = volume.open();
    push(&store, &name("a"), b"first").await.unwrap();
    let before = store.statistics();
    push(&store, &name("a"), b"second").await.unwrap();
    let after = store.statistics();
    // Content and link. The directories: <xx>, <hex> and the link's two; algorithm directories when new.
    assert_eq!(after.file_syncs - before.file_syncs, 2);
    assert!(
        after.directory_syncs - before.directory_syncs <= 6,
        "{after:?}"
    );
    // Nothing of it was ever an upload session.
    assert_eq!(volume.files("_registryd/uploads"), [""; 0]);
}

#[tokio::test]
async fn many_small_pushes_share_their_directory_syncs() {
    let volume = Volume::new();
    let store = volume.open();
    push(&store, &name("a"), b"first").await.unwrap();
    let before = store.statistics().directory_syncs;
    let pushes: Vec<_> = (0..64_u64)
        .map(|seed| {
            let store = store.clone();
            tokio::spawn(
                async move { push(&store, &name("a"), &content(seed, 100)).await.unwrap() },
            )
        })
        .collect();
    for push in pushes {
        push.await.unwrap();
    }
    let each =
        f64::from(u32::try_from(store.statistics().directory_syncs - before).unwrap()) / 64.0;
    // Alone: <hex>, <xx>, `blobs/sha256`, the link's directory and the one above.
    assert!(each < 5.0, "{each} directory syncs for each push");
}

#[derive(Debug)]
struct Later(Duration);

impl Clock for Later {
    fn now(&self) -> SystemTime {
        SystemTime::now() + self.0
    }
}

fn with_clock(later: Duration) -> Options {
    let mut options = Options::default();
    options.clock = Arc::new(Later(later));
    options
}

#[tokio::test]
async fn what_a_dead_process_left_behind_is_swept_by_age() {
    let volume = Volume::new();
    let store = volume.open();
    volume.plant("_registryd/tmp/0f", "half a link");
    let directory = "_registryd/uploads/00";
    let id = UploadId::from_random([1; 16]);
    volume.plant(&format!("{directory}/{id}.data"), "bytes without a record");
    assert_eq!(
        store
            .sweep_uploads(Duration::from_secs(3600))
            .await
            .unwrap(),
        0
    );
    assert_eq!(volume.files("_registryd/tmp"), ["0f"]);
    let later = volume.open_with(with_clock(Duration::from_secs(2 * 3600)));
    assert_eq!(
        later
            .sweep_uploads(Duration::from_secs(3600))
            .await
            .unwrap(),
        1
    );
    volume.assert_no_temporary_files().await;
    assert_eq!(volume.files("_registryd/uploads"), [""; 0]);
}

// For a moment a cancelled upload had its bytes and no record, which is what one looks like that has just
// begun: the closing PUT beside it found an upload of no bytes.
#[tokio::test]
async fn an_upload_that_is_ended_never_looks_like_one_that_has_just_begun() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let hook: FaultHook = Arc::new(move |operation, path| {
        let record = path
            .extension()
            .is_some_and(|extension| extension == "state");
        if operation == DiskOperation::Remove && record {
            assert!(!path.with_extension("data").exists());
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    let volume = Volume::new();
    let store = volume.open_with(with_clock(Duration::from_secs(3600)).with_faults(hook));
    let scope = scope(&name("a"));
    for way in 0..4 {
        let id = begin(&store).await;
        let mut upload = store.open_upload(&scope, &id).await.unwrap();
        let bytes = content(way, 5000);
        append(&mut *upload, &bytes, AppendMode::Progressive)
            .await
            .unwrap();
        upload.checkpoint().await.unwrap();
        match way {
            0 => store.abort_upload(&scope, &id).await.unwrap(),
            1 => upload.abort().await.unwrap(),
            2 => {
                let digest = Digest::sha256(&bytes);
                upload.commit(&digest, &name("a")).await.unwrap();
            }
            _ => {
                drop(upload);
                let idle = Duration::from_secs(1);
                assert_eq!(store.sweep_uploads(idle).await.unwrap(), 0);
                let later = volume.open_with(with_clock(Duration::from_secs(7200)));
                assert_eq!(later.sweep_uploads(idle).await.unwrap(), 1);
            }
        }
        assert_eq!(volume.files("_registryd/uploads"), [""; 0]);
    }
    assert!(seen.load(Ordering::SeqCst) >= 3);
}

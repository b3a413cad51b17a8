//! Contracts of upload sessions.

use std::time::Duration;

use super::content::{as_content, content, pieces, repository, scope as scope_in, sha256};
use super::{StoreUnderTest, Stores};
use crate::digest::{Algorithm, Digest};
use crate::error::StoreError;
use crate::store::{AppendMode, BlobUpload, UploadId, UploadOptions, UploadScope};

/// Begins a session that others know of.
pub(super) async fn begin(stores: &Stores, scope: &UploadScope) -> UploadId {
    let mut upload = stores.blobs.begin_upload(scope, &sha256()).await.unwrap();
    assert_eq!(upload.checkpoint().await.unwrap(), 0);
    upload.id().clone()
}

/// Opens a session, waiting out a writer that is still on its way out.
pub(super) async fn reopen(
    stores: &Stores,
    scope: &UploadScope,
    id: &UploadId,
) -> Result<Box<dyn BlobUpload>, StoreError> {
    for _ in 0..500 {
        match stores.blobs.open_upload(scope, id).await {
            Err(StoreError::Conflict { .. }) => pause(),
            other => return other,
        }
    }
    panic!("the writer of {id} was dropped but never gave the session free");
}

#[expect(
    clippy::disallowed_methods,
    reason = "waiting for another thread, in a test"
)]
pub(super) fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

async fn append(upload: &mut Box<dyn BlobUpload>, bytes: &[u8], mode: AppendMode) -> u64 {
    let mut stream = pieces(bytes, 70_000);
    upload.append(as_content(&mut stream), mode).await.unwrap()
}

pub(super) async fn resume(place: &dyn StoreUnderTest) {
    resume_with(place, |place, _| place.open()).await;
}

pub(super) async fn resume_elsewhere(place: &dyn StoreUnderTest) {
    resume_with(place, |place, stores| {
        drop(stores);
        place.open()
    })
    .await;
}

async fn resume_with(place: &dyn StoreUnderTest, next: fn(&dyn StoreUnderTest, Stores) -> Stores) {
    for algorithm in Algorithm::ALL {
        let mut stores = place.open();
        let name = repository("resume");
        let scope = scope_in(&name);
        let bytes = content(5, 1_500_000);
        let mut upload = stores
            .blobs
            .begin_upload(&scope, &UploadOptions::new(algorithm))
            .await
            .unwrap();
        upload.checkpoint().await.unwrap();
        let id = upload.id().clone();
        drop(upload);
        let mut at = 0;
        // One byte, around a hash block, a tail, several buffers at once.
        for length in [1, 63, 64, 65, 300_000, 700_000] {
            stores = next(place, stores);
            let mut upload = reopen(&stores, &scope, &id).await.unwrap();
            assert_eq!(upload.offset(), at as u64);
            append(
                &mut upload,
                &bytes[at..at + length],
                AppendMode::Progressive,
            )
            .await;
            at += length;
            assert_eq!(upload.checkpoint().await.unwrap(), at as u64);
            drop(upload);
            assert_eq!(
                stores
                    .blobs
                    .upload_status(&scope, &id)
                    .await
                    .unwrap()
                    .offset,
                at as u64
            );
        }
        stores = next(place, stores);
        let mut upload = reopen(&stores, &scope, &id).await.unwrap();
        append(&mut upload, &bytes[at..], AppendMode::Atomic).await;
        let digest = Digest::of(algorithm, &bytes);
        upload.commit(&digest, &name).await.unwrap();
        assert!(stores.content(&digest).await == bytes);
        assert!(
            stores
                .blobs
                .upload_status(&scope, &id)
                .await
                .unwrap_err()
                .is_not_found()
        );
    }
}

pub(super) async fn atomic_rolls_back(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let scope = scope_in(&repository("atomic"));
    let id = begin(&stores, &scope).await;
    let mut upload = reopen(&stores, &scope, &id).await.unwrap();
    append(&mut upload, b"kept", AppendMode::Progressive).await;
    upload.checkpoint().await.unwrap();
    let lost = content(6, 400_000);
    let mut broken = pieces(&lost, 50_000).then_fail();
    let failed = upload
        .append(as_content(&mut broken), AppendMode::Atomic)
        .await;
    assert!(matches!(failed, Err(StoreError::Body(_))));
    drop(upload);

    let mut upload = reopen(&stores, &scope, &id).await.unwrap();
    assert_eq!(upload.offset(), 4);
    // Whole, but never checkpointed or committed.
    append(&mut upload, &lost, AppendMode::Atomic).await;
    drop(upload);

    let mut upload = reopen(&stores, &scope, &id).await.unwrap();
    assert_eq!(upload.offset(), 4);
    append(&mut upload, b" and more", AppendMode::Atomic).await;
    let digest = Digest::sha256(b"kept and more");
    upload.commit(&digest, scope.repository()).await.unwrap();
    assert_eq!(stores.content(&digest).await, b"kept and more");
}

pub(super) async fn progressive_keeps(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let scope = scope_in(&repository("progressive"));
    let id = begin(&stores, &scope).await;
    let bytes = content(7, 900_000);
    let mut upload = reopen(&stores, &scope, &id).await.unwrap();
    let mut broken = pieces(&bytes[..600_000], 70_000).then_fail();
    let failed = upload
        .append(as_content(&mut broken), AppendMode::Progressive)
        .await;
    assert!(matches!(failed, Err(StoreError::Body(_))));
    assert_eq!(upload.offset(), 600_000, "what arrived counts");
    assert_eq!(upload.checkpoint().await.unwrap(), 600_000);
    drop(upload);

    let mut upload = reopen(&stores, &scope, &id).await.unwrap();
    assert_eq!(upload.offset(), 600_000);
    append(&mut upload, &bytes[600_000..], AppendMode::Progressive).await;
    let digest = Digest::sha256(&bytes);
    upload.commit(&digest, scope.repository()).await.unwrap();
    assert!(stores.content(&digest).await == bytes);
}

pub(super) async fn one_writer(place: &dyn StoreUnderTest) {
    let (one, two) = (place.open(), place.open());
    let scope = scope_in(&repository("one-writer"));
    let id = begin(&one, &scope).await;
    let mut upload = reopen(&one, &scope, &id).await.unwrap();
    append(&mut upload, b"12345", AppendMode::Progressive).await;
    upload.checkpoint().await.unwrap();
    for stores in [&one, &two] {
        match stores.blobs.open_upload(&scope, &id).await {
            Err(StoreError::Conflict { offset }) => {
                assert_eq!(offset, 5, "the true offset is told");
            }
            other => panic!("a second writer is refused, not {other:?}"),
        }
        assert_eq!(
            stores
                .blobs
                .upload_status(&scope, &id)
                .await
                .unwrap()
                .offset,
            5
        );
    }
    drop(upload);
    reopen(&two, &scope, &id).await.expect("free again");
}

pub(super) async fn many_writers(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let scope = scope_in(&repository("many-writers"));
    let id = begin(&stores, &scope).await;
    // Each writes its own letter, then checkpoints: every run of letters has the full length.
    std::thread::scope(|threads| {
        for letter in b'a'..b'g' {
            let (stores, scope, id) = (place.open(), &scope, &id);
            threads.spawn(move || {
                place.block_on(Box::pin(async move {
                    for _ in 0..3 {
                        let mut upload = reopen(&stores, scope, id).await.unwrap();
                        append(&mut upload, &[letter; RUN], AppendMode::Atomic).await;
                        upload.checkpoint().await.unwrap();
                    }
                }));
            });
        }
    });
    let upload = reopen(&stores, &scope, &id).await.unwrap();
    assert_eq!(upload.offset(), 6 * 3 * RUN as u64);
    // What it holds is only to be seen by committing, and the right digest is not known: a mismatch tells it.
    let tried = upload
        .commit(&Digest::sha256(b""), scope.repository())
        .await;
    let Err(StoreError::DigestMismatch { actual, .. }) = tried else {
        panic!("{tried:?}")
    };
    let upload = reopen(&stores, &scope, &id).await.unwrap();
    upload.commit(&actual, scope.repository()).await.unwrap();
    let bytes = stores.content(&actual).await;
    assert!(
        bytes
            .chunks(RUN)
            .all(|run| run.iter().all(|letter| *letter == run[0])),
        "runs never interleave"
    );
}

pub(super) async fn abort(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let scope = scope_in(&repository("abort"));
    let id = begin(&stores, &scope).await;
    stores.blobs.abort_upload(&scope, &id).await.unwrap();
    assert!(
        stores
            .blobs
            .upload_status(&scope, &id)
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        stores
            .blobs
            .open_upload(&scope, &id)
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        stores
            .blobs
            .abort_upload(&scope, &id)
            .await
            .unwrap_err()
            .is_not_found()
    );

    // By its writer.
    let id = begin(&stores, &scope).await;
    reopen(&stores, &scope, &id)
        .await
        .unwrap()
        .abort()
        .await
        .unwrap();
    assert!(
        stores
            .blobs
            .upload_status(&scope, &id)
            .await
            .unwrap_err()
            .is_not_found()
    );

    // While a writer is at work: what it wrote never becomes visible.
    let id = begin(&stores, &scope).await;
    let mut upload = reopen(&stores, &scope, &id).await.unwrap();
    append(&mut upload, b"content", AppendMode::Progressive).await;
    stores.blobs.abort_upload(&scope, &id).await.unwrap();
    let digest = Digest::sha256(b"content");
    assert!(
        upload.commit(&digest, scope.repository()).await.is_err(),
        "an aborted upload cannot be committed"
    );
    assert!(
        !stores
            .manifests
            .has_blob(scope.repository(), &digest)
            .await
            .unwrap()
    );
}

fn scope_of(name: &str, principal: &str) -> UploadScope {
    UploadScope::new(repository(name), principal)
}

pub(super) async fn belongs_to_scope(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let own = scope_of("team/app", "alice");
    let id = begin(&stores, &own).await;
    for other in [
        scope_of("team/app", "bob"),
        scope_of("team", "alice"),
        scope_of("team/app", ""),
    ] {
        assert!(
            stores
                .blobs
                .open_upload(&other, &id)
                .await
                .unwrap_err()
                .is_not_found()
        );
        assert!(
            stores
                .blobs
                .upload_status(&other, &id)
                .await
                .unwrap_err()
                .is_not_found()
        );
        assert!(
            stores
                .blobs
                .abort_upload(&other, &id)
                .await
                .unwrap_err()
                .is_not_found()
        );
    }
    reopen(&stores, &own, &id)
        .await
        .expect("its own scope has it");
}

pub(super) async fn sweep(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let (alice, bob) = (scope_of("s", "alice"), scope_of("s", "bob"));
    let abandoned = begin(&stores, &alice).await;
    let at_work = begin(&stores, &alice).await;
    begin(&stores, &bob).await;
    assert_eq!(stores.blobs.count_uploads(None, 100).await.unwrap(), 3);
    assert_eq!(stores.blobs.count_uploads(None, 2).await.unwrap(), 2);
    assert_eq!(
        stores.blobs.count_uploads(Some(&alice), 100).await.unwrap(),
        2
    );

    assert_eq!(
        stores
            .blobs
            .sweep_uploads(Duration::from_secs(3600))
            .await
            .unwrap(),
        0
    );
    let writer = reopen(&stores, &alice, &at_work).await.unwrap();
    assert_eq!(stores.blobs.sweep_uploads(Duration::ZERO).await.unwrap(), 2);
    assert!(
        stores
            .blobs
            .upload_status(&alice, &abandoned)
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        stores.blobs.upload_status(&alice, &at_work).await.is_ok(),
        "a writer keeps its session alive"
    );
    drop(writer);
    assert_eq!(stores.blobs.count_uploads(None, 100).await.unwrap(), 1);
}

/// The length of what one of many writers appends at a time.
const RUN: usize = 3_000;

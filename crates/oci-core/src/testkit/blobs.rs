//! Contracts of the content plane.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use super::StoreUnderTest;
use super::content::{
    as_content, blob_reference, content, gather, pieces, repository, scope, sha256,
};
use crate::digest::{Algorithm, Digest};
use crate::error::{BoxError, StoreError};
use crate::manifest::{ManifestReference, ReferenceKind};
use crate::store::{AppendMode, BlobMeta, ReadRange};

pub(super) async fn round_trip(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("a/b");
    // Around the sizes at which stores change their ways: inline, one buffer, several parts.
    for (seed, length) in (0..).zip([
        0, 1, 8192, 8193, 65_536, 65_537, 262_144, 1_000_003, 9_000_001, 17_000_000,
    ]) {
        let bytes = content(seed, length);
        let blob = stores.push(&name, &bytes).await;
        assert_eq!(blob, BlobMeta::new(Digest::sha256(&bytes), length as u64));
        assert_eq!(stores.blobs.stat(&blob.digest).await.unwrap(), blob);
        assert!(
            stores.content(&blob.digest).await == bytes,
            "{length} bytes come back as they were"
        );
    }
}

pub(super) async fn ranges(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let bytes = content(1, 300_000);
    let digest = stores.push(&repository("r"), &bytes).await.digest;
    for range in [
        ReadRange::Whole,
        ReadRange::From(0),
        ReadRange::From(299_999),
        ReadRange::Inclusive(0, 0),
        ReadRange::Inclusive(70_000, 270_000),
        ReadRange::Inclusive(299_999, u64::MAX),
        ReadRange::Suffix(1),
        ReadRange::Suffix(u64::MAX),
    ] {
        let read = stores.blobs.read(&digest, range).await.unwrap();
        assert_eq!(
            (read.size, Some(read.range.clone())),
            (300_000, range.resolve(300_000)),
            "{range:?}"
        );
        let (start, end) = (read.range.start as usize, read.range.end as usize);
        assert!(gather(read).await == bytes[start..end], "{range:?}");
    }
    for range in [
        ReadRange::From(300_000),
        ReadRange::Inclusive(5, 2),
        ReadRange::Suffix(0),
    ] {
        let refused = stores.blobs.read(&digest, range).await;
        assert!(
            matches!(
                refused,
                Err(StoreError::RangeNotSatisfiable { size: 300_000 })
            ),
            "{range:?}"
        );
    }
}

pub(super) async fn unknown(place: &dyn StoreUnderTest) {
    let stores = place.open();
    for algorithm in Algorithm::ALL {
        let digest = Digest::of(algorithm, b"never pushed");
        assert!(stores.blobs.stat(&digest).await.unwrap_err().is_not_found());
        assert!(
            stores
                .blobs
                .read(&digest, ReadRange::Whole)
                .await
                .unwrap_err()
                .is_not_found()
        );
    }
}

pub(super) async fn mismatch(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("m");
    let claimed = Digest::sha256(b"something else");
    let mut upload = stores
        .blobs
        .begin_upload(&scope(&name), &sha256())
        .await
        .unwrap();
    upload.checkpoint().await.unwrap();
    let mut first = pieces(b"first ", 2);
    upload
        .append(as_content(&mut first), AppendMode::Progressive)
        .await
        .unwrap();
    upload.checkpoint().await.unwrap();
    let mut last = pieces(b"last", 4);
    upload
        .append(as_content(&mut last), AppendMode::Atomic)
        .await
        .unwrap();
    let id = upload.id().clone();
    let actual = Digest::sha256(b"first last");
    match upload.commit(&claimed, &name).await {
        Err(StoreError::DigestMismatch {
            expected,
            actual: found,
        }) => {
            assert_eq!((expected, found), (claimed, actual));
        }
        other => panic!("a wrong digest is refused, not {other:?}"),
    }
    for digest in [claimed, actual] {
        assert!(stores.blobs.stat(&digest).await.unwrap_err().is_not_found());
        assert!(!stores.manifests.has_blob(&name, &digest).await.unwrap());
    }
    // The closing request can be repeated as a whole.
    let mut upload = stores
        .blobs
        .open_upload(&scope(&name), &id)
        .await
        .expect("the session is still there");
    assert_eq!(
        upload.offset(),
        6,
        "back at the offset before the failed close"
    );
    let mut last = pieces(b"last", 4);
    upload
        .append(as_content(&mut last), AppendMode::Atomic)
        .await
        .unwrap();
    upload.commit(&actual, &name).await.unwrap();
    assert_eq!(stores.content(&actual).await, b"first last");
}

pub(super) async fn other_algorithm(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let bytes = content(2, 200_000);
    let digest = Digest::of(Algorithm::Sha512, &bytes);
    let blob = stores
        .push_as(&repository("o"), &bytes, &digest)
        .await
        .unwrap();
    assert_eq!(blob.digest, digest);
    assert!(stores.content(&digest).await == bytes);
    let wrong = Digest::of(Algorithm::Sha512, b"not it");
    let refused = stores.push_as(&repository("o"), &bytes, &wrong).await;
    assert!(matches!(refused, Err(StoreError::DigestMismatch { .. })));
}

pub(super) async fn same_blob_at_once(place: &dyn StoreUnderTest) {
    let bytes = content(3, 150_000);
    std::thread::scope(|threads| {
        for i in 0..8 {
            let (stores, bytes) = (place.open(), &bytes);
            threads.spawn(move || {
                place.block_on(Box::pin(async move {
                    stores
                        .push(&repository(&format!("r{}", i % 3)), bytes)
                        .await;
                }));
            });
        }
    });
    let stores = place.open();
    let digest = Digest::sha256(&bytes);
    assert!(stores.content(&digest).await == bytes);
    for i in 0..3 {
        assert!(
            stores
                .manifests
                .has_blob(&repository(&format!("r{i}")), &digest)
                .await
                .unwrap()
        );
    }
}

pub(super) async fn heals(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("h");
    let bytes = content(4, 100_000);
    let blob = stores.push(&name, &bytes).await;
    assert!(
        place.damage(&blob.digest),
        "the place says that it can damage blobs"
    );
    let claim = stores.blobs.claim(&name, &[blob_reference(&blob)]).await;
    assert!(
        matches!(claim, Err(StoreError::MissingReferences(_))),
        "a damaged blob does not count as present"
    );
    stores.push(&name, &bytes).await;
    assert!(stores.content(&blob.digest).await == bytes);
    assert!(
        stores
            .blobs
            .claim(&name, &[blob_reference(&blob)])
            .await
            .is_ok()
    );
}

/// A store takes the next piece only when it has room: what it holds stays far below the whole.
pub(super) async fn backpressure(place: &dyn StoreUnderTest) {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 512;

    #[derive(Debug)]
    struct Counted(Vec<u8>, Arc<AtomicUsize>);

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::SeqCst);
        }
    }

    struct Source {
        left: usize,
        held: Arc<AtomicUsize>,
        most: usize,
    }

    impl Stream for Source {
        type Item = Result<Bytes, BoxError>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            self.left -= 1;
            let held = self.held.fetch_add(1, Ordering::SeqCst) + 1;
            self.most = self.most.max(held);
            let piece = Counted(vec![7; PIECE], Arc::clone(&self.held));
            Poll::Ready(Some(Ok(Bytes::from_owner(piece))))
        }
    }

    let stores = place.open();
    let name = repository("b");
    let mut upload = stores
        .blobs
        .begin_upload(&scope(&name), &sha256())
        .await
        .unwrap();
    let mut source = Source {
        left: PIECES,
        held: Arc::default(),
        most: 0,
    };
    upload
        .append(as_content(&mut source), AppendMode::Atomic)
        .await
        .unwrap();
    assert!(
        source.most <= PIECES / 2,
        "{} of {PIECES} pieces held at once",
        source.most
    );
    upload.abort().await.unwrap();
}

pub(super) async fn claims(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("c");
    let blob = stores.push(&name, b"here").await;
    let present = blob_reference(&blob);
    let wrong_size = ManifestReference::new(ReferenceKind::Blob, blob.digest, blob.size + 1);
    let absent = ManifestReference::new(ReferenceKind::Blob, Digest::sha256(b"nowhere"), 7);
    stores
        .blobs
        .claim(&name, &[present])
        .await
        .expect("what is there can be claimed");
    match stores
        .blobs
        .claim(&name, &[present, wrong_size, absent])
        .await
    {
        Err(StoreError::MissingReferences(missing)) => assert_eq!(missing, [wrong_size, absent]),
        other => panic!("missing blobs are named, not {other:?}"),
    }
}

pub(super) async fn visibility(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let (here, there) = (repository("v/here"), repository("v"));
    let blob = stores.push(&here, b"content").await;
    assert!(
        stores
            .manifests
            .has_blob(&here, &blob.digest)
            .await
            .unwrap()
    );
    assert!(
        !stores
            .manifests
            .has_blob(&there, &blob.digest)
            .await
            .unwrap()
    );
    assert!(
        stores
            .manifests
            .unlink_blob(&there, &blob.digest)
            .await
            .unwrap_err()
            .is_not_found()
    );

    stores.manifests.link_blob(&there, &blob).await.unwrap();
    stores
        .manifests
        .link_blob(&there, &blob)
        .await
        .expect("linking again is fine");
    stores
        .manifests
        .unlink_blob(&here, &blob.digest)
        .await
        .unwrap();
    assert!(
        !stores
            .manifests
            .has_blob(&here, &blob.digest)
            .await
            .unwrap()
    );
    assert!(
        stores
            .manifests
            .has_blob(&there, &blob.digest)
            .await
            .unwrap()
    );
    assert_eq!(stores.content(&blob.digest).await, b"content");
    assert!(
        stores
            .manifests
            .unlink_blob(&here, &blob.digest)
            .await
            .unwrap_err()
            .is_not_found()
    );

    if stores.manifests.checks_references() {
        let never = BlobMeta::new(Digest::sha256(b"never"), 5);
        assert!(
            stores
                .manifests
                .link_blob(&here, &never)
                .await
                .unwrap_err()
                .is_not_found()
        );
    }
}

//! What the engine's own contracts do not see: what is left in the database.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use oci_core::runtime::ThreadPool;

use super::keys::{GARBAGE, PIECE, PIECE_BYTES, RECORD};
use super::{Sled, SledOptions};
use crate::records::{ExtentStore, RecordError, RecordStore};

struct Place {
    store: Sled,
    _directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = SledOptions::default();
        options.pool = Arc::new(ThreadPool::new(4));
        options.min_free = 0;
        Self {
            store: Sled::open(directory.path(), options).unwrap(),
            _directory: directory,
        }
    }

    fn count(&self, kind: u8) -> usize {
        self.store.shared.tree.scan_prefix([kind]).count()
    }
}

fn bytes(seed: u8, length: usize) -> Bytes {
    (0..length)
        .map(|at| seed.wrapping_add(u8::try_from(at % 251).unwrap()))
        .collect()
}

async fn read(store: &Sled, key: &str, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut stream = ExtentStore::read(store, key, range).await.unwrap();
    let mut read = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.unwrap();
        assert!(piece.len() <= 4 * PIECE_BYTES);
        read.extend_from_slice(&piece);
    }
    read
}

#[tokio::test]
async fn extents_are_pieces_and_go_without_a_trace() {
    let place = Place::new();
    let whole = bytes(1, 3 * PIECE_BYTES + 17);
    // Cut elsewhere than the pieces are.
    let given = vec![
        whole.slice(..10),
        whole.slice(10..2 * PIECE_BYTES + 5),
        whole.slice(2 * PIECE_BYTES + 5..),
    ];
    place.store.put("data/a", given.clone()).await.unwrap();
    assert_eq!(place.count(PIECE), 4);
    assert_eq!(place.count(GARBAGE), 0);
    let end = whole.len();
    for (from, to) in [
        (0, end),
        (1, 2),
        (PIECE_BYTES - 1, PIECE_BYTES + 1),
        (end - 1, end),
    ] {
        let found = read(&place.store, "data/a", from as u64..to as u64).await;
        assert_eq!(found, whole[from..to], "{from}..{to}");
    }
    // Put again, it replaces; deleted, nothing stays.
    place.store.put("data/a", given).await.unwrap();
    assert_eq!(place.count(PIECE), 4);
    ExtentStore::delete(&place.store, "data/a").await.unwrap();
    assert_eq!((place.count(PIECE), place.count(GARBAGE)), (0, 0));
    assert!(place.store.read("data/a", 0..1).await.is_err());
}

#[tokio::test]
async fn parts_become_an_extent_without_being_written_again() {
    let place = Place::new();
    let store = &place.store;
    let parts: Vec<Bytes> = (0..3).map(|n| bytes(n, PIECE_BYTES + 1)).collect();
    let upload = store.begin_parts("data/p").await.unwrap();
    let mut names = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        // Each is written twice: the first is garbage.
        store
            .put_part("data/p", &upload, index, vec![bytes(99, 5)])
            .await
            .unwrap();
        let name = store.put_part("data/p", &upload, index, vec![part.clone()]);
        names.push(name.await.unwrap());
    }
    // One that was written and is not part of the whole.
    store
        .put_part("data/p", &upload, 7, vec![bytes(98, 5)])
        .await
        .unwrap();
    let wrong = ["0-0".to_owned()];
    assert!(store.finish_parts("data/p", &upload, &wrong).await.is_err());
    assert!(store.finish_parts("data/q", &upload, &names).await.is_err());
    for _ in 0..2 {
        store.finish_parts("data/p", &upload, &names).await.unwrap();
    }
    let whole = parts.concat();
    assert_eq!(read(store, "data/p", 0..whole.len() as u64).await, whole);
    assert_eq!((place.count(PIECE), place.count(GARBAGE)), (6, 0));
    let late = store.put_part("data/p", &upload, 0, vec![bytes(1, 1)]);
    assert!(late.await.is_err());
    let listed = store.list("data/", None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].size, whole.len() as u64);

    let upload = store.begin_parts("data/r").await.unwrap();
    let part = store.put_part("data/r", &upload, 0, vec![bytes(1, 9)]);
    part.await.unwrap();
    store.abort_parts("data/r", &upload).await.unwrap();
    assert_eq!((place.count(PIECE), place.count(GARBAGE)), (6, 0));
}

#[tokio::test]
async fn large_records_are_pieces_and_swapped_like_small_ones() {
    let place = Place::new();
    let store = &place.store;
    let large = |seed| bytes(seed, 4 << 20);
    let first = store.put_if("manifests/a", large(1), None).await.unwrap();
    assert_eq!(place.count(PIECE), 64);
    let refused = store.put_if("manifests/a", large(2), None).await;
    assert!(matches!(refused, Err(RecordError::Conflict)));
    let second = store.put_if("manifests/a", large(3), Some(&first)).await;
    let second = second.unwrap();
    assert_eq!((place.count(PIECE), place.count(GARBAGE)), (64, 0));
    let found = RecordStore::get(store, "manifests/a")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((found.value, found.version), (large(3), second.clone()));
    // A listing does not bring four megabytes along.
    let listed = store.scan("manifests/", None, 10).await.unwrap();
    assert!(listed.len() == 1 && listed[0].found.is_none());
    let small = store.put_if("manifests/a", bytes(4, 9), Some(&second));
    small.await.unwrap();
    assert_eq!((place.count(PIECE), place.count(RECORD)), (0, 1));
    RecordStore::purge(store, "manifests/a").await.unwrap();
    assert_eq!(place.count(RECORD), 0);
}

#[tokio::test]
async fn what_was_begun_and_not_finished_is_swept() {
    let place = Place::new();
    let shared = &place.store.shared;
    // A run that nobody came to name, and one whose note was not taken back.
    shared.write_run(b"edata/x", &[bytes(1, 100_000)]).unwrap();
    place
        .store
        .put("data/y", vec![bytes(2, 100_000)])
        .await
        .unwrap();
    let key = super::keys::key(super::keys::EXTENT, b"data/y");
    let value = shared.tree.get(&key).unwrap().unwrap();
    for run in super::keys::runs_of(&key, &value).unwrap() {
        shared.condemn_run(&key, &run).unwrap();
    }
    assert_eq!((place.count(PIECE), place.count(GARBAGE)), (4, 2));
    shared.sweep().unwrap();
    assert_eq!((place.count(PIECE), place.count(GARBAGE)), (2, 0));
    assert_eq!(
        read(&place.store, "data/y", 0..100_000).await,
        bytes(2, 100_000)
    );
}

#[tokio::test]
async fn many_writers_share_a_flush_and_none_is_forgotten() {
    let place = Place::new();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..200_u32 {
        let store = place.store.clone();
        writers.spawn(async move {
            let key = format!("refs/{number:03}");
            store.put_if(&key, bytes(3, 100), None).await.unwrap();
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert!(!place.store.shared.commits.is_fresh("refs/"));
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = place
            .store
            .scan("refs/", after.as_deref(), 64)
            .await
            .unwrap();
        seen.extend(page.iter().map(|entry| entry.key.clone()));
        if page.len() < 64 {
            break;
        }
        after = page.last().map(|entry| entry.key.clone());
    }
    let expected: Vec<_> = (0..200).map(|n| format!("refs/{n:03}")).collect();
    assert_eq!(seen, expected);
}

//! Uploads by several processes, and what they read and leave behind.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci_core::Digest;
use oci_core::error::StoreError;
use oci_core::store::{AppendMode, BlobStore, ManifestStore, UploadId, UploadOptions};

use super::harness::{
    Crashed, Dice, Schedule, World, append, block_on, content, push_blob, read_blob, repository,
    scope,
};
use crate::records::store::RecordStore;
use crate::records::{ExtentStore, PoolSpawn, Records, UploadLocks};

async fn begin(store: &Records) -> UploadId {
    let begun = store
        .begin_upload(&scope(), &UploadOptions::default())
        .await;
    let mut upload = begun.unwrap();
    upload.checkpoint().await.unwrap();
    upload.id().clone()
}

#[test]
fn resuming_reads_at_most_what_is_too_little_for_a_part() {
    const PART: usize = 100_000;
    let world = World::new(PART as u64);
    let bytes = content(1, 950_000);
    block_on(async {
        let id = begin(&world.process(Arc::new(PoolSpawn::default()))).await;
        let mut steps = 0;
        for piece in bytes.chunks(130_000) {
            // A process of its own for each piece.
            let store = world.process(Arc::new(PoolSpawn::default()));
            let mut upload = store.open_upload(&scope(), &id).await.unwrap();
            let before = world.control.read.load(Ordering::SeqCst);
            append(&mut upload, piece).await.unwrap();
            upload.checkpoint().await.unwrap();
            let read = world.control.read.load(Ordering::SeqCst) - before;
            assert!(read < PART as u64, "{read}");
            steps += 1;
        }
        assert_eq!(steps, 8);
        let store = world.process(Arc::new(PoolSpawn::default()));
        let upload = store.open_upload(&scope(), &id).await.unwrap();
        let before = world.control.read.load(Ordering::SeqCst);
        let digest = Digest::sha256(&bytes);
        upload.commit(&digest, &repository("r")).await.unwrap();
        let read = world.control.read.load(Ordering::SeqCst) - before;
        assert_eq!(read, 0, "finishing reads and copies nothing");
        assert!(read_blob(&store, &digest).await.unwrap() == bytes);
    });
}

#[test]
fn pieces_longer_than_a_part_are_neither_read_nor_written_again() {
    let world = World::new(50_000);
    let bytes = content(3, 700_000);
    block_on(async {
        let store = world.process(Arc::new(PoolSpawn::default()));
        let id = begin(&store).await;
        for piece in bytes.chunks(70_000) {
            let mut upload = store.open_upload(&scope(), &id).await.unwrap();
            append(&mut upload, piece).await.unwrap();
            upload.checkpoint().await.unwrap();
        }
        let upload = store.open_upload(&scope(), &id).await.unwrap();
        let digest = Digest::sha256(&bytes);
        upload.commit(&digest, &repository("r")).await.unwrap();
        assert_eq!(world.control.read.load(Ordering::SeqCst), 0);
        // The first piece, then parts as long as one, four to an extent.
        let kept = world.extents.list("", None, 100).await.unwrap();
        let sizes: Vec<u64> = kept.iter().map(|extent| extent.size).collect();
        assert_eq!(sizes.len(), 4, "{sizes:?}");
        assert_eq!(sizes.iter().sum::<u64>(), 700_000);
        assert!(read_blob(&store, &digest).await.unwrap() == bytes);
    });
}

#[test]
fn one_process_reads_nothing_if_pieces_are_parts() {
    let world = World::new(50_000);
    let bytes = content(2, 500_000);
    block_on(async {
        let store = world.process(Arc::new(PoolSpawn::default()));
        let id = begin(&store).await;
        for piece in bytes.chunks(100_000) {
            let mut upload = store.open_upload(&scope(), &id).await.unwrap();
            append(&mut upload, piece).await.unwrap();
            upload.checkpoint().await.unwrap();
        }
        let upload = store.open_upload(&scope(), &id).await.unwrap();
        let digest = Digest::sha256(&bytes);
        upload.commit(&digest, &repository("r")).await.unwrap();
        assert_eq!(world.control.read.load(Ordering::SeqCst), 0);
        // Ten parts, of which an extent takes four here.
        assert_eq!(world.extents.keys().len(), 3);
        assert_eq!(world.extents.unfinished(), 0);
        assert!(read_blob(&store, &digest).await.unwrap() == bytes);
    });
}

#[test]
fn many_small_appends_are_written_few_times() {
    let world = World::new(1_000_000);
    let bytes = content(3, 900_000);
    block_on(async {
        let store = world.process(Arc::new(PoolSpawn::default()));
        let id = begin(&store).await;
        for piece in bytes.chunks(9_000) {
            let mut upload = store.open_upload(&scope(), &id).await.unwrap();
            append(&mut upload, piece).await.unwrap();
            upload.checkpoint().await.unwrap();
        }
        // 100 appends: each byte is read again at most once per doubling.
        let read = world.control.read.load(Ordering::SeqCst);
        assert!(read < 7 * 900_000, "{read}");
        assert!(
            world.extents.keys().len() <= 7,
            "{:?}",
            world.extents.keys()
        );
        let upload = store.open_upload(&scope(), &id).await.unwrap();
        let digest = Digest::sha256(&bytes);
        upload.commit(&digest, &repository("r")).await.unwrap();
        assert!(read_blob(&store, &digest).await.unwrap() == bytes);
    });
}

#[test]
fn a_small_blob_is_a_record_and_nothing_else() {
    let world = World::new(50_000);
    block_on(async {
        let store = world.process(Arc::new(PoolSpawn::default()));
        for length in [0, 1, 8 * 1024] {
            let bytes = content(4, length);
            let digest = push_blob(&store, &bytes).await.unwrap();
            assert!(read_blob(&store, &digest).await.unwrap() == bytes);
        }
        assert!(world.extents.keys().is_empty());
        // Each blob and its link: no session.
        assert_eq!(world.records.keys().len(), 6);

        let digest = push_blob(&store, &content(4, 8 * 1024 + 1)).await.unwrap();
        let keys = world.extents.keys();
        assert_eq!(keys.len(), 1);
        assert!(keys[0].starts_with(&format!("data/sha256/{}/", digest.hex())));
    });
}

#[test]
fn what_was_given_up_leaves_nothing() {
    let world = World::new(20_000);
    let spawned = Schedule::new(&world, 1);
    block_on(async {
        let store = world.process(spawned.spawner());
        let bytes = content(5, 70_000);
        // Dropped, with parts and all.
        let begun = store
            .begin_upload(&scope(), &UploadOptions::default())
            .await;
        let mut upload = begun.unwrap();
        append(&mut upload, &bytes).await.unwrap();
        drop(upload);
        // A wrong digest.
        let begun = store
            .begin_upload(&scope(), &UploadOptions::default())
            .await;
        let mut upload = begun.unwrap();
        append(&mut upload, &bytes).await.unwrap();
        let wrong = Digest::sha256(b"something else");
        let refused = upload.commit(&wrong, &repository("r")).await;
        assert!(matches!(refused, Err(StoreError::DigestMismatch { .. })));
        // Aborted after a checkpoint, by somebody else.
        let id = begin(&store).await;
        let mut upload = store.open_upload(&scope(), &id).await.unwrap();
        append(&mut upload, &bytes).await.unwrap();
        upload.checkpoint().await.unwrap();
        append(&mut upload, &bytes).await.unwrap();
        store.abort_upload(&scope(), &id).await.unwrap();
        assert!(upload.checkpoint().await.unwrap_err().is_not_found());
    });
    spawned.run(false);
    assert!(
        world.extents.keys().is_empty(),
        "{:?}",
        world.extents.keys()
    );
    assert_eq!(world.extents.unfinished(), 0);
}

#[test]
fn the_slower_of_two_processes_is_told_where_the_upload_stands() {
    let world = World::new(20_000);
    block_on(async {
        let one = world.process(Arc::new(PoolSpawn::default()));
        let two = world.process(Arc::new(PoolSpawn::default()));
        let id = begin(&one).await;
        let mut slow = one.open_upload(&scope(), &id).await.unwrap();
        append(&mut slow, &content(6, 65_000)).await.unwrap();

        let mut fast = two.open_upload(&scope(), &id).await.unwrap();
        append(&mut fast, &content(7, 45_000)).await.unwrap();
        fast.checkpoint().await.unwrap();
        match slow.checkpoint().await {
            Err(StoreError::Conflict { offset }) => assert_eq!(offset, 45_000),
            other => panic!("{other:?}"),
        }
        let digest = Digest::sha256(&content(7, 45_000));
        fast.commit(&digest, &repository("r")).await.unwrap();
        drop(slow);
        assert!(read_blob(&two, &digest).await.unwrap() == content(7, 45_000));
    });
}

#[test]
fn parts_of_a_writer_that_was_taken_over_never_get_in() {
    let world = World::new(20_000);
    block_on(async {
        let one = world.process(Arc::new(PoolSpawn::default()));
        let two = world.process(Arc::new(PoolSpawn::default()));
        let id = begin(&one).await;
        let mut first = one.open_upload(&scope(), &id).await.unwrap();
        append(&mut first, &content(8, 50_000)).await.unwrap();
        first.checkpoint().await.unwrap();

        // Both go on behind the same parts.
        let mut second = two.open_upload(&scope(), &id).await.unwrap();
        append(&mut second, &content(9, 50_000)).await.unwrap();
        second.checkpoint().await.unwrap();
        // It fails at the parts, or at the latest when it checkpoints.
        let late = append(&mut first, &content(10, 50_000)).await;
        if late.is_ok() {
            assert!(first.checkpoint().await.is_err());
        }
        drop(first);

        let whole = [content(8, 50_000), content(9, 50_000)].concat();
        let digest = Digest::sha256(&whole);
        second.commit(&digest, &repository("r")).await.unwrap();
        assert!(read_blob(&two, &digest).await.unwrap() == whole);
    });
}

/// Three processes fight over one session, some crash, and some leave without a word: what was
/// acknowledged is the beginning of all that comes later, and nothing is ever mixed.
#[test]
fn processes_that_fight_over_a_session_never_mix() {
    for seed in 0..500 {
        let world = World::interleaved(10_000);
        let mut schedule = Schedule::new(&world, seed);
        let id = block_on(begin(&world.process(Arc::new(Crashed))));
        // What the session may hold, by length, and what some writer was told that it holds.
        let possible: Arc<Mutex<HashMap<u64, Vec<u8>>>> = Arc::default();
        possible.lock().unwrap().insert(0, Vec::new());
        let acknowledged: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        for process in 0..3_u8 {
            let store = world.process(Arc::new(Crashed));
            let (possible, acknowledged) = (Arc::clone(&possible), Arc::clone(&acknowledged));
            let id = id.clone();
            let mut dice = Dice::new(seed * 7 + u64::from(process));
            schedule.add(async move {
                for round in 0..4 {
                    let Ok(mut upload) = store.open_upload(&scope(), &id).await else {
                        continue;
                    };
                    let before = possible.lock().unwrap().get(&upload.offset()).cloned();
                    let before = before.expect("a length that some writer has written");
                    let piece = content(process * 16 + round, 1 + dice.below(25_000));
                    let whole = [before, piece.clone()].concat();
                    if append(&mut upload, &piece).await.is_err() || dice.below(4) == 0 {
                        continue;
                    }
                    let other = possible
                        .lock()
                        .unwrap()
                        .insert(whole.len() as u64, whole.clone());
                    assert!(other.is_none(), "choose other seeds: two of one length");
                    if upload.checkpoint().await.is_ok() {
                        acknowledged.lock().unwrap().push(whole);
                    }
                }
            });
        }
        schedule.run(seed % 2 == 0);
        world.settle_deletes();
        let store = world.process(Arc::new(Crashed));
        block_on(async {
            let upload = store.open_upload(&scope(), &id).await.unwrap();
            let expected = possible.lock().unwrap()[&upload.offset()].clone();
            for told in acknowledged.lock().unwrap().iter() {
                assert!(
                    expected.starts_with(told),
                    "seed {seed}: acknowledged and gone"
                );
            }
            let digest = Digest::sha256(&expected);
            upload.commit(&digest, &repository("r")).await.unwrap();
            let read = read_blob(&store, &digest).await.unwrap();
            assert!(read == expected, "seed {seed}");
        });
    }
}

#[test]
fn idle_sessions_are_swept_by_any_process() {
    let world = World::new(20_000);
    block_on(async {
        let one = world.process(Arc::new(PoolSpawn::default()));
        let two = world.process(Arc::new(PoolSpawn::default()));
        let idle = begin(&one).await;
        let mut upload = one.open_upload(&scope(), &idle).await.unwrap();
        append(&mut upload, &content(1, 50_000)).await.unwrap();
        upload.checkpoint().await.unwrap();
        drop(upload);
        world.control.now.fetch_add(3600, Ordering::SeqCst);
        let fresh = begin(&one).await;
        let hour = Duration::from_secs(3600);
        assert_eq!(two.sweep_uploads(hour).await.unwrap(), 1);
        assert!(
            two.upload_status(&scope(), &idle)
                .await
                .unwrap_err()
                .is_not_found()
        );
        assert!(two.upload_status(&scope(), &fresh).await.is_ok());
        assert_eq!(two.count_uploads(Some(&scope()), 10).await.unwrap(), 1);
        assert!(world.extents.keys().is_empty());
        assert_eq!(world.extents.unfinished(), 0);
    });
}

/// A process dies between announcing a session and beginning it.
#[test]
fn a_session_that_was_never_begun_is_swept() {
    let world = World::new(20_000);
    block_on(async {
        let store = world.process(Arc::new(PoolSpawn::default()));
        let id = begin(&store).await;
        world.records.purge(&format!("uploads/{id}")).await.unwrap();
        let hour = Duration::from_secs(3600);
        store.sweep_uploads(hour).await.unwrap();
        assert_eq!(
            store.count_uploads(None, 10).await.unwrap(),
            1,
            "still young"
        );
        world.control.now.fetch_add(3600, Ordering::SeqCst);
        store.sweep_uploads(hour).await.unwrap();
        assert_eq!(store.count_uploads(None, 10).await.unwrap(), 0);
    });
}

/// A commit is cut off at every possible call: the session then stands as before, or the blob is there.
#[test]
fn a_process_dies_while_it_finishes() {
    let bytes = content(11, 70_000);
    let digest = Digest::sha256(&bytes);
    for polls in 0..60 {
        let world = World::interleaved(20_000);
        block_on(async {
            let dying = world.engine(Arc::new(Crashed), UploadLocks::default());
            let id = begin(&dying).await;
            let mut upload = dying.open_upload(&scope(), &id).await.unwrap();
            append(&mut upload, &bytes).await.unwrap();
            upload.checkpoint().await.unwrap();
            let name = repository("r");
            let mut commit = upload.commit(&digest, &name);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            for _ in 0..polls {
                if commit.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
            drop(commit);

            let store = world.process(Arc::new(Crashed));
            match store.open_upload(&scope(), &id).await {
                Ok(mut upload) => {
                    assert_eq!(upload.offset(), bytes.len() as u64);
                    append(&mut upload, b"!").await.unwrap();
                    drop(upload);
                    let upload = store.open_upload(&scope(), &id).await.unwrap();
                    upload.commit(&digest, &name).await.unwrap();
                }
                Err(error) => assert!(error.is_not_found(), "{error}"),
            }
            world.settle_deletes();
            assert!(store.has_blob(&name, &digest).await.unwrap(), "{polls}");
            assert!(
                read_blob(&store, &digest).await.unwrap() == bytes,
                "{polls}"
            );
        });
    }
}

#[test]
fn a_slow_writer_keeps_its_session_alive() {
    let world = World::new(20_000);
    block_on(async {
        let one = world.process(Arc::new(PoolSpawn::default()));
        let two = world.process(Arc::new(PoolSpawn::default()));
        let id = begin(&one).await;
        let mut upload = one.open_upload(&scope(), &id).await.unwrap();
        for _ in 0..10 {
            world.control.now.fetch_add(1000, Ordering::SeqCst);
            let piece = futures_util::stream::iter([Ok("slow".into())]);
            let piece = std::pin::pin!(piece);
            upload.append(piece, AppendMode::Progressive).await.unwrap();
            assert_eq!(
                two.sweep_uploads(Duration::from_secs(3600)).await.unwrap(),
                0
            );
        }
        assert_eq!(upload.checkpoint().await.unwrap(), 40);
    });
}

/// A process stalls while it finishes; another takes the session for its own and gives it up, or
/// sweeps it. If the first then still succeeds, its blob is whole.
#[test]
fn a_stalled_commit_never_registers_bytes_that_were_given_up() {
    let bytes = content(12, 70_000);
    let digest = Digest::sha256(&bytes);
    let mut refused = 0;
    for (polls, sweeps) in (0..80).flat_map(|polls| [(polls, false), (polls, true)]) {
        let world = World::interleaved(20_000);
        block_on(async {
            let stalled = world.process(Arc::new(Crashed));
            let id = begin(&stalled).await;
            let mut upload = stalled.open_upload(&scope(), &id).await.unwrap();
            append(&mut upload, &bytes).await.unwrap();
            upload.checkpoint().await.unwrap();
            let name = repository("r");
            let mut commit = upload.commit(&digest, &name);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            for _ in 0..polls {
                if commit.as_mut().poll(&mut context).is_ready() {
                    return;
                }
            }

            let other = world.process(Arc::new(Crashed));
            if sweeps {
                other.sweep_uploads(Duration::ZERO).await.unwrap();
            } else if let Ok(upload) = other.open_upload(&scope(), &id).await {
                upload.abort().await.unwrap();
            }
            world.settle_deletes();
            if commit.await.is_ok() {
                world.settle_deletes();
                assert!(
                    read_blob(&other, &digest).await.unwrap() == bytes,
                    "{polls}"
                );
            } else {
                refused += 1;
                assert!(other.stat(&digest).await.is_err(), "{polls}");
            }
        });
    }
    assert!(refused > 20, "{refused}");
}

/// Who cancels deletes the bytes and fences them off; who writes meanwhile must hear that the upload is
/// gone, and not that the store does not answer.
#[test]
fn a_writer_learns_that_its_upload_was_cancelled() {
    let mut lost = 0;
    for seed in 0..600 {
        let world = World::interleaved(4_000);
        let mut schedule = Schedule::new(&world, seed);
        let bytes = content(7, 9_000);
        let id = block_on(async {
            let store = world.process(Arc::new(Crashed));
            let begun = store
                .begin_upload(&scope(), &UploadOptions::default())
                .await;
            let mut upload = begun.unwrap();
            append(&mut upload, &bytes).await.unwrap();
            upload.checkpoint().await.unwrap();
            upload.id().clone()
        });

        let outcome: Arc<Mutex<Option<Result<(), StoreError>>>> = Arc::default();
        let (store, told) = (world.process(schedule.spawner()), Arc::clone(&outcome));
        let (writer, whole) = (id.clone(), bytes.clone());
        schedule.add(async move {
            let written = async {
                let mut upload = store.open_upload(&scope(), &writer).await?;
                if seed % 2 == 0 {
                    append(&mut upload, &content(8, 9_000)).await?;
                    return upload.checkpoint().await.map(|_| ());
                }
                let digest = Digest::sha256(&whole);
                upload.commit(&digest, &repository("r")).await.map(|_| ())
            };
            *told.lock().unwrap() = Some(written.await);
        });
        let store = world.process(schedule.spawner());
        schedule.add(async move {
            let _ = store.abort_upload(&scope(), &id).await;
        });
        schedule.run(false);

        let outcome = outcome.lock().unwrap().take().unwrap();
        match outcome {
            Err(StoreError::NotFound) => lost += 1,
            // A conflict if the cancel had only fenced the content off by then.
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(other) => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!((50..600).contains(&lost), "{lost}");
}

//! The collector by itself: what it finds, what it leaves, and who is at work.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oci_core::error::StoreError;
use oci_core::store::{
    Amount, BlobStore, Brake, Candidate, CollectEnd, CollectObserver, Collected, ManifestStore,
    TagWrite, UploadOptions,
};
use oci_core::{Digest, RepositoryName};

use super::harness::{
    Crashed, Schedule, World, append, block_on, content, image, push_blob, push_blob_by_session,
    put, read_blob, repository, scope, tag,
};
use super::interleaved::{Image, check_whole, everything};
use crate::records::keys::Key;
use crate::records::model::{LeaseRecord, MarkRecord, RevisionRecord};
use crate::records::{Guarantees, MemoryExtents, MemoryRecords, PoolSpawn, Records};

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn take(&self) -> Vec<String> {
        let mut heard = std::mem::take(&mut *self.0.lock().unwrap());
        heard.sort();
        heard
    }

    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl CollectObserver for Heard {
    fn candidate(&self, candidate: &Candidate<'_>) {
        let (kind, digest) = (candidate.kind, candidate.digest);
        self.note(format!("{kind:?} {digest} {}", candidate.size));
    }

    fn orphan(&self, name: &str, size: u64) {
        self.note(format!("orphan {name} {size}"));
    }

    fn kept_whole(&self, what: &str, why: &str) {
        self.note(format!("kept {what}: {why}"));
    }
}

pub(super) fn collect(world: &World) -> Collected {
    let engine = world.process(Arc::new(PoolSpawn::default())).engine;
    block_on(engine.collect(&everything(), Arc::new(()))).unwrap()
}

/// Hours go by: what was left behind is not taken for something under way.
pub(super) fn pass(world: &World, seconds: u64) {
    world.control.now.fetch_add(seconds, Ordering::SeqCst);
}

pub(super) fn store(world: &World) -> Records {
    world.process(Arc::new(PoolSpawn::default()))
}

#[test]
fn what_nobody_refers_to_goes_and_the_rest_stays() {
    let world = World::new(4_000);
    let (kept, gone) = (Image::new("kept"), content(9, 20_000));
    let small = content(10, 100);
    block_on(async {
        let store = store(&world);
        for bytes in [&kept.config, &kept.layer, &gone, &small] {
            push_blob_by_session(&store, bytes).await.unwrap();
        }
        put(&store, &kept.manifest, &[]).await.unwrap();
    });
    let engine = store(&world).engine;

    // Young as they are, nothing is said of them.
    let mut options = everything();
    options.grace = Duration::from_secs(60);
    let young = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!((young.garbage.count, young.young.count), (0, 2));
    pass(&world, 60);

    let heard = Arc::new(Heard::default());
    options.dry_run = true;
    let dry = block_on(engine.collect(&options, Arc::clone(&heard) as _)).unwrap();
    let mut expected = Vec::new();
    for bytes in [&gone, &small] {
        let digest = Digest::sha256(bytes);
        expected.push(format!("Content {digest} {}", bytes.len()));
        expected.push(format!("Link {digest} 0"));
    }
    expected.sort();
    assert_eq!(heard.take(), expected);
    assert_eq!(dry.removed, Amount::default());
    assert_eq!(dry.content.count, 4);
    assert_eq!((dry.repositories, dry.manifests_read), (1, 1));
    assert!(block_on(read_blob(&store(&world), &Digest::sha256(&gone))).is_ok());

    options.dry_run = false;
    let done = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!(done.end, CollectEnd::Complete);
    assert_eq!(done.removed, done.garbage);
    assert_eq!(done.removed.bytes, 20_100);
    assert_eq!(done.removed_links, 2);
    block_on(async {
        let store = store(&world);
        check_whole(&store, std::slice::from_ref(&kept), "kept").await;
        for bytes in [&gone, &small] {
            let digest = Digest::sha256(bytes);
            assert!(store.stat(&digest).await.unwrap_err().is_not_found());
            assert!(!store.has_blob(&repository("r"), &digest).await.unwrap());
            // And may come again.
            push_blob(&store, bytes).await.unwrap();
            assert!(read_blob(&store, &digest).await.unwrap() == *bytes);
        }
    });
}

#[test]
fn an_unusual_share_stops_it() {
    let world = World::new(4_000);
    block_on(push_blob(&store(&world), &content(1, 20_000))).unwrap();
    let mut options = everything();
    let mut brake = Brake::default();
    brake.bytes = 10_000;
    options.brake = Some(brake);
    let engine = store(&world).engine;
    let stopped = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!(stopped.end, CollectEnd::Braked);
    assert_eq!((stopped.garbage.count, stopped.removed.count), (1, 0));
    brake.share = 1.0;
    options.brake = Some(brake);
    let done = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!(done.removed.count, 1);
}

/// What failed uploads left goes when no upload can be that old; what an open one has stays.
#[test]
fn orphans_go_when_they_are_old() {
    let world = World::new(4_000);
    let bytes = content(1, 20_000);
    block_on(async {
        let store = store(&world);
        // As a crash leaves them: bytes of a known digest, and of an upload without a record.
        let crashed = world.process(Arc::new(Crashed));
        let options = UploadOptions::expecting(Digest::sha256(&bytes));
        for options in [options, UploadOptions::default()] {
            let mut upload = crashed.begin_upload(&scope(), &options).await.unwrap();
            append(&mut upload, &bytes).await.unwrap();
            std::mem::forget(upload);
        }
        let mut open = store
            .begin_upload(&scope(), &UploadOptions::default())
            .await
            .unwrap();
        append(&mut open, &bytes).await.unwrap();
        open.checkpoint().await.unwrap();
    });
    let before = world.extents.keys().len();
    assert_eq!(collect(&world).orphans.count, 0, "they may be under way");
    pass(&world, 3_600);
    let done = collect(&world);
    assert_eq!(done.orphans.count, 2);
    assert_eq!(done.removed_orphans.bytes, 32_000, "whole parts");
    assert_eq!(world.extents.keys().len(), before - 2);
    assert_eq!(collect(&world).orphans.count, 0);
    // The first one's writer was not gone after all.
    assert!(block_on(push_blob(&store(&world), &bytes)).is_ok());
}

/// References without their manifest are removed, and a push that is merely slow begins again.
#[test]
fn references_that_keep_nothing_are_removed() {
    let world = World::new(4_000);
    let image = Image::new("never");
    let digest = Digest::sha256(&image.layer);
    let reference = Key::Reference {
        to: digest,
        repository: repository("r"),
        from: image.digest(),
        push: store(&world).engine.nonce(),
    };
    block_on(async {
        let store = store(&world);
        push_blob(&store, &image.layer).await.unwrap();
        store.engine.mark(&reference).await.unwrap();
        let mut options = everything();
        options.grace = Duration::from_secs(60);
        pass(&world, 59);
        let kept = store.engine.collect(&options, Arc::new(())).await.unwrap();
        assert_eq!(kept.garbage.count, 0, "its push may be under way");
        pass(&world, 1);
        let done = store.engine.collect(&options, Arc::new(())).await.unwrap();
        assert_eq!((done.removed.count, done.removed_links), (1, 1));
        let mark = store.engine.get::<MarkRecord>(&reference).await.unwrap();
        assert!(mark.version.is_none());
        let key = Key::Manifest(repository("r"), image.digest());
        let rewritten = store.engine.get::<RevisionRecord>(&key).await.unwrap();
        assert!(rewritten.version.is_some(), "a push from before must fail");
        // From here on it can be pushed as any other.
        for bytes in [&image.config, &image.layer] {
            push_blob(&store, bytes).await.unwrap();
        }
        put(&store, &image.manifest, &[]).await.unwrap();
    });
    assert_eq!(collect(&world).removed.count, 0);
    block_on(check_whole(&store(&world), &[image], "pushed again"));
}

/// A damaged manifest keeps what its repository has; a damaged mark is a mark.
#[test]
fn what_cannot_be_read_keeps_everything() {
    let world = World::new(4_000);
    let image = Image::new("one");
    block_on(async {
        let store = store(&world);
        for bytes in [&image.config, &image.layer] {
            push_blob(&store, bytes).await.unwrap();
        }
        put(&store, &image.manifest, &[]).await.unwrap();
    });
    let key = Key::Manifest(repository("r"), image.digest()).format();
    world.records.overwrite(&key, "nothing".into());
    pass(&world, 7_200);
    let heard = Arc::new(Heard::default());
    let engine = store(&world).engine;
    let done = block_on(engine.collect(&everything(), Arc::clone(&heard) as _)).unwrap();
    assert_eq!((done.removed.count, done.removed_links), (0, 0));
    assert_eq!(done.kept_whole, 1);
    let heard = heard.take();
    assert!(heard[0].starts_with("kept r: its record"), "{heard:?}");
    for bytes in [&image.config, &image.layer] {
        assert!(block_on(read_blob(&store(&world), &Digest::sha256(bytes))).is_ok());
    }
}

/// Every read and write fails once: nothing that is needed goes, and the next run finishes.
#[test]
fn a_run_may_fail_anywhere() {
    for at in 0..80 {
        for fault in super::harness::Fault::ALL {
            let world = World::new(4_000);
            let image = Image::new("kept");
            let gone = content(9, 9_000);
            block_on(async {
                // What is left behind is not tidied up meanwhile.
                let store = world.process(Arc::new(Crashed));
                for bytes in [&image.config, &image.layer, &gone] {
                    push_blob(&store, bytes).await.unwrap();
                }
                put(&store, &image.manifest, &[TagWrite::any(tag("t"))])
                    .await
                    .unwrap();
                world.control.fail(at, fault);
                let _ = store.engine.collect(&everything(), Arc::new(())).await;
            });
            world.control.heal();
            // A lease whose end was not written is waited for; content whose delete failed is an orphan.
            pass(&world, 7_200);
            let done = collect(&world);
            assert_eq!(done.end, CollectEnd::Complete, "{at} {fault:?}");
            let context = format!("{at} {fault:?}");
            let store = store(&world);
            block_on(check_whole(&store, std::slice::from_ref(&image), &context));
            let left = block_on(store.stat(&Digest::sha256(&gone)));
            assert!(left.unwrap_err().is_not_found(), "{context}");
            assert_eq!(world.extents.keys().len(), 1, "{context}");
        }
    }
}

#[test]
fn what_says_that_something_is_gone_goes_after_a_month() {
    let world = World::new(4_000);
    let image = Image::new("gone");
    block_on(async {
        let store = store(&world);
        push_blob_by_session(&store, &image.config).await.unwrap();
        push_blob_by_session(&store, &image.layer).await.unwrap();
        // Stays, and so does the session that says whose its bytes are.
        let kept = content(7, 9_000);
        push_blob_by_session(&store, &kept).await.unwrap();
        put(&store, &image.manifest, &[]).await.unwrap();
        put(
            &store,
            &super::harness::image(&kept, &kept, "kept", None),
            &[],
        )
        .await
        .unwrap();
        store
            .delete(&repository("r"), &image.digest())
            .await
            .unwrap();
    });
    assert_eq!(collect(&world).removed.count, 2);
    let of = |prefix: &str| {
        let keys = world.records.keys();
        keys.iter().filter(|key| key.starts_with(prefix)).count()
    };
    pass(&world, 29 * 24 * 3_600);
    collect(&world);
    let counts = ["blobs/", "links/", "manifests/", "uploads/"].map(of);
    assert_eq!(counts, [3, 3, 2, 3]);
    pass(&world, 2 * 24 * 3_600);
    assert_eq!(collect(&world).orphans.count, 0);
    let counts = ["blobs/", "links/", "manifests/", "uploads/"].map(of);
    assert_eq!(counts, [1, 1, 1, 1]);
    assert_eq!(world.extents.keys().len(), 1);
}

/// Bytes are held back: the other replica sees who is at work, and takes over when nothing changes.
#[test]
fn one_replica_collects_at_a_time() {
    let world = World::new(4_000);
    block_on(push_blob(&store(&world), &content(1, 9_000))).unwrap();
    let other = store(&world).engine;
    let dies = world.process(Arc::new(Crashed)).engine;
    let busy = || {
        let run = block_on(other.collect(&everything(), Arc::new(())));
        run.unwrap().end == CollectEnd::Busy
    };
    block_on(async {
        let mut lease = dies.take_lease(Duration::ZERO).await.unwrap().unwrap();
        assert!(busy());
        // As long as it is renewed, however slowly the others' clocks go.
        for _ in 0..20 {
            pass(&world, 40);
            assert!(lease.renew().await.unwrap());
            assert!(busy());
        }
        pass(&world, 179);
        assert!(busy());
        pass(&world, 1);
        assert!(!busy(), "nothing has changed for three minutes");
        pass(&world, 40);
        assert!(!lease.renew().await.unwrap(), "it was taken away");
    });
    // One that ends says so.
    let next = store(&world).engine;
    let lease = block_on(next.take_lease(Duration::ZERO)).unwrap().unwrap();
    assert!(busy());
    block_on(lease.release(true));
    assert!(!busy());
    // Also when its run is dropped, and where the process is gone, a command waits an hour.
    drop(block_on(dies.take_lease(Duration::ZERO)).unwrap().unwrap());
    let held = block_on(dies.get::<LeaseRecord>(&Key::Lease)).unwrap();
    assert!(held.header().unwrap().holder.is_some());
    pass(&world, 3_600);
    assert_eq!(collect(&world).end, CollectEnd::Complete);
}

/// Only where a swap decides between racing writers, and listings are complete.
#[test]
fn stores_that_promise_less_are_not_collected() {
    let weak = Guarantees {
        consistent: false,
        ..Guarantees::ALL
    };
    for (records, extents) in [(weak, Guarantees::ALL), (Guarantees::ALL, weak)] {
        let store = Records::new(
            MemoryRecords::new().with_guarantees(records),
            MemoryExtents::new().with_guarantees(extents),
        );
        assert!(!store.capabilities().collects);
        let refused = block_on(BlobStore::collect(&store, &everything(), Arc::new(())));
        assert!(matches!(refused, Err(StoreError::Unsupported(_))));
    }
    let store = Records::new(MemoryRecords::new(), MemoryExtents::new());
    assert!(store.capabilities().collects);
}

/// A base layer that more images need than fit on a page, beside content that nothing needs.
#[test]
fn many_references_are_skipped() {
    let world = World::new(4_000);
    let base = content(1, 50);
    block_on(async {
        let store = store(&world);
        push_blob(&store, &base).await.unwrap();
        for n in 0..1_100 {
            let manifest = image(&base, &base, &n.to_string(), None);
            put(&store, &manifest, &[]).await.unwrap();
        }
        for n in 2..60 {
            push_blob(&store, &content(n, 40)).await.unwrap();
        }
    });
    let done = collect(&world);
    assert_eq!(done.content.count, 59);
    assert_eq!((done.removed.count, done.removed_links), (58, 58));
    assert_eq!(done.manifests_read, 1_100);
    let name: RepositoryName = repository("r");
    assert!(block_on(store(&world).has_blob(&name, &Digest::sha256(&base))).unwrap());
}

/// Tags lead to manifests, these to children, and what refers to a kept manifest stays with it.
#[test]
fn untagged_manifests_go_if_asked_for() {
    let world = World::new(4_000);
    let [tagged, loose, child, lone] = ["tagged", "loose", "child", "lone child"].map(Image::new);
    let (config, layer) = (tagged.config.clone(), tagged.layer.clone());
    let own = content(5, 50);
    let image = |note, subject| super::harness::image(&config, &layer, note, subject);
    let signature = image("signature", Some(&tagged.digest()));
    let of_loose = super::harness::image(&own, &layer, "of loose", Some(&loose.digest()));
    let (index, loose_index) = (
        super::harness::index(&child.manifest),
        super::harness::index(&lone.manifest),
    );
    let any = |name: &str| [TagWrite::any(tag(name))];
    block_on(async {
        let store = store(&world);
        for bytes in [&config, &layer, &own] {
            push_blob(&store, bytes).await.unwrap();
        }
        for it in [&loose, &child, &lone] {
            put(&store, &it.manifest, &[]).await.unwrap();
        }
        put(&store, &tagged.manifest, &any("t")).await.unwrap();
        for manifest in [&signature, &of_loose, &loose_index] {
            put(&store, manifest, &[]).await.unwrap();
        }
        put(&store, &index, &any("i")).await.unwrap();
        // Moved on, and so as untagged as the others.
        put(&store, &loose_index, &any("moved")).await.unwrap();
        put(&store, &tagged.manifest, &any("moved")).await.unwrap();
    });
    let there = || {
        let manifests = [
            &tagged.manifest,
            &signature,
            &child.manifest,
            &index,
            &loose.manifest,
            &of_loose,
            &lone.manifest,
            &loose_index,
        ];
        manifests.map(|manifest| {
            let digest = Digest::sha256(manifest.bytes());
            block_on(ManifestStore::read(
                &store(&world),
                &repository("r"),
                &digest,
            ))
            .is_ok()
        })
    };
    assert_eq!(collect(&world).removed_manifests, 0, "only if asked for");
    let engine = store(&world).engine;
    let mut options = everything();
    options.untagged = true;
    options.grace = Duration::from_secs(60);
    let young = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!(young.garbage_manifests, 0);
    pass(&world, 60);
    options.dry_run = true;
    let dry = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!((dry.garbage_manifests, dry.garbage.count), (4, 1));
    assert_eq!(there(), [true; 8]);
    options.dry_run = false;
    let done = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!((done.removed_manifests, done.removed.count), (4, 1));
    assert_eq!(done.removed_links, 1);
    assert_eq!(
        there(),
        [true, true, true, true, false, false, false, false]
    );
    block_on(check_whole(
        &store(&world),
        &[tagged.clone(), child.clone()],
        "kept",
    ));
    let again = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!((again.garbage_manifests, again.garbage.count), (0, 0));
}

/// Pushes by tag beside collectors that take what is untagged: no acknowledged tag leads to nothing.
#[test]
fn a_tag_that_was_acknowledged_keeps_its_manifest() {
    for seed in 0..300 {
        let world = World::interleaved(4_000);
        let mut schedule = Schedule::new(&world, seed);
        let image = Image::new("one");
        let done: Arc<Mutex<Vec<String>>> = Arc::default();
        block_on(async {
            let store = store(&world);
            for bytes in [&image.config, &image.layer] {
                push_blob(&store, bytes).await.unwrap();
            }
            // It is there already, and nothing leads to it.
            put(&store, &image.manifest, &[]).await.unwrap();
        });
        for name in ["a", "b"] {
            let store = world.process(schedule.spawner());
            let (image, done) = (image.clone(), Arc::clone(&done));
            schedule.add(async move {
                for _ in 0..4 {
                    for bytes in [&image.config, &image.layer] {
                        let _ = push_blob(&store, bytes).await;
                    }
                    if put(&store, &image.manifest, &[TagWrite::any(tag(name))])
                        .await
                        .is_ok()
                    {
                        done.lock().unwrap().push(name.to_owned());
                        return;
                    }
                }
            });
        }
        for _ in 0..2 {
            let engine = world.process(schedule.spawner()).engine;
            let mut options = everything();
            options.untagged = true;
            schedule.add(async move {
                for _ in 0..2 {
                    let _ = engine.collect(&options, Arc::new(())).await;
                }
            });
        }
        schedule.run(false);
        world.settle_deletes();
        let store = store(&world);
        block_on(async {
            check_whole(
                &store,
                std::slice::from_ref(&image),
                &format!("seed {seed}"),
            )
            .await;
            let done = done.lock().unwrap().clone();
            for name in done {
                let at = store.resolve(&repository("r"), &tag(&name)).await;
                assert_eq!(at.unwrap(), image.digest(), "seed {seed}: {name}");
            }
        });
    }
}

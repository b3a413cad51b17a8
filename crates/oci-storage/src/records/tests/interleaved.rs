//! Pushes, deletes, collectors and a sweeper, interleaved at random: whatever is visible is whole.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci_core::error::StoreError;
use oci_core::store::{
    BlobStore, CollectOptions, ManifestStore, PageRequest, TagPrecondition, TagWrite, UploadId,
};
use oci_core::{Digest, Manifest, Tag};

use super::harness::{
    Crashed, Schedule, World, block_on, content, image, index, push_blob, push_blob_by_session,
    put, read_blob, repository, tag,
};
use crate::records::access::Swap;
use crate::records::content::Fenced;
use crate::records::content::Mortal;
use crate::records::keys::{self, Key};
use crate::records::model::{
    BlobRecord, LinkRecord, Phase, RevisionRecord, SessionRecord, TagRecord, target_of,
};
use crate::records::{Engine, Records, UploadLocks};

/// Condemns a record, and ends it if nothing needs it: the core of the real collector, for one record at
/// the moment that a test wants. Errors mean "keep".
async fn collect<H: Mortal>(engine: &Engine, key: &Key, references: &str) -> Option<H> {
    let found = engine.get::<H>(key).await.ok()?;
    let record = found
        .record
        .filter(|record| record.header.life().is_there())?;
    let mut header = record.header;
    let before = header.clone();
    let swap =
        async |version, header: &H| match engine.swap(key, version, header, &record.body).await {
            Ok(Swap::Won(version, _)) => Some(version),
            _ => None,
        };
    header.condemn();
    let version = swap(found.version.as_ref(), &header).await?;
    let needed = !engine.scan(references, None, 1).await.ok()?.is_empty();
    if needed {
        header.revive(0);
    } else {
        header.end(0, engine.nonce());
    }
    swap(Some(&version), &header).await?;
    (!needed).then_some(before)
}

pub(super) async fn collect_blob(engine: &Engine, digest: Digest) {
    let references = keys::references(&digest);
    let key = Key::Blob(digest);
    if let Some(dead) = collect::<BlobRecord>(engine, &key, &references).await {
        for extent in dead.extents {
            engine.forget(&extent.key).await;
        }
    }
}

pub(super) async fn collect_link(engine: &Engine, digest: Digest) {
    let name = repository("r");
    let references = keys::references_in(&digest, &name);
    let key = Key::Link(name, digest);
    collect::<LinkRecord>(engine, &key, &references).await;
}

/// Deletes extents that no record names.
async fn sweep_orphans(engine: &Engine) {
    let Ok(extents) = engine.extents.list("data/", None, 1000).await else {
        return;
    };
    for extent in extents {
        let parts: Vec<&str> = extent.key.split('/').collect();
        let digest = match parts[..] {
            ["data", algorithm, hex, _] => {
                Digest::from_parts(algorithm.parse().unwrap(), hex).unwrap()
            }
            ["data", id, _] => {
                let id: UploadId = id.parse().unwrap();
                let found = engine.get::<SessionRecord>(&Key::Upload(id)).await;
                // An open session keeps its own; one that is finishing is the session sweeper's.
                match found.unwrap().header().map(|session| session.phase.clone()) {
                    Some(Phase::Done(digest)) => digest,
                    _ => continue,
                }
            }
            _ => panic!("{extent:?}"),
        };
        if let Ok(Fenced::Off(_)) = engine
            .fence_off(&digest, std::slice::from_ref(&extent.key))
            .await
        {
            engine.forget(&extent.key).await;
        }
    }
}

#[derive(Clone)]
pub(super) struct Image {
    pub(super) config: Vec<u8>,
    pub(super) layer: Vec<u8>,
    pub(super) manifest: Manifest,
}

impl Image {
    pub(super) fn new(note: &str) -> Self {
        // Shared by all images; the layer is an extent, the config a record.
        let (config, layer) = (content(1, 40), content(2, 9_000));
        let manifest = image(&config, &layer, note, None);
        Self {
            config,
            layer,
            manifest,
        }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::sha256(self.manifest.bytes())
    }

    /// What a client does: push what it is told is missing, then the manifest; a few times over.
    pub(super) async fn push(
        &self,
        store: &Records,
        writes: &[TagWrite],
        by_session: bool,
    ) -> Outcome {
        for _ in 0..6 {
            for blob in self.manifest.references() {
                if store.claim(&repository("r"), &[*blob]).await.is_ok() {
                    continue;
                }
                let bytes = [&self.config, &self.layer]
                    .into_iter()
                    .find(|bytes| Digest::sha256(bytes) == blob.digest)
                    .unwrap();
                // May be taken for abandoned by the sweeper, which spares nothing here.
                let _ = if by_session {
                    push_blob_by_session(store, bytes).await
                } else {
                    push_blob(store, bytes).await
                };
            }
            match put(store, &self.manifest, writes).await {
                Ok(_) => return Outcome::Acknowledged,
                Err(StoreError::MissingReferences(_) | StoreError::Unavailable { .. }) => {}
                Err(StoreError::Precondition) => return Outcome::Precondition,
                Err(error) => panic!("{error:?}"),
            }
        }
        Outcome::GaveUp
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Acknowledged,
    Precondition,
    GaveUp,
}

/// Everything that can be seen is whole: tags point to manifests, manifests to content.
pub(super) async fn check_whole(store: &Records, images: &[Image], context: &str) {
    let name = repository("r");
    for image in images {
        if ManifestStore::read(store, &name, &image.digest())
            .await
            .is_err()
        {
            continue;
        }
        for bytes in [&image.config, &image.layer] {
            let digest = Digest::sha256(bytes);
            let read = read_blob(store, &digest).await;
            assert!(
                read.is_ok_and(|read| read == *bytes),
                "{context}: content is gone"
            );
            assert!(
                store.has_blob(&name, &digest).await.unwrap(),
                "{context}: link is gone"
            );
        }
    }
    let Ok(tags) = store.tags(&name, &PageRequest::first(100)).await else {
        return;
    };
    for tag in tags.items {
        let at = store.resolve(&name, &tag).await.unwrap();
        let manifest = ManifestStore::read(store, &name, &at).await;
        assert!(manifest.is_ok(), "{context}: {tag} points at nothing");
    }
}

/// A collection that spares nothing for its age or amount.
pub(super) fn everything() -> CollectOptions {
    let mut options = CollectOptions::default();
    options.grace = Duration::ZERO;
    options.brake = None;
    options
}

fn add_collectors(schedule: &mut Schedule, world: &World, rounds: usize) {
    for collector in 0..2 {
        // By the real collector's clock, whatever is being uploaded was left behind hours ago.
        let ahead = [0, 7_200][collector];
        let engine = Arc::clone(&world.skewed(Arc::new(Crashed), ahead).engine);
        let image = Image::new("any");
        schedule.add(async move {
            for _ in 0..rounds {
                if collector == 1 {
                    // The real one; the other goes on with what is about to be condemned anyway.
                    let _ = engine.collect(&everything(), Arc::new(())).await;
                    continue;
                }
                for bytes in [&image.layer, &image.config] {
                    let digest = Digest::sha256(bytes);
                    collect_link(&engine, digest).await;
                    collect_blob(&engine, digest).await;
                }
                if collector == 0 {
                    sweep_orphans(&engine).await;
                    // Locks of its own: it sweeps sessions that others are writing to.
                    let _ = engine.sweep(Duration::ZERO).await;
                }
            }
        });
    }
}

/// Collectors that nobody gets in the way of.
pub(super) fn collect_all(world: &World) {
    let mut schedule = Schedule::new(world, 0);
    add_collectors(&mut schedule, world, 1);
    schedule.run(false);
    world.settle_deletes();
}

#[test]
fn what_was_acknowledged_is_never_collected() {
    let mut acknowledged_in_all = 0;
    for seed in 0..900 {
        let world = World::interleaved(4_000);
        let mut schedule = Schedule::new(&world, seed);
        let images = [Image::new("one"), Image::new("two")];
        let done: Arc<Mutex<Vec<(Digest, Tag)>>> = Arc::default();
        for (at, image) in images.clone().into_iter().enumerate() {
            let store = world.process(schedule.spawner());
            let done = Arc::clone(&done);
            schedule.add(async move {
                let own = tag(&format!("t{at}"));
                let write = [TagWrite::any(own.clone())];
                if image.push(&store, &write, at == 0).await == Outcome::Acknowledged {
                    done.lock().unwrap().push((image.digest(), own));
                }
            });
        }
        add_collectors(&mut schedule, &world, 2);
        schedule.run(seed % 3 == 0);
        world.settle_deletes();

        let context = format!("seed {seed}");
        let store = world.process(Arc::new(Crashed));
        let done = done.lock().unwrap().clone();
        acknowledged_in_all += done.len();
        collect_all(&world);
        block_on(async {
            for (digest, tag) in done {
                let name = repository("r");
                assert_eq!(
                    store.resolve(&name, &tag).await.unwrap(),
                    digest,
                    "{context}"
                );
                let manifest = ManifestStore::read(&store, &name, &digest).await;
                assert!(manifest.is_ok(), "{context}");
            }
            check_whole(&store, &images, &context).await;
        });
    }
    assert!(
        acknowledged_in_all > 900,
        "{acknowledged_in_all} pushes got through"
    );
}

#[test]
fn deletes_and_pushes_of_one_manifest_leave_no_tag_behind() {
    for seed in 0..900 {
        let world = World::interleaved(4_000);
        let mut schedule = Schedule::new(&world, seed);
        let (image, other) = (Image::new("one"), Image::new("two"));
        let locks = UploadLocks::default();
        block_on(async {
            let store = world.engine(Arc::new(Crashed), locks.clone());
            let write = [TagWrite::any(tag("old"))];
            assert_eq!(
                image.push(&store, &write, false).await,
                Outcome::Acknowledged
            );
        });
        let acknowledged: Arc<Mutex<Vec<Tag>>> = Arc::default();
        for (at, image) in [&image, &image, &other].into_iter().enumerate() {
            let store = world.process(schedule.spawner());
            let (image, acknowledged) = (image.clone(), Arc::clone(&acknowledged));
            schedule.add(async move {
                // One tag of its own and one that all of them move.
                let own = tag(&format!("t{at}"));
                let writes = [TagWrite::any(own.clone()), TagWrite::any(tag("all"))];
                if image.push(&store, &writes, false).await == Outcome::Acknowledged {
                    acknowledged.lock().unwrap().push(own);
                }
            });
        }
        let deletes = usize::from(seed % 4 != 0) + usize::from(seed % 4 == 3);
        for _ in 0..deletes {
            let store = world.process(schedule.spawner());
            let digest = image.digest();
            schedule.add(async move {
                match store.delete(&repository("r"), &digest).await {
                    Ok(_) | Err(StoreError::NotFound) => {}
                    Err(error) => panic!("{error:?}"),
                }
            });
        }
        add_collectors(&mut schedule, &world, 1);
        schedule.run(seed % 5 == 0);
        world.settle_deletes();

        collect_all(&world);
        let context = format!("seed {seed}");
        let store = world.process(Arc::new(Crashed));
        block_on(async {
            check_whole(&store, &[image.clone(), other.clone()], &context).await;
            let tags = store
                .tags(&repository("r"), &PageRequest::first(9))
                .await
                .unwrap();
            let acknowledged = acknowledged.lock().unwrap().clone();
            if deletes == 0 {
                for tag in &acknowledged {
                    assert!(tags.items.contains(tag), "{context}: {tag} is lost");
                }
            }
            // A delete of it all finds every tag, also those of pushes that got in between.
            let _ = store.delete(&repository("r"), &image.digest()).await;
            check_whole(&store, &[image, other], &context).await;
        });
    }
}

#[test]
fn of_several_creators_of_a_tag_one_wins_and_the_others_leave_nothing() {
    for seed in 0..600 {
        let world = World::interleaved(4_000);
        let mut schedule = Schedule::new(&world, seed);
        let images: Vec<Image> = ["a", "b", "c"].map(Image::new).into();
        let won: Arc<Mutex<Vec<Digest>>> = Arc::default();
        let lost: Arc<Mutex<Vec<Digest>>> = Arc::default();
        for (at, image) in images.clone().into_iter().enumerate() {
            let store = world.process(schedule.spawner());
            let (won, lost) = (Arc::clone(&won), Arc::clone(&lost));
            schedule.add(async move {
                let writes = [
                    TagWrite::any(tag(&format!("t{at}"))),
                    TagWrite::only_if(tag("one"), TagPrecondition::Absent),
                ];
                match image.push(&store, &writes, false).await {
                    Outcome::Acknowledged => won.lock().unwrap().push(image.digest()),
                    Outcome::Precondition => lost.lock().unwrap().push(image.digest()),
                    Outcome::GaveUp => panic!("nobody is in the way"),
                }
            });
        }
        schedule.run(false);
        let store = world.process(Arc::new(Crashed));
        let (won, lost) = (won.lock().unwrap(), lost.lock().unwrap());
        block_on(async {
            let name = repository("r");
            assert_eq!((won.len(), lost.len()), (1, 2), "seed {seed}");
            assert_eq!(store.resolve(&name, &tag("one")).await.unwrap(), won[0]);
            for digest in lost.iter() {
                let read = ManifestStore::read(&store, &name, digest).await;
                assert!(
                    read.unwrap_err().is_not_found(),
                    "seed {seed}: nothing changed"
                );
            }
            let tags = store.tags(&name, &PageRequest::first(9)).await.unwrap();
            assert_eq!(tags.items.len(), 2, "seed {seed}: {:?}", tags.items);
        });
    }
}

/// Nothing but pushes and deletes of one manifest, in many more orders.
#[test]
fn a_tag_never_points_at_nothing() {
    let (image, other) = (Image::new("one"), Image::new("two"));
    for seed in 0..3000 {
        let world = World::interleaved(4_000);
        let mut schedule = Schedule::new(&world, seed);
        block_on(async {
            let store = world.process(Arc::new(Crashed));
            image.push(&store, &[], false).await;
        });
        for (at, image) in [&image, &image, &other].into_iter().enumerate() {
            let (store, image) = (world.process(schedule.spawner()), image.clone());
            schedule.add(async move {
                let own = TagWrite::any(tag(&format!("t{at}")));
                let writes = [TagWrite::any(tag("all")), own];
                // Without a look at the blobs, which are all there.
                put(&store, &image.manifest, &writes).await.unwrap();
            });
        }
        for _ in 0..2 {
            let (store, digest) = (world.process(schedule.spawner()), image.digest());
            schedule.add(async move {
                let _ = store.delete(&repository("r"), &digest).await;
            });
        }
        schedule.run(false);

        let store = world.process(Arc::new(Crashed));
        let context = format!("seed {seed}");
        block_on(async {
            let images = [image.clone(), other.clone()];
            check_whole(&store, &images, &context).await;
            let name = repository("r");
            assert_eq!(
                store.resolve(&name, &tag("t2")).await.unwrap(),
                other.digest()
            );
            // If the last of all was a push, its tags are there, whatever late deletes have done.
            let key = Key::Manifest(name.clone(), image.digest());
            let revision = store.engine.get::<RevisionRecord>(&key).await.unwrap();
            let last = revision.header().filter(|it| it.life.is_there());
            if let Some(push) = last.map(|revision| revision.push) {
                let mut own = 0;
                for name_of_tag in ["t0", "t1"] {
                    let key = Key::Tag(name.clone(), tag(name_of_tag));
                    let found = store.engine.get::<TagRecord>(&key).await.unwrap();
                    own += usize::from(target_of(found.header()).is_some_and(|to| to.push == push));
                }
                // The image was pushed without a tag at first; that push is replaced by the others'.
                assert_eq!(own, 1, "{context}: the last push has lost its tag");
                store.delete(&name, &image.digest()).await.unwrap();
            }
            check_whole(&store, &images, &context).await;
            assert!(store.resolve(&name, &tag("t0")).await.is_err(), "{context}");
            assert!(store.resolve(&name, &tag("t1")).await.is_err(), "{context}");
        });
    }
}

#[test]
fn a_push_that_is_refused_late_moves_its_tags_back() {
    let (base, first, second) = (Image::new("base"), Image::new("one"), Image::new("two"));
    let mut refused_in_all = 0;
    for seed in 0..600 {
        let world = World::interleaved(4_000);
        let mut schedule = Schedule::new(&world, seed);
        block_on(async {
            let store = world.process(Arc::new(Crashed));
            let tags = ["0", "a"].map(|name| TagWrite::any(tag(name)));
            base.push(&store, &tags, false).await;
        });
        let key = Key::Tag(repository("r"), tag("0"));
        let look = async |store: &Records| {
            let found = store.engine.get::<TagRecord>(&key).await.unwrap();
            target_of(found.header()).cloned().unwrap()
        };
        let before = block_on(look(&world.process(Arc::new(Crashed))));
        let create = TagWrite::only_if(tag("b"), TagPrecondition::Absent);
        let from_base = TagPrecondition::PointsAt(base.digest());
        let both = vec![
            TagWrite::any(tag("0")),
            TagWrite::only_if(tag("a"), from_base),
            create.clone(),
        ];
        let outcomes: Arc<Mutex<Vec<(Digest, bool)>>> = Arc::default();
        for (image, writes) in [(&first, both), (&second, vec![create])] {
            let (store, image) = (world.process(schedule.spawner()), image.clone());
            let outcomes = Arc::clone(&outcomes);
            schedule.add(async move {
                let won = match put(&store, &image.manifest, &writes).await {
                    Ok(_) => true,
                    Err(StoreError::Precondition) => false,
                    Err(error) => panic!("{error:?}"),
                };
                outcomes.lock().unwrap().push((image.digest(), won));
            });
        }
        schedule.run(false);
        let store = world.process(Arc::new(Crashed));
        let first_won = outcomes.lock().unwrap().contains(&(first.digest(), true));
        let (a, b) = if first_won {
            (first.digest(), first.digest())
        } else {
            refused_in_all += 1;
            (base.digest(), second.digest())
        };
        block_on(async {
            let name = repository("r");
            assert_eq!(
                store.resolve(&name, &tag("a")).await.unwrap(),
                a,
                "seed {seed}"
            );
            assert_eq!(
                store.resolve(&name, &tag("b")).await.unwrap(),
                b,
                "seed {seed}"
            );
            // Written last, so that it never has to be moved back: that would show in its push.
            let after = look(&store).await;
            assert_eq!(after.digest, a, "seed {seed}");
            assert!(
                first_won || after == before,
                "seed {seed}: moved and moved back"
            );
            // The tag that was moved back is still found by a delete.
            store.delete(&name, &a).await.unwrap();
            assert!(
                store.resolve(&name, &tag("a")).await.is_err(),
                "seed {seed}"
            );
        });
    }
    assert!(refused_in_all > 50, "{refused_in_all}");
}

/// A manifest that is taken back may have become the child of an index meanwhile.
#[test]
fn a_push_that_is_refused_late_leaves_no_index_without_its_child() {
    let (child, other) = (Image::new("child"), Image::new("other"));
    let index = index(&child.manifest);
    let (mut refused_in_all, mut indexes_in_all) = (0, 0);
    for seed in 0..1500 {
        let world = World::interleaved(4_000);
        let mut schedule = Schedule::new(&world, seed);
        block_on(async {
            let store = world.process(Arc::new(Crashed));
            other.push(&store, &[], false).await;
        });
        let refused: Arc<Mutex<bool>> = Arc::default();
        let acknowledged: Arc<Mutex<bool>> = Arc::default();
        for image in [&child, &other] {
            let (store, image) = (world.process(schedule.spawner()), image.clone());
            let refused = Arc::clone(&refused);
            let is_child = image.digest() == child.digest();
            schedule.add(async move {
                let create = TagWrite::only_if(tag("b"), TagPrecondition::Absent);
                let pushed = put(&store, &image.manifest, &[create]).await;
                if pushed.is_err() && is_child {
                    *refused.lock().unwrap() = true;
                }
            });
        }
        let (store, index) = (world.process(schedule.spawner()), index.clone());
        let told = Arc::clone(&acknowledged);
        schedule.add(async move {
            for _ in 0..12 {
                match put(&store, &index, &[]).await {
                    Ok(_) => *told.lock().unwrap() = true,
                    Err(StoreError::MissingReferences(_)) => continue,
                    Err(error) => panic!("{error:?}"),
                }
                return;
            }
        });
        schedule.run(false);
        refused_in_all += usize::from(*refused.lock().unwrap());
        if *acknowledged.lock().unwrap() {
            indexes_in_all += usize::from(*refused.lock().unwrap());
            let store = world.process(Arc::new(Crashed));
            let (name, digest) = (repository("r"), child.digest());
            let read = block_on(ManifestStore::read(&store, &name, &digest));
            assert!(read.is_ok(), "seed {seed}: the index lost its child");
        }
    }
    assert!(
        refused_in_all > 100 && indexes_in_all > 10,
        "{refused_in_all} {indexes_in_all}"
    );
}

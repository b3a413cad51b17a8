//! Replicas over one store that fails at random, with clocks that are off by up to ten minutes, and
//! collectors that spare nothing: what was acknowledged is whole, and what is garbage goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci_core::Digest;
use oci_core::store::{BlobStore, CollectEnd, ManifestStore, TagWrite};

use super::harness::{
    Crashed, Dice, Schedule, World, block_on, push_blob, push_blob_by_session, put, read_blob,
    repository, tag,
};
use super::interleaved::{Image, check_whole, everything};
use crate::records::Records;
use crate::records::keys::{self, Key};
use crate::records::model::{BlobRecord, Life};

/// By image: whether it must be there, or must not. What was tried last and failed may be either.
type Promises = Arc<Mutex<BTreeMap<usize, bool>>>;

/// A client that pushes an image, and tries again whatever goes wrong.
async fn push(store: &Records, image: &Image, by_session: bool) -> bool {
    for _ in 0..8 {
        let mut ready = true;
        for bytes in [&image.config, &image.layer] {
            let references = image.manifest.references();
            let digest = Digest::sha256(bytes);
            let own: Vec<_> = references.iter().filter(|it| it.digest == digest).collect();
            if store.claim(&repository("r"), &[*own[0]]).await.is_ok() {
                continue;
            }
            let pushed = if by_session {
                push_blob_by_session(store, bytes).await
            } else {
                push_blob(store, bytes).await
            };
            ready &= pushed.is_ok();
        }
        if ready
            && put(store, &image.manifest, &[TagWrite::any(tag("t"))])
                .await
                .is_ok()
        {
            return true;
        }
    }
    false
}

/// A client that pushes and deletes, in a replica of its own.
async fn client(store: Records, images: Vec<Image>, promises: Promises, mut dice: Dice) {
    for _ in 0..3 {
        let at = dice.below(images.len());
        // Nobody else is told of it until it is done.
        promises.lock().unwrap().remove(&at);
        let by_session = dice.below(2) == 0;
        if push(&store, &images[at], by_session).await {
            promises.lock().unwrap().insert(at, true);
        }
        if dice.below(3) == 0 {
            promises.lock().unwrap().remove(&at);
            let deleted = store.delete(&repository("r"), &images[at].digest()).await;
            if deleted.is_ok() {
                promises.lock().unwrap().insert(at, false);
            }
        }
    }
}

fn simulate(seed: u64) -> usize {
    let world = World::interleaved(4_000);
    let mut dice = Dice::new(seed ^ 0x5EED);
    let mut schedule = Schedule::new(&world, seed);
    let mut promised = Vec::new();
    for client_at in 0..3 {
        // Content is shared by all; manifests are each client's own, so that its promises are.
        let images: Vec<Image> = (0..2)
            .map(|n| Image::new(&format!("{client_at}/{n}")))
            .collect();
        let skew = i64::try_from(dice.below(1_200)).unwrap() - 600;
        let store = world.skewed(schedule.spawner(), skew);
        let promises = Promises::default();
        promised.push((images.clone(), Arc::clone(&promises)));
        let own = Dice::new(seed * 31 + client_at);
        schedule.add(client(store, images, promises, own));
    }
    for _ in 0..2 {
        let skew = i64::try_from(dice.below(1_200)).unwrap() - 600;
        // Now and then one takes whatever is being uploaded for left behind.
        let ahead = [0, 7_200][dice.below(2)];
        let engine = world.skewed(schedule.spawner(), skew + ahead).engine;
        schedule.add(async move {
            for _ in 0..4 {
                let _ = engine.collect(&everything(), Arc::new(())).await;
                let _ = engine.sweep(Duration::from_secs(3_600)).await;
            }
        });
    }
    world.control.trouble(seed);
    schedule.run(seed.is_multiple_of(4));
    world.control.heal();
    world.settle_deletes();

    let context = format!("seed {seed}");
    let store = world.process(Arc::new(Crashed));
    let kept = check(&store, &promised, &context);
    collect_the_rest(&world, &context);
    let still = check(&store, &promised, &context);
    assert_eq!(still, kept, "{context}: the last runs took what was there");
    // Deletes that were cut short are completed by now.
    for (images, _) in &promised {
        block_on(check_whole(&store, images, &context));
    }
    kept
}

/// What was promised is so. How many images are there.
fn check(store: &Records, promised: &[(Vec<Image>, Promises)], context: &str) -> usize {
    let name = repository("r");
    let mut there = 0;
    block_on(async {
        for (images, promises) in promised {
            for (at, image) in images.iter().enumerate() {
                let found = ManifestStore::read(store, &name, &image.digest()).await;
                there += usize::from(found.is_ok());
                for bytes in [&image.config, &image.layer] {
                    let read = read_blob(store, &Digest::sha256(bytes)).await;
                    let whole = read.is_ok_and(|read| read == *bytes);
                    assert!(whole || found.is_err(), "{context}: content is gone");
                }
                if let Some(promise) = promises.lock().unwrap().get(&at) {
                    assert_eq!(found.is_ok(), *promise, "{context}: image {at}");
                }
            }
        }
    });
    there
}

/// Two more runs, hours later, leave nothing but what is needed.
pub(super) fn collect_the_rest(world: &World, context: &str) {
    let engine = world.skewed(Arc::new(Crashed), 20_000).engine;
    block_on(async {
        engine.sweep(Duration::ZERO).await.unwrap();
        world.settle_deletes();
        for _ in 0..2 {
            let run = engine.collect(&everything(), Arc::new(())).await.unwrap();
            assert_eq!(run.end, CollectEnd::Complete, "{context}");
        }
        world.settle_deletes();
        let mut named = BTreeSet::new();
        for key in world.records.keys() {
            let Some(key @ Key::Blob(digest)) = Key::parse(&key) else {
                continue;
            };
            let blob = engine.get::<BlobRecord>(&key).await.unwrap();
            let blob = blob.header().unwrap().clone();
            let references = engine.scan(&keys::references(&digest), None, 1).await;
            let needed = !references.unwrap().is_empty();
            assert_eq!(blob.life == Life::Live, needed, "{context}: {digest}");
            if needed {
                named.extend(blob.extents.into_iter().map(|extent| extent.key));
            }
        }
        let there: BTreeSet<String> = world.extents.keys().into_iter().collect();
        assert_eq!(there, named, "{context}: extents");
    });
}

/// `REGISTRY_SIMULATIONS=100000` tries as many seeds.
#[test]
fn replicas_with_faults_and_skewed_clocks_lose_nothing() {
    let asked = std::env::var("REGISTRY_SIMULATIONS").ok();
    let seeds = asked.map_or(300, |text| text.parse().unwrap());
    let kept: usize = (0..seeds).map(simulate).sum();
    let some = usize::try_from(seeds).unwrap();
    assert!(kept > some, "the clients get somewhere: {kept}");
}

/// The content of an image that is kept is read as it was pushed, also by a replica that is new.
#[test]
fn a_replica_that_is_new_reads_what_others_pushed() {
    let world = World::interleaved(4_000);
    let image = Image::new("one");
    block_on(async {
        let first = world.skewed(Arc::new(Crashed), -600);
        assert!(push(&first, &image, true).await);
        let engine = world.skewed(Arc::new(Crashed), 600).engine;
        let run = engine.collect(&everything(), Arc::new(())).await.unwrap();
        assert_eq!(run.removed.count, 0);
        let second = world.skewed(Arc::new(Crashed), 0);
        let layer = read_blob(&second, &Digest::sha256(&image.layer)).await;
        assert!(layer.unwrap() == image.layer);
    });
}

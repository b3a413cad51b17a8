//! Manifests that are pushed, tagged, deleted and collected at once.

use std::sync::{Arc, Mutex};

use oci_core::error::StoreError;
use oci_core::store::{ManifestStore, TagPrecondition, TagWrite};
use oci_core::{Digest, Manifest};

use super::site::Site;
use super::{AHEAD, Marked, collect, collect_with, explore};
use crate::records::tests::harness::{Task, block_on, index, push_blob, put, repository, tag};
use crate::records::tests::interleaved::{Image, Outcome, check_whole, everything};
use crate::records::tests::replicas::collect_the_rest;

#[test]
fn a_manifest_that_is_acknowledged_beside_a_collection_has_its_blobs() {
    explore(SCHEDULES, put_and_collection, &["acknowledged", "refused"]);
}

pub(super) fn put_and_collection(site: &Site) -> &'static str {
    let image = Image::new("one");
    store_blobs(site, &image);
    let marked = Marked::default();
    let (putting, told) = putting(site, &image.manifest, "t", Some(marked.clone()));
    let collector = site.replica_ahead(AHEAD);
    let collecting = async move { collect_with(&collector, &everything(), marked).await };
    site.run(vec![putting, Box::pin(collecting)]);
    let acknowledged = check_told(site, &told, "t");
    check(site, &[image]);
    if acknowledged {
        "acknowledged"
    } else {
        "refused"
    }
}

#[test]
fn two_collectors_beside_a_push_take_nothing_that_was_acknowledged() {
    explore(SCHEDULES, push_and_two_collectors, &["acknowledged"]);
}

fn push_and_two_collectors(site: &Site) -> &'static str {
    let image = Image::new("one");
    let (store, own) = (site.replica(), image.clone());
    let outcome = Arc::new(Mutex::new(None));
    let told = Arc::clone(&outcome);
    let mut tasks: Vec<Task> = vec![Box::pin(async move {
        let writes = [TagWrite::any(tag("t"))];
        *told.lock().unwrap() = Some(own.push(&store, &writes, true).await);
    })];
    for collector in 1..=2 {
        // The second takes the first for dead.
        let store = site.replica_ahead(AHEAD * collector);
        tasks.push(Box::pin(async move { collect(&store).await }));
    }
    site.run(tasks);
    let acknowledged = *outcome.lock().unwrap() == Some(Outcome::Acknowledged);
    if acknowledged {
        check_tag(site, "t", image.digest());
    }
    check(site, &[image]);
    collect_the_rest(&site.world, "after two collectors");
    if acknowledged {
        "acknowledged"
    } else {
        "gave up"
    }
}

#[test]
fn a_tag_that_moves_while_its_old_manifest_is_deleted_arrives() {
    explore(SCHEDULES, move_and_delete, &["moved"]);
}

fn move_and_delete(site: &Site) -> &'static str {
    let (old, new) = (Image::new("old"), Image::new("new"));
    store_blobs(site, &old);
    block_on(async {
        let tags = ["moving", "staying"].map(|name| TagWrite::any(tag(name)));
        put(&site.alone(), &old.manifest, &tags).await.unwrap();
    });
    let (moving, told) = putting(site, &new.manifest, "moving", None);
    site.run(vec![moving, deleting(site, old.digest())]);
    assert!(check_told(site, &told, "moving"));
    let name = repository("r");
    let staying = block_on(site.alone().resolve(&name, &tag("staying")));
    assert!(staying.unwrap_err().is_not_found());
    check(site, &[old, new]);
    "moved"
}

#[test]
fn a_manifest_that_is_pushed_while_it_is_deleted_comes_with_its_tag() {
    explore(SCHEDULES, put_and_delete, &["deleted", "there"]);
}

pub(super) fn put_and_delete(site: &Site) -> &'static str {
    let image = Image::new("one");
    store_blobs(site, &image);
    block_on(put(&site.alone(), &image.manifest, &[])).unwrap();
    let (again, told) = putting(site, &image.manifest, "t", None);
    site.run(vec![again, deleting(site, image.digest())]);
    assert!(told.lock().unwrap().take().unwrap().is_ok());
    let (store, name) = (site.alone(), repository("r"));
    let read = block_on(ManifestStore::read(&store, &name, &image.digest()));
    let tagged = block_on(store.resolve(&name, &tag("t")));
    assert_eq!(read.is_ok(), tagged.is_ok());
    check(site, &[image]);
    if read.is_ok() { "there" } else { "deleted" }
}

#[test]
fn a_manifest_that_is_tagged_while_untagged_ones_are_collected_stays() {
    let ends = ["acknowledged", "refused"];
    explore(SCHEDULES, tag_and_collection_of_untagged, &ends);
}

pub(super) fn tag_and_collection_of_untagged(site: &Site) -> &'static str {
    let image = Image::new("one");
    let manifest = image.manifest.clone();
    push_and_collection_of_untagged(site, image, &manifest)
}

#[test]
fn a_manifest_that_an_index_names_while_untagged_ones_are_collected_stays() {
    let ends = ["acknowledged", "refused"];
    explore(SCHEDULES, index_and_collection_of_untagged, &ends);
}

pub(super) fn index_and_collection_of_untagged(site: &Site) -> &'static str {
    let image = Image::new("one");
    let parent = index(&image.manifest);
    push_and_collection_of_untagged(site, image, &parent)
}

/// An image that nothing leads to, and a push of `leads` by tag, which does.
fn push_and_collection_of_untagged(site: &Site, image: Image, leads: &Manifest) -> &'static str {
    store_blobs(site, &image);
    block_on(put(&site.alone(), &image.manifest, &[])).unwrap();
    let marked = Marked::default();
    let (leading, told) = putting(site, leads, "t", Some(marked.clone()));
    let collector = site.replica_ahead(AHEAD);
    let collecting = async move {
        let mut options = everything();
        options.untagged = true;
        collect_with(&collector, &options, marked).await;
    };
    site.run(vec![leading, Box::pin(collecting)]);
    let acknowledged = check_told(site, &told, "t");
    if acknowledged {
        let (store, name) = (site.alone(), repository("r"));
        let there = block_on(ManifestStore::read(&store, &name, &image.digest()));
        assert!(there.is_ok());
    }
    check(site, &[image]);
    if acknowledged {
        "acknowledged"
    } else {
        "refused"
    }
}

type Told = Arc<Mutex<Option<Result<Digest, StoreError>>>>;

/// A client that pushes a manifest once, perhaps when something has happened, and what it is told.
fn putting(
    site: &Site,
    manifest: &Manifest,
    name: &'static str,
    after: Option<Marked>,
) -> (Task, Told) {
    let told = Told::default();
    let (store, tells) = (site.replica(), Arc::clone(&told));
    let manifest = manifest.clone();
    let task = async move {
        if let Some(after) = after {
            after.perhaps_wait().await;
        }
        let writes = [TagWrite::any(tag(name))];
        let answer = put(&store, &manifest, &writes).await;
        *tells.lock().unwrap() = Some(answer);
    };
    (Box::pin(task), told)
}

fn deleting(site: &Site, digest: Digest) -> Task {
    let store = site.replica();
    Box::pin(async move {
        store.delete(&repository("r"), &digest).await.unwrap();
    })
}

/// As pushed by earlier requests.
fn store_blobs(site: &Site, image: &Image) {
    let store = site.alone();
    block_on(async {
        for bytes in [&image.config, &image.layer] {
            push_blob(&store, bytes).await.unwrap();
        }
    });
}

/// Whether a push was acknowledged, and what its tag leads to then is there.
fn check_told(site: &Site, told: &Told, name: &str) -> bool {
    match told.lock().unwrap().take().unwrap() {
        Ok(digest) => {
            check_tag(site, name, digest);
            true
        }
        Err(StoreError::MissingReferences(_)) => false,
        Err(error) => panic!("{error:?}"),
    }
}

fn check_tag(site: &Site, name: &str, digest: Digest) {
    let (store, repository) = (site.alone(), repository("r"));
    let at = block_on(store.resolve(&repository, &tag(name)));
    assert_eq!(at.unwrap(), digest, "{name}");
    let read = block_on(ManifestStore::read(&store, &repository, &digest));
    assert!(read.is_ok(), "{name}");
}

fn check(site: &Site, images: &[Image]) {
    block_on(check_whole(&site.alone(), images, "at rest"));
}

/// Of each of three kinds.
const SCHEDULES: usize = 60;

#[test]
fn a_tag_that_is_moved_back_while_untagged_ones_are_collected_is_not_lost() {
    explore(
        SCHEDULES,
        refusal_and_collection_of_untagged,
        &["moved", "moved back"],
    );
}

fn refusal_and_collection_of_untagged(site: &Site) -> &'static str {
    let [base, first, second] = ["base", "one", "two"].map(Image::new);
    store_blobs(site, &base);
    block_on(put(
        &site.alone(),
        &base.manifest,
        &[TagWrite::any(tag("a"))],
    ))
    .unwrap();
    let create = TagWrite::only_if(tag("b"), TagPrecondition::Absent);
    let from_base = TagPrecondition::PointsAt(base.digest());
    let both = vec![TagWrite::only_if(tag("a"), from_base), create.clone()];
    let told = Told::default();
    let mut tasks: Vec<Task> = Vec::new();
    for (image, writes) in [(&first, both), (&second, vec![create])] {
        let (store, manifest, told) = (site.replica(), image.manifest.clone(), Arc::clone(&told));
        tasks.push(Box::pin(async move {
            let answer = put(&store, &manifest, &writes).await;
            if writes.len() == 2 {
                *told.lock().unwrap() = Some(answer);
            }
        }));
    }
    let collector = site.replica_ahead(AHEAD);
    tasks.push(Box::pin(async move {
        let mut options = everything();
        options.untagged = true;
        collect_with(&collector, &options, Marked::default()).await;
    }));
    site.run(tasks);
    match told.lock().unwrap().take().unwrap() {
        Ok(digest) => {
            check_tag(site, "a", digest);
            "moved"
        }
        Err(StoreError::Precondition) => {
            check_tag(site, "a", base.digest());
            "moved back"
        }
        Err(error) => panic!("{error:?}"),
    }
}

//! A write happens, its answer gets lost, and somebody else replaces what it wrote before its writer can
//! look: it must not take that for "never written", nor for "still there".

use std::sync::Arc;

use oci_core::Digest;
use oci_core::error::StoreError;
use oci_core::store::{BlobStore, ManifestStore, TagPrecondition, TagWrite, UploadOptions};

use super::harness::{
    Crashed, Schedule, World, append, block_on, content, push_blob, put, read_blob, repository,
    scope, tag,
};
use super::interleaved::{Image, check_whole, collect_all, collect_blob, collect_link};

/// Whoever goes on with an upload needs the extents that the lost checkpoint named.
#[test]
fn a_checkpoint_that_was_overtaken_deletes_nothing() {
    let world = World::new(20_000);
    let schedule = Schedule::new(&world, 1);
    let (first, second) = (content(1, 70_000), content(2, 30_000));
    let whole = [first.clone(), second.clone()].concat();
    let digest = Digest::sha256(&whole);
    let id = block_on(async {
        let one = world.process(schedule.spawner());
        let options = UploadOptions::default();
        let mut upload = one.begin_upload(&scope(), &options).await.unwrap();
        upload.checkpoint().await.unwrap();
        append(&mut upload, &first).await.unwrap();

        let (two, id) = (world.process(schedule.spawner()), upload.id().clone());
        let key = format!("uploads/{id}");
        world.control.overtake(&key, async move {
            let mut upload = two.open_upload(&scope(), &id).await.unwrap();
            assert_eq!(upload.offset(), 70_000);
            append(&mut upload, &second).await.unwrap();
            upload.checkpoint().await.unwrap();
        });
        match upload.checkpoint().await {
            Err(StoreError::Conflict { offset }) => assert_eq!(offset, 100_000),
            other => panic!("{other:?}"),
        }
        assert!(world.control.overtaken());
        upload.id().clone()
    });
    // What the first has left behind for later.
    schedule.run(false);
    block_on(async {
        let store = world.process(Arc::new(Crashed));
        let upload = store.open_upload(&scope(), &id).await.unwrap();
        upload.commit(&digest, &repository("r")).await.unwrap();
        assert!(read_blob(&store, &digest).await.unwrap() == whole);
    });
}

async fn push_blobs(world: &World, image: &Image) {
    let store = world.process(Arc::new(Crashed));
    push_blob(&store, &image.config).await.unwrap();
    push_blob(&store, &image.layer).await.unwrap();
}

/// The other push removes the references of the one it replaces.
#[test]
fn a_manifest_that_was_overtaken_has_references_again() {
    let world = World::new(4_000);
    let image = Image::new("one");
    block_on(async {
        push_blobs(&world, &image).await;
        let (one, two) = (
            world.process(Arc::new(Crashed)),
            world.process(Arc::new(Crashed)),
        );
        let other = image.clone();
        world.control.overtake("manifests/", async move {
            put(&two, &other.manifest, &[]).await.unwrap();
        });
        put(&one, &image.manifest, &[TagWrite::any(tag("t"))])
            .await
            .unwrap();
        assert!(world.control.overtaken());
    });
    collect_all(&world);
    block_on(async {
        let store = world.process(Arc::new(Crashed));
        let at = store.resolve(&repository("r"), &tag("t")).await.unwrap();
        assert_eq!(at, image.digest());
        check_whole(&store, std::slice::from_ref(&image), "overtaken").await;
    });
}

/// A delete and the clean-up after it remove the references as well.
#[test]
fn a_manifest_that_was_deleted_at_once_has_references_again() {
    let world = World::new(4_000);
    let image = Image::new("one");
    block_on(async {
        push_blobs(&world, &image).await;
        let (one, two) = (
            world.process(Arc::new(Crashed)),
            world.process(Arc::new(Crashed)),
        );
        let digest = image.digest();
        world.control.overtake("manifests/", async move {
            two.delete(&repository("r"), &digest).await.unwrap();
        });
        put(&one, &image.manifest, &[TagWrite::any(tag("t"))])
            .await
            .unwrap();
        assert!(world.control.overtaken());
    });
    collect_all(&world);
    block_on(async {
        let store = world.process(Arc::new(Crashed));
        let at = store.resolve(&repository("r"), &tag("t")).await.unwrap();
        assert_eq!(at, image.digest());
        check_whole(&store, std::slice::from_ref(&image), "overtaken").await;
    });
}

/// The other push removes the hint of the tag that it moves.
#[test]
fn a_tag_that_was_overtaken_is_found_by_a_delete() {
    let world = World::new(4_000);
    let (image, other) = (Image::new("one"), Image::new("two"));
    block_on(async {
        push_blobs(&world, &image).await;
        let (one, two) = (
            world.process(Arc::new(Crashed)),
            world.process(Arc::new(Crashed)),
        );
        let moving = other.clone();
        world.control.overtake("tags/", async move {
            let writes = [TagWrite::any(tag("t"))];
            put(&two, &moving.manifest, &writes).await.unwrap();
        });
        let writes = [TagWrite::any(tag("t"))];
        put(&one, &image.manifest, &writes).await.unwrap();
        assert!(world.control.overtaken());
        let name = repository("r");
        let at = one.resolve(&name, &tag("t")).await.unwrap();
        assert_eq!(at, image.digest());
        one.delete(&name, &image.digest()).await.unwrap();
        check_whole(&one, &[image.clone(), other.clone()], "overtaken").await;
        assert!(one.resolve(&name, &tag("t")).await.is_err());
    });
}

/// Refused after the manifest was visible and a tag was moved: both are as they were.
#[test]
fn a_push_that_is_refused_late_takes_everything_back() {
    let world = World::new(4_000);
    let [image, old, other] = ["one", "old", "two"].map(Image::new);
    block_on(async {
        push_blobs(&world, &image).await;
        let (one, two) = (
            world.process(Arc::new(Crashed)),
            world.process(Arc::new(Crashed)),
        );
        let name = repository("r");
        put(&one, &old.manifest, &[TagWrite::any(tag("a"))])
            .await
            .unwrap();
        let (taking, old_digest) = (other.clone(), old.digest());
        world.control.overtake("tags/r!/b", async move {
            let writes = [TagWrite::any(tag("b"))];
            put(&two, &taking.manifest, &writes).await.unwrap();
        });
        let writes = [
            TagWrite::only_if(tag("a"), TagPrecondition::PointsAt(old_digest)),
            TagWrite::only_if(tag("b"), TagPrecondition::Absent),
        ];
        let refused = put(&one, &image.manifest, &writes).await;
        assert!(world.control.overtaken());
        assert!(
            matches!(refused, Err(StoreError::Precondition)),
            "{refused:?}"
        );
        assert_eq!(one.resolve(&name, &tag("a")).await.unwrap(), old.digest());
        assert_eq!(one.resolve(&name, &tag("b")).await.unwrap(), other.digest());
        let gone = ManifestStore::read(&one, &name, &image.digest()).await;
        assert!(gone.unwrap_err().is_not_found());
    });
    collect_all(&world);
    block_on(async {
        let store = world.process(Arc::new(Crashed));
        check_whole(&store, &[image, old, other], "refused").await;
    });
}

/// Registered and collected before its writer knew: its bytes are gone, and must not be promised.
#[test]
fn content_that_was_collected_is_not_registered_again() {
    let world = World::new(4_000);
    let bytes = content(3, 9_000);
    let digest = Digest::sha256(&bytes);
    block_on(async {
        let one = world.process(Arc::new(Crashed));
        let two = world.process(Arc::new(Crashed));
        world.control.overtake("blobs/", async move {
            collect_link(&two.engine, digest).await;
            collect_blob(&two.engine, digest).await;
        });
        let refused = push_blob(&one, &bytes).await;
        assert!(world.control.overtaken());
        assert!(
            matches!(refused, Err(StoreError::Unavailable { .. })),
            "{refused:?}"
        );
        assert!(one.stat(&digest).await.unwrap_err().is_not_found());
        push_blob(&one, &bytes).await.unwrap();
        assert!(read_blob(&one, &digest).await.unwrap() == bytes);
    });
}

/// Begun with a known length, and so with large parts; resumed with smaller ones.
#[test]
fn more_than_a_part_may_wait_when_an_upload_is_resumed() {
    for (tail, inline) in [(9_500, 1_000), (30_000, 5_000), (0, 8_000)] {
        for part_size in [2_000, 10_000] {
            let world = World::new(part_size);
            let bytes = content(4, 60_000);
            let digest = Digest::sha256(&bytes);
            block_on(async {
                let store = world.process(Arc::new(Crashed));
                let mut options = UploadOptions::default();
                options.length = Some(400_000);
                let mut upload = store.begin_upload(&scope(), &options).await.unwrap();
                upload.checkpoint().await.unwrap();
                append(&mut upload, &bytes[..tail]).await.unwrap();
                upload.checkpoint().await.unwrap();
                append(&mut upload, &bytes[tail..tail + inline])
                    .await
                    .unwrap();
                upload.checkpoint().await.unwrap();
                let id = upload.id().clone();
                drop(upload);
                let mut upload = store.open_upload(&scope(), &id).await.unwrap();
                append(&mut upload, &bytes[tail + inline..]).await.unwrap();
                upload.commit(&digest, &repository("r")).await.unwrap();
                assert!(read_blob(&store, &digest).await.unwrap() == bytes);
            });
        }
    }
}

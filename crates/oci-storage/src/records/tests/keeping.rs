//! What the collector keeps, counts and leaves: layers that may be elsewhere, too much at once, what is damaged,
//! runs of others, and listings that have no end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oci_core::error::StoreError;
use oci_core::store::{
    BlobStore, Brake, CollectEnd, ManifestStore, PageRequest, TagWrite, UploadOptions,
};
use oci_core::{Digest, Manifest};

use super::collecting::{collect, pass, store};
use super::harness::{
    World, append, block_on, content, image, push_blob, put, repository, scope, tag,
};
use super::interleaved::everything;
use crate::records::keys::Key;
use crate::records::model::{
    BlobRecord, Life, LinkRecord, MarkRecord, RevisionRecord, SessionRecord, TagRecord,
};
use crate::records::{PoolSpawn, Records};

/// An image with a layer of each kind that may be missing.
struct Elsewhere {
    blobs: [Vec<u8>; 3],
    manifest: Manifest,
}

impl Elsewhere {
    fn new() -> Self {
        let blobs = [content(1, 40), content(2, 9_000), content(3, 50)];
        let descriptor = |bytes: &[u8], kind: &str| {
            serde_json::json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": Digest::sha256(bytes),
                "size": bytes.len(),
            })
        };
        let mut with_urls = descriptor(&blobs[1], "layer.v1.tar");
        with_urls["urls"] = serde_json::json!(["https://example.com/layer"]);
        let document = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(&blobs[0], "config.v1+json"),
            "layers": [with_urls, descriptor(&blobs[2], "layer.nondistributable.v1.tar")],
        });
        let manifest = Manifest::parse(document.to_string().into(), None).unwrap();
        assert_eq!(
            (manifest.references().len(), manifest.elsewhere().len()),
            (1, 2)
        );
        Self { blobs, manifest }
    }

    fn digest(&self) -> Digest {
        Digest::sha256(self.manifest.bytes())
    }

    async fn push(&self, store: &Records, tags: &[TagWrite]) {
        for bytes in &self.blobs {
            push_blob(store, bytes).await.unwrap();
        }
        put(store, &self.manifest, tags).await.unwrap();
    }

    /// As versions pushed it that wrote no references for such layers.
    async fn forget_references(&self, store: &Records) {
        let key = Key::Manifest(repository("r"), self.digest());
        let found = store.engine.get::<RevisionRecord>(&key).await.unwrap();
        let record = found.record.unwrap();
        let mut revision = record.header;
        revision.references.truncate(1);
        for to in self.manifest.elsewhere() {
            let reference = Key::Reference {
                to: *to,
                repository: repository("r"),
                from: self.digest(),
                push: revision.push,
            };
            store.engine.purge(&reference).await.unwrap();
        }
        let swap = store
            .engine
            .swap(&key, found.version.as_ref(), &revision, &record.body);
        swap.await.unwrap();
    }

    async fn is_whole(&self, store: &Records) -> bool {
        let mut whole = true;
        for bytes in &self.blobs {
            let digest = Digest::sha256(bytes);
            whole &= store.stat(&digest).await.is_ok();
            whole &= store.has_blob(&repository("r"), &digest).await.unwrap();
        }
        whole
    }
}

#[test]
fn layers_that_may_be_elsewhere_stay_with_their_manifest() {
    for (older, untagged) in [(false, false), (true, false), (false, true), (true, true)] {
        let world = World::new(4_000);
        let image = Elsewhere::new();
        let mut options = everything();
        options.untagged = untagged;
        block_on(async {
            let store = store(&world);
            image.push(&store, &[TagWrite::any(tag("t"))]).await;
            if older {
                image.forget_references(&store).await;
            }
            for _ in 0..2 {
                let done = store.engine.collect(&options, Arc::new(())).await.unwrap();
                assert_eq!((done.garbage.count, done.garbage_links), (0, 0), "{older}");
                assert!(image.is_whole(&store).await, "{older} {untagged}");
            }
            // They go with it.
            if untagged {
                store.untag(&repository("r"), &tag("t")).await.unwrap();
            } else {
                let name = repository("r");
                ManifestStore::delete(&store, &name, &image.digest())
                    .await
                    .unwrap();
            }
            let done = store.engine.collect(&options, Arc::new(())).await.unwrap();
            assert_eq!((done.removed.count, done.removed_links), (3, 3), "{older}");
        });
    }
}

/// A push brings back what a collector is about to remove, and does without what is gone.
#[test]
fn a_push_keeps_layers_that_may_be_elsewhere() {
    let world = World::new(4_000);
    let image = Elsewhere::new();
    let [layer, gone] = [&image.blobs[1], &image.blobs[2]].map(|bytes| Digest::sha256(bytes));
    block_on(async {
        let store = store(&world);
        for bytes in &image.blobs[..2] {
            push_blob(&store, bytes).await.unwrap();
        }
        let engine = &store.engine;
        let (blob, link) = (Key::Blob(layer), Key::Link(repository("r"), layer));
        let found = engine.get::<BlobRecord>(&blob).await.unwrap();
        let mut condemned = found.record.unwrap().header;
        condemned.life = Life::Condemned;
        engine
            .swap(&blob, found.version.as_ref(), &condemned, &[])
            .await
            .unwrap();
        let found = engine.get::<LinkRecord>(&link).await.unwrap();
        let mut condemned = found.record.unwrap().header;
        condemned.life = Life::Condemned;
        engine
            .swap(&link, found.version.as_ref(), &condemned, &[])
            .await
            .unwrap();

        put(&store, &image.manifest, &[]).await.unwrap();
        let found = engine.get::<BlobRecord>(&blob).await.unwrap();
        assert_eq!(found.header().unwrap().life, Life::Live);
        let found = engine.get::<LinkRecord>(&link).await.unwrap();
        assert_eq!(found.header().unwrap().life, Life::Live);
        for digest in [layer, gone] {
            let references = crate::records::keys::references(&digest);
            assert_eq!(engine.scan(&references, None, 9).await.unwrap().len(), 1);
        }
    });
}

/// More manifests than a run remembers (100 here): the brake is asked about all of them.
#[test]
fn the_brake_counts_manifests_beyond_what_is_remembered() {
    let world = World::new(4_000);
    let (kept, shared) = (content(1, 9_000), content(2, 20_000));
    let engine = store(&world).engine;
    block_on(async {
        let store = store(&world);
        for bytes in [&kept, &shared] {
            push_blob(&store, bytes).await.unwrap();
        }
        let tagged = image(&kept, &kept, "kept", None);
        put(&store, &tagged, &[TagWrite::any(tag("t"))])
            .await
            .unwrap();
        for n in 0..150 {
            let manifest = image(&kept, &shared, &n.to_string(), None);
            put(&store, &manifest, &[]).await.unwrap();
        }
    });
    let mut options = everything();
    options.untagged = true;
    options.dry_run = true;
    let mut brake = Brake::default();
    brake.bytes = 10_000;
    options.brake = Some(brake);
    let dry = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!((dry.garbage_manifests, dry.unweighed_manifests), (150, 50));
    assert!(dry.is_unusual(&brake));
    options.dry_run = false;
    let stopped = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!(stopped.end, CollectEnd::Braked);
    assert_eq!((stopped.removed_manifests, stopped.removed.count), (0, 0));
    options.brake = None;
    let done = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!((done.removed_manifests, done.removed.count), (150, 1));
}

/// Young content that only manifests needed that go now goes next time, and counts already.
#[test]
fn what_goes_next_because_of_what_goes_now_counts() {
    let world = World::new(4_000);
    let bytes = content(2, 20_000);
    let manifest = image(&bytes, &bytes, "one", None);
    block_on(async {
        let store = store(&world);
        push_blob(&store, &bytes).await.unwrap();
        put(&store, &manifest, &[]).await.unwrap();
        pass(&world, 60);
        let key = Key::Blob(Digest::sha256(&bytes));
        let found = store.engine.get::<BlobRecord>(&key).await.unwrap();
        let mut young = found.record.unwrap().header;
        young.touched += 60;
        store
            .engine
            .swap(&key, found.version.as_ref(), &young, &[])
            .await
            .unwrap();
    });
    let mut options = everything();
    options.untagged = true;
    options.dry_run = true;
    options.grace = Duration::from_secs(60);
    let engine = store(&world).engine;
    let dry = block_on(engine.collect(&options, Arc::new(()))).unwrap();
    assert_eq!((dry.garbage_manifests, dry.garbage.count), (1, 0));
    assert_eq!((dry.young.count, dry.orphaned.bytes), (1, 20_000));
}

#[test]
fn what_says_that_a_tag_or_referrer_is_gone_goes_after_a_month() {
    let world = World::new(4_000);
    let bytes = content(1, 40);
    let subject = Digest::sha256(b"subject");
    let [gone, kept] = ["gone", "kept"].map(|note| image(&bytes, &bytes, note, Some(&subject)));
    let unknown = Key::Tag(repository("r"), tag("unknown"));
    block_on(async {
        let store = store(&world);
        push_blob(&store, &bytes).await.unwrap();
        put(&store, &gone, &[TagWrite::any(tag("gone"))])
            .await
            .unwrap();
        let tags = [TagWrite::any(tag("kept")), TagWrite::any(tag("moved"))];
        put(&store, &kept, &tags).await.unwrap();
        store.untag(&repository("r"), &tag("moved")).await.unwrap();
        let digest = Digest::sha256(gone.bytes());
        ManifestStore::delete(&store, &repository("r"), &digest)
            .await
            .unwrap();
        // By a version that did not say when.
        let record = TagRecord {
            to: None,
            touched: 0,
        };
        store
            .engine
            .swap(&unknown, None, &record, &[])
            .await
            .unwrap();
    });
    let counts = || {
        let keys = world.records.keys();
        ["tags/", "referrers/"].map(|it| keys.iter().filter(|key| key.starts_with(it)).count())
    };
    pass(&world, 29 * 24 * 3_600);
    collect(&world);
    assert_eq!(counts(), [4, 2]);
    pass(&world, 2 * 24 * 3_600);
    collect(&world);
    assert_eq!(counts(), [2, 1]);
    let at = block_on(store(&world).resolve(&repository("r"), &tag("kept")));
    assert_eq!(at.unwrap(), Digest::sha256(kept.bytes()));
}

/// Of many replicas that collect once in an interval, not each does.
#[test]
fn a_run_may_leave_it_to_one_that_was_complete_lately() {
    let world = World::new(4_000);
    let mut background = everything();
    background.unless_within = Duration::from_secs(12 * 3_600);
    let run = |options: &_| {
        let engine = store(&world).engine;
        let done = block_on(engine.collect(options, Arc::new(())));
        done.unwrap().end
    };
    assert_eq!(run(&background), CollectEnd::Complete);
    pass(&world, 12 * 3_600 - 1);
    assert_eq!(run(&background), CollectEnd::Busy);
    pass(&world, 1);
    assert_eq!(run(&background), CollectEnd::Complete);
    // A command collects in any case.
    pass(&world, 3_600);
    assert_eq!(run(&everything()), CollectEnd::Complete);
    // One that was not complete is none to rely on, and does not hide the last one that was.
    pass(&world, 11 * 3_600);
    block_on(async {
        let engine = store(&world).engine;
        let lease = engine.take_lease(Duration::ZERO).await.unwrap().unwrap();
        lease.release(false).await;
    });
    assert_eq!(run(&background), CollectEnd::Busy);
    pass(&world, 3_600);
    assert_eq!(run(&background), CollectEnd::Complete);
}

/// Its blob may consist of these extents: nobody can say that it was given up.
#[test]
fn the_sweeper_leaves_a_session_whose_record_is_damaged() {
    let world = World::new(4_000);
    let bytes = content(1, 20_000);
    block_on(async {
        let store = store(&world);
        let options = UploadOptions::default();
        let mut upload = store.begin_upload(&scope(), &options).await.unwrap();
        upload.checkpoint().await.unwrap();
        append(&mut upload, &bytes).await.unwrap();
        upload.checkpoint().await.unwrap();
        drop(upload);
    });
    let extents = world.extents.keys();
    assert!(!extents.is_empty());
    let of = |prefix: &str| {
        let keys = world.records.keys().into_iter();
        keys.filter(|key| key.starts_with(prefix))
            .collect::<Vec<_>>()
    };
    let uploads = of("uploads/");
    world.records.overwrite(&uploads[0], "nothing".into());
    pass(&world, 7_200);
    let swept = block_on(store(&world).sweep_uploads(Duration::from_secs(3_600)));
    assert_eq!(swept.unwrap(), 0);
    let key = Key::parse(&uploads[0]).unwrap();
    let engine = store(&world).engine;
    let found = block_on(engine.get::<SessionRecord>(&key)).unwrap();
    assert!(
        found.version.is_some() && found.record.is_none(),
        "as it was"
    );
    assert!(of("open/").is_empty(), "it is not counted any more");
    collect(&world);
    assert_eq!(world.extents.keys(), extents);
}

/// A store that lists from the beginning again and again is told from one that has much.
#[test]
fn a_listing_that_does_not_go_on_is_an_error() {
    let world = World::new(4_000);
    let engine = store(&world).engine;
    block_on(async {
        for n in 0..3 {
            let name = format!("r{n}");
            engine
                .mark(&Key::Repository(repository(&name)))
                .await
                .unwrap();
        }
        push_blob(&store(&world), &content(1, 20_000))
            .await
            .unwrap();
        world.control.circles.store(true, Ordering::SeqCst);
        let page = PageRequest::first(1);
        for error in [
            store(&world).repositories(&page).await.unwrap_err(),
            engine
                .list_extents("data/", Some("data/z"), 9)
                .await
                .unwrap_err(),
        ] {
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
            assert!(source.contains("byte order"), "{source}");
        }
    });
}

/// What is gone is stepped over in strides.
#[test]
fn a_repository_of_what_is_gone_costs_few_listings() {
    let world = World::new(4_000);
    let engine = world.process(Arc::new(PoolSpawn::default())).engine;
    block_on(async {
        let name = repository("r");
        engine.mark(&Key::Repository(name.clone())).await.unwrap();
        for n in 0..300_u32 {
            let key = Key::Manifest(name.clone(), Digest::sha256(&n.to_be_bytes()));
            let dead = RevisionRecord {
                life: Life::Dead,
                push: engine.nonce(),
                media_type: String::new(),
                references: Vec::new(),
                subject: None,
                pending: false,
                touched: engine.now(),
            };
            engine.swap(&key, None, &dead, &[]).await.unwrap();
        }
        let key = Key::Repository(repository("r"));
        assert!(
            engine
                .get::<MarkRecord>(&key)
                .await
                .unwrap()
                .version
                .is_some()
        );
        let before = world.control.calls.load(Ordering::SeqCst);
        let page = PageRequest::first(10);
        let found = store(&world).repositories(&page).await.unwrap();
        assert!(found.items.is_empty());
        let calls = world.control.calls.load(Ordering::SeqCst) - before;
        // Each of the 300 is looked at, and the repository; a page of two at a time would be 150 more.
        assert!((301..320).contains(&calls), "{calls}");
    });
}

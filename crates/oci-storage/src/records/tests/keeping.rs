//! What the collector keeps, counts and leaves: layers that may be elsewhere, too much at once, what is damaged,
//! runs of others, and listings that have no end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oci_core::error::StoreError;
use oci_core::store::{CollectEnd, ManifestStore, PageRequest, TagWrite, UploadOptions};
use oci_core::{Digest, Manifest};

use super::collecting::{collect, pass, store};
use super::harness::{
    World, append, block_on, content, image, push_blob, put, repository, scope, tag,
};
use super::interleaved::everything;
use crate::records::PoolSpawn;
use crate::records::keys::Key;
use crate::records::model::{Life, MarkRecord, RevisionRecord, SessionRecord, TagRecord};

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

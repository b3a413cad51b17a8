//! What the collector keeps, counts and leaves: layers that may be elsewhere, too much at once, what is damaged,
//! runs of others, and listings that have no end.

use std::time::Duration;

use oci_core::store::UploadOptions;

use super::collecting::{collect, pass, store};
use super::harness::{World, append, block_on, content, scope};
use crate::records::keys::Key;
use crate::records::model::SessionRecord;

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

//! What a process that was killed left half done, and the next one finds.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use oci_core::Digest;
use oci_core::error::StoreError;
use oci_core::store::{CollectEnd, ManifestStore, PageRequest, TagWrite};

use super::collecting::{pass, store};
use super::harness::{Crashed, World, block_on, content, image, push_blob, put, repository, tag};
use super::interleaved::everything;
use crate::records::{MemoryExtents, MemoryRecords, Records, UploadLocks};

/// Once, the tag stayed in the listing until somebody pushed or deleted that manifest again, or collected.
#[test]
fn a_tag_whose_manifest_is_gone_is_not_listed_once_that_was_seen() {
    let (mut there, mut gone) = (0, 0);
    for polls in 0..60 {
        let world = World::interleaved(4_000);
        let (config, layer) = (content(1, 100), content(2, 5_000));
        let manifest = image(&config, &layer, "one", None);
        let (digest, name) = (Digest::sha256(manifest.bytes()), repository("r"));
        block_on(async {
            let dying = world.engine(Arc::new(Crashed), UploadLocks::default());
            push_blob(&dying, &config).await.unwrap();
            push_blob(&dying, &layer).await.unwrap();
            put(&dying, &manifest, &[TagWrite::any(tag("v1"))])
                .await
                .unwrap();
            let mut delete = dying.delete(&name, &digest);
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                if delete.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
            drop(delete);

            pass(&world, 3600);
            let store = store(&world);
            let tags = async || {
                let page = PageRequest::first(10);
                store.tags(&name, &page).await.unwrap().items
            };
            match ManifestStore::read(&store, &name, &digest).await {
                Ok(_) => {
                    assert_eq!(tags().await, [tag("v1")], "{polls}");
                    there += 1;
                }
                Err(StoreError::NotFound) => {
                    assert_eq!(tags().await, [], "{polls}");
                    gone += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
        });
    }
    assert!(there > 0 && gone > 20, "{there} {gone}");
}

/// A store of one process cannot have another collector, so nobody waits for one that was killed.
#[test]
fn a_collector_that_was_killed_is_not_waited_for_by_who_has_the_store_alone() {
    let (records, extents) = (MemoryRecords::new(), MemoryExtents::new());
    let process = || Records::new(records.clone(), extents.clone());
    let killed = process().engine;
    let lease = block_on(killed.take_lease(Duration::ZERO)).unwrap();
    assert!(lease.is_some());
    // In its own process it is one too many.
    assert!(
        block_on(killed.take_lease(Duration::ZERO))
            .unwrap()
            .is_none()
    );
    let run = block_on(process().engine.collect(&everything(), Arc::new(())));
    assert_eq!(run.unwrap().end, CollectEnd::Complete);
    drop(lease);
}

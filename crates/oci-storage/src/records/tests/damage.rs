//! Content that is damaged where it lies, and taken away for that.

use std::sync::Arc;

use oci_core::Digest;
use oci_core::store::BlobStore;

use super::harness::{Fault, World, block_on, content, push_blob, push_blob_by_session, read_blob};
use crate::records::{ExtentStore, PoolSpawn, Records};

fn store(world: &World) -> Records {
    world.process(Arc::new(PoolSpawn::default()))
}

async fn goes_and_heals(store: &Records, bytes: &[u8]) {
    let digest = Digest::sha256(bytes);
    assert!(store.discard_damaged(&digest).await.unwrap());
    assert!(store.stat(&digest).await.is_err());
    push_blob(store, bytes).await.unwrap();
    assert!(read_blob(store, &digest).await.unwrap() == bytes);
    assert!(!store.discard_damaged(&digest).await.unwrap());
}

/// Once, that failed as if the store did not answer.
#[test]
fn an_extent_that_was_cut_off_goes_and_heals() {
    let world = World::new(20_000);
    let bytes = content(1, 15_000);
    block_on(async {
        let store = store(&world);
        push_blob(&store, &bytes).await.unwrap();
        let keys = world.extents.keys();
        let [key] = keys.as_slice() else {
            panic!("{keys:?}")
        };
        while world.extents.truncate(key) {}
        goes_and_heals(&store, &bytes).await;
    });
}

#[test]
fn content_of_which_any_extent_is_short_or_gone_goes_and_heals() {
    let bytes = content(2, 150_000);
    let extents = |world: &World| {
        let keys = world.extents.keys();
        assert!(keys.len() > 1, "{keys:?}");
        keys
    };
    for which in 0..2 {
        for gone in [false, true] {
            let world = World::new(10_000);
            block_on(async {
                let store = store(&world);
                push_blob_by_session(&store, &bytes).await.unwrap();
                let key = &extents(&world)[which];
                if gone {
                    world.extents.delete(key).await.unwrap();
                } else {
                    assert!(world.extents.truncate(key));
                }
                goes_and_heals(&store, &bytes).await;
            });
        }
    }
}

#[test]
fn content_that_cannot_be_read_now_stays() {
    let world = World::new(20_000);
    let bytes = content(3, 15_000);
    block_on(async {
        let store = store(&world);
        let digest = push_blob(&store, &bytes).await.unwrap();
        // The record is read, then the extent.
        world.control.fail(1, Fault::Unavailable);
        assert!(store.discard_damaged(&digest).await.is_err());
        assert!(world.control.failed());
        assert!(read_blob(&store, &digest).await.unwrap() == bytes);
    });
}

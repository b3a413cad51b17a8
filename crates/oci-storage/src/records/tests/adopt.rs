//! Content that somebody else has written: read, shown, replaced, and never deleted.

use bytes::Bytes;
use oci_core::Digest;
use oci_core::error::StoreError;
use oci_core::store::{BlobMeta, BlobStore, Brake, ManifestStore};

use super::harness::{World, block_on, content, push_blob, read_blob, repository};
use super::interleaved::everything;
use crate::records::{Adoption, ExtentStore, PoolSpawn};

const KEY: &str = "docker/registry/v2/blobs/sha256/ab/abcd/data";

async fn lies_there(world: &World) -> bool {
    let found = world.extents.list(KEY, None, 1).await.unwrap();
    !found.is_empty()
}

#[test]
fn what_was_adopted_is_read_where_it_lies_and_stays_there() {
    let world = World::new(1000);
    let bytes = content(1, 5000);
    let digest = Digest::sha256(&bytes);
    block_on(async {
        let put = world.extents.put(KEY, vec![Bytes::from(bytes.clone())]);
        put.await.unwrap();
        let store = world.process(std::sync::Arc::new(PoolSpawn::default()));
        for expected in [Adoption::Adopted, Adoption::There] {
            assert_eq!(
                store.would_adopt(&digest, 5000, KEY).await.unwrap(),
                expected
            );
            assert_eq!(store.adopt(&digest, 5000, KEY).await.unwrap(), expected);
        }
        assert!(read_blob(&store, &digest).await.unwrap() == bytes);
        let blob = BlobMeta::new(digest, 5000);
        store.link_blob(&repository("r"), &blob).await.unwrap();
        assert!(store.has_blob(&repository("r"), &digest).await.unwrap());

        // Pushed again, it is what was pushed.
        push_blob(&store, &bytes).await.unwrap();
        assert!(read_blob(&store, &digest).await.unwrap() == bytes);
        assert!(lies_there(&world).await);
    });
}

/// Once, adopting it again brought it back, as if nobody had found the damage.
#[test]
fn what_was_adopted_and_is_damaged_stays_away_until_it_is_put_right() {
    let world = World::new(1000);
    let bytes = content(1, 5000);
    let digest = Digest::sha256(&bytes);
    block_on(async {
        let put = world.extents.put(KEY, vec![Bytes::from(content(2, 5000))]);
        put.await.unwrap();
        let store = world.process(std::sync::Arc::new(PoolSpawn::default()));
        let adopt = async || store.adopt(&digest, 5000, KEY).await.unwrap();
        assert_eq!(adopt().await, Adoption::Adopted);
        assert!(store.discard_damaged(&digest).await.unwrap());
        assert!(matches!(
            store.stat(&digest).await,
            Err(StoreError::NotFound)
        ));
        assert!(lies_there(&world).await);
        let looked = store.would_adopt(&digest, 5000, KEY).await.unwrap();
        assert_eq!(looked, Adoption::Damaged);
        assert_eq!(adopt().await, Adoption::Damaged);
        let absent = store.adopt(&digest, 5000, "elsewhere").await.unwrap();
        assert_eq!(absent, Adoption::Damaged);
        assert!(store.stat(&digest).await.is_err());

        let put = world.extents.put(KEY, vec![Bytes::from(bytes.clone())]);
        put.await.unwrap();
        assert_eq!(adopt().await, Adoption::Adopted);
        assert!(read_blob(&store, &digest).await.unwrap() == bytes);
        assert!(!store.discard_damaged(&digest).await.unwrap());
    });
}

/// What was pushed here after it was taken away is as good as any other.
#[test]
fn what_heals_by_a_push_is_there() {
    let world = World::new(1000);
    let bytes = content(1, 5000);
    let digest = Digest::sha256(&bytes);
    block_on(async {
        let put = world.extents.put(KEY, vec![Bytes::from(content(2, 5000))]);
        put.await.unwrap();
        let store = world.process(std::sync::Arc::new(PoolSpawn::default()));
        store.adopt(&digest, 5000, KEY).await.unwrap();
        store.discard_damaged(&digest).await.unwrap();
        push_blob(&store, &bytes).await.unwrap();
        assert!(read_blob(&store, &digest).await.unwrap() == bytes);
        let there = store.adopt(&digest, 5000, KEY).await.unwrap();
        assert_eq!(there, Adoption::There);
    });
}

#[test]
fn an_empty_file_is_only_the_content_of_nothing() {
    let world = World::new(1000);
    block_on(async {
        world.extents.put(KEY, Vec::new()).await.unwrap();
        let store = world.process(std::sync::Arc::new(PoolSpawn::default()));
        let adopt = async |of: &[u8]| store.adopt(&Digest::sha256(of), 0, KEY).await.unwrap();
        assert_eq!(adopt(b"something").await, Adoption::Damaged);
        assert_eq!(adopt(b"").await, Adoption::Adopted);
    });
}

/// Its bytes stay where they lie, so nothing is said to be freed, and no brake stops it.
#[test]
fn what_was_adopted_is_no_garbage_by_its_bytes() {
    let world = World::new(1000);
    let digest = Digest::sha256(&content(1, 5000));
    block_on(async {
        let put = world.extents.put(KEY, vec![Bytes::from(content(1, 5000))]);
        put.await.unwrap();
        let store = world.process(std::sync::Arc::new(PoolSpawn::default()));
        let adopted = store.adopt(&digest, 5000, KEY).await.unwrap();
        assert_eq!(adopted, Adoption::Adopted);
        let blob = BlobMeta::new(digest, 5000);
        store.link_blob(&repository("r"), &blob).await.unwrap();
        let mut options = everything();
        let mut brake = Brake::default();
        brake.bytes = 1000;
        options.brake = Some(brake);
        let done = store.engine.collect(&options, std::sync::Arc::new(()));
        let done = done.await.unwrap();
        assert_eq!((done.removed.count, done.removed.bytes), (1, 0));
        assert_eq!((done.garbage.bytes, done.content.bytes), (0, 0));
        assert!(lies_there(&world).await);
    });
}

#[test]
fn what_the_engine_has_written_is_not_adopted() {
    let world = World::new(1000);
    block_on(async {
        let store = world.process(std::sync::Arc::new(PoolSpawn::default()));
        let adopted = store.adopt(&Digest::sha256(b""), 5, "data/x/y").await;
        assert!(matches!(adopted, Err(StoreError::Unsupported(_))));
    });
}

//! A process dies while it finishes an upload, and others find the session in that state.

use std::sync::Arc;
use std::task::{Context, Waker};

use oci_core::Digest;
use oci_core::error::StoreError;
use oci_core::store::{BlobStore, ManifestStore, UploadId, UploadOptions};

use super::collecting::{collect, pass};
use super::harness::{Crashed, World, append, block_on, content, read_blob, repository, scope};
use crate::records::{Records, UploadLocks};

/// A session with `bytes` behind its last checkpoint and `more` in the request that finishes it, whose
/// process dies after so many steps.
async fn die_while_finishing(world: &World, bytes: &[u8], more: &[u8], polls: usize) -> UploadId {
    let dying = world.engine(Arc::new(Crashed), UploadLocks::default());
    let begun = dying
        .begin_upload(&scope(), &UploadOptions::default())
        .await;
    let mut upload = begun.unwrap();
    let id = upload.id().clone();
    append(&mut upload, bytes).await.unwrap();
    upload.checkpoint().await.unwrap();
    append(&mut upload, more).await.unwrap();
    let digest = Digest::sha256(&[bytes, more].concat());
    let name = repository("r");
    let mut commit = upload.commit(&digest, &name);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if commit.as_mut().poll(&mut context).is_ready() {
            break;
        }
    }
    id
}

/// Goes on with a session as a client does that heard no answer; `false` if it is gone.
async fn go_on(store: &Records, id: &UploadId, whole: &[u8]) -> bool {
    let mut upload = match store.open_upload(&scope(), id).await {
        Ok(upload) => upload,
        Err(StoreError::NotFound) => return false,
        Err(error) => panic!("{error:?}"),
    };
    let at = usize::try_from(upload.offset()).unwrap();
    append(&mut upload, &whole[at..]).await.unwrap();
    upload.checkpoint().await.unwrap();
    drop(upload);
    let upload = store.open_upload(&scope(), id).await.unwrap();
    let digest = Digest::sha256(whole);
    upload.commit(&digest, &repository("r")).await.unwrap();
    true
}

/// Once, the status said "here", because it took the session for open, and the next request then found out
/// that the content was there.
#[test]
fn a_session_that_says_where_it_stands_can_be_gone_on_with() {
    let (mut stood, mut over) = (0, 0);
    for (before, polls) in [0, 30_000]
        .iter()
        .flat_map(|b| (0..80).map(move |p| (*b, p)))
    {
        let world = World::interleaved(20_000);
        let whole = content(1, 70_000);
        let (bytes, more) = whole.split_at(before);
        block_on(async {
            let id = die_while_finishing(&world, bytes, more, polls).await;
            let store = world.process(Arc::new(Crashed));
            let status = store.upload_status(&scope(), &id).await;
            let went_on = go_on(&store, &id, &whole).await;
            match status {
                Ok(status) => {
                    assert_eq!(status.offset, before as u64, "{polls}");
                    assert!(went_on, "{before} {polls}");
                    stood += 1;
                }
                Err(StoreError::NotFound) => {
                    assert!(!went_on, "{before} {polls}");
                    over += 1;
                }
                Err(error) => panic!("{error:?}"),
            }
            world.settle_deletes();
            let (digest, name) = (Digest::sha256(&whole), repository("r"));
            assert!(store.has_blob(&name, &digest).await.unwrap());
            assert!(read_blob(&store, &digest).await.unwrap() == whole);
        });
    }
    assert!(stood > 20 && over > 20, "{stood} {over}");
}

/// Once, the session was opened again without the bytes that the collector had deleted as those of the blob,
/// and was finished to a blob without them.
#[test]
fn a_session_whose_content_was_registered_and_collected_is_over() {
    let (mut stood, mut over) = (0, 0);
    for (again, polls) in [false, true]
        .iter()
        .flat_map(|a| (0..80).map(move |p| (*a, p)))
    {
        let world = World::interleaved(20_000);
        let whole = content(1, 70_000);
        let (bytes, more) = whole.split_at(45_000);
        block_on(async {
            let id = die_while_finishing(&world, bytes, more, polls).await;
            pass(&world, 7200);
            collect(&world);
            world.settle_deletes();
            let store = world.process(Arc::new(Crashed));
            let digest = Digest::sha256(&whole);
            if again {
                // Somebody else has pushed the content since, and nobody needs it either.
                super::harness::push_blob(&store, &whole).await.unwrap();
            }
            let status = store.upload_status(&scope(), &id).await.is_ok();
            let went_on = go_on(&store, &id, &whole).await;
            assert_eq!(status, went_on, "{again} {polls}");
            world.settle_deletes();
            if went_on {
                stood += 1;
                assert!(
                    read_blob(&store, &digest).await.unwrap() == whole,
                    "{again} {polls}"
                );
            } else {
                over += 1;
            }
        });
    }
    assert!(stood > 20 && over > 20, "{stood} {over}");
}

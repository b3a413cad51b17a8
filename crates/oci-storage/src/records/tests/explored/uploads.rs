//! Uploads that several parties write, finish or cancel.

use std::sync::{Arc, Mutex};

use oci_core::Digest;
use oci_core::error::StoreError;
use oci_core::store::{BlobStore, UploadId, UploadOptions};

use super::site::Site;
use super::{AHEAD, collect, explore, is_there, leaving};
use crate::records::Records;
use crate::records::tests::harness::{
    Task, append, block_on, content, push_blob, push_blob_by_session, repository, scope,
};
use crate::records::tests::replicas::collect_the_rest;

#[test]
fn a_blob_that_two_push_beside_a_collection_is_whole_or_gone() {
    let ends = ["both pushed, gone", "both pushed, there", "one pushed"];
    explore(SCHEDULES, two_pushes_and_a_collection, &ends);
}

fn two_pushes_and_a_collection(site: &Site) -> &'static str {
    let bytes = content(2, 9_000);
    let pushed = Arc::new(Mutex::new(0));
    let mut tasks: Vec<Task> = Vec::new();
    for by_session in [false, true] {
        let (store, bytes, pushed) = (site.replica(), bytes.clone(), Arc::clone(&pushed));
        tasks.push(Box::pin(async move {
            let blob = if by_session {
                push_blob_by_session(&store, &bytes).await
            } else {
                push_blob(&store, &bytes).await
            };
            *pushed.lock().unwrap() += usize::from(blob.is_ok());
        }));
    }
    let collector = site.replica_ahead(AHEAD);
    tasks.push(Box::pin(async move { collect(&collector).await }));
    site.run(tasks);
    let there = is_there(site, &bytes);
    collect_the_rest(&site.world, "after two pushes");
    match (*pushed.lock().unwrap(), there) {
        (2, true) => "both pushed, there",
        (2, false) => "both pushed, gone",
        (1, _) => "one pushed",
        _ => "nobody pushed",
    }
}

#[test]
fn an_upload_is_finished_or_cancelled_and_never_both() {
    explore(SCHEDULES, close_and_cancel, &["cancelled", "finished"]);
}

pub(super) fn close_and_cancel(site: &Site) -> &'static str {
    let bytes = content(3, 9_000);
    let id = begin(&site.alone(), &bytes[..5_000]);
    let outcome = Arc::new(Mutex::new((None, None)));
    let (closing, told) = (site.replica(), Arc::clone(&outcome));
    let (own, rest) = (id.clone(), bytes.clone());
    let close = async move {
        let closed = finish(&closing, &own, &rest).await;
        told.lock().unwrap().0 = Some(closed);
    };
    let (cancelling, told) = (site.replica(), Arc::clone(&outcome));
    let cancel = async move {
        let cancelled = cancelling.abort_upload(&scope(), &id).await;
        told.lock().unwrap().1 = Some(cancelled);
    };
    site.run(vec![Box::pin(close), Box::pin(cancel)]);
    let there = is_there(site, &bytes);
    collect_the_rest(&site.world, "after a cancel");
    let outcome = std::mem::take(&mut *outcome.lock().unwrap());
    match outcome {
        (Some(Ok(())), Some(Err(StoreError::NotFound))) if there => "finished",
        (Some(Err(StoreError::NotFound)), Some(Ok(()))) if !there => "cancelled",
        (closed, cancelled) => panic!("{closed:?} {cancelled:?}, there: {there}"),
    }
}

#[test]
fn of_two_replicas_that_append_to_an_upload_one_is_told_the_other_went_on() {
    explore(SCHEDULES, two_writers, &["both appended", "one was told"]);
}

pub(super) fn two_writers(site: &Site) -> &'static str {
    // Three parts and a rest; two were sent by now.
    let bytes = content(4, 13_500);
    let id = begin(&site.alone(), &bytes[..8_500]);
    let went = Arc::new(Mutex::new(Vec::new()));
    let mut tasks: Vec<Task> = Vec::new();
    for to in [11_000, 13_000] {
        let (store, id, went) = (site.replica(), id.clone(), Arc::clone(&went));
        let bytes = bytes.clone();
        tasks.push(Box::pin(async move {
            let appended = send(&store, &id, &bytes[..to]).await;
            went.lock().unwrap().push((to as u64, appended));
        }));
    }
    site.run(tasks);
    let went = went.lock().unwrap();
    let reached = went.iter().filter(|(_, appended)| appended.is_ok());
    let reached = reached.map(|(to, _)| *to).max();
    for (_, appended) in went.iter() {
        let conflict = matches!(appended, Err(StoreError::Conflict { .. }));
        assert!(appended.is_ok() || conflict, "{went:?}");
    }
    // What was recorded last is what is there.
    let store = site.alone();
    let status = block_on(store.upload_status(&scope(), &id)).unwrap();
    assert_eq!(Some(status.offset), reached, "{went:?}");
    block_on(finish(&store, &id, &bytes)).unwrap();
    assert!(is_there(site, &bytes));
    collect_the_rest(&site.world, "after two writers");
    if went.iter().all(|(_, appended)| appended.is_ok()) {
        "both appended"
    } else {
        "one was told"
    }
}

#[test]
fn an_upload_whose_client_leaves_is_finished_by_its_next_request() {
    explore(SCHEDULES, a_client_leaves, &["finished", "to be finished"]);
}

fn a_client_leaves(site: &Site) -> &'static str {
    let bytes = content(5, 13_500);
    let id = begin(&site.alone(), &bytes[..5_000]);
    let (store, own, rest) = (site.replica(), id.clone(), bytes.clone());
    let client = leaving(async move {
        let _ = finish(&store, &own, &rest).await;
    });
    let (store, own, rest) = (site.replica(), id.clone(), bytes.clone());
    let again = async move {
        let _ = finish(&store, &own, &rest).await;
    };
    site.run(vec![client, Box::pin(again)]);
    if is_there(site, &bytes) {
        return "finished";
    }
    block_on(finish(&site.alone(), &id, &bytes)).unwrap();
    assert!(is_there(site, &bytes));
    "to be finished"
}

/// A session with its first bytes, as an earlier request left it.
fn begin(store: &Records, bytes: &[u8]) -> UploadId {
    block_on(async {
        let begun = store
            .begin_upload(&scope(), &UploadOptions::default())
            .await;
        let mut upload = begun.unwrap();
        upload.checkpoint().await.unwrap();
        append(&mut upload, bytes).await.unwrap();
        upload.checkpoint().await.unwrap();
        upload.id().clone()
    })
}

/// A PATCH: sends of `bytes` what is not there yet.
async fn send(store: &Records, id: &UploadId, bytes: &[u8]) -> Result<(), StoreError> {
    let mut upload = store.open_upload(&scope(), id).await?;
    let offset = usize::try_from(upload.offset()).unwrap();
    append(&mut upload, bytes.get(offset..).unwrap_or_default()).await?;
    upload.checkpoint().await.map(drop)
}

/// The closing PUT, with the rest of `bytes`.
async fn finish(store: &Records, id: &UploadId, bytes: &[u8]) -> Result<(), StoreError> {
    let mut upload = store.open_upload(&scope(), id).await?;
    let offset = usize::try_from(upload.offset()).unwrap();
    append(&mut upload, &bytes[offset..]).await?;
    let digest = Digest::sha256(bytes);
    upload.commit(&digest, &repository("r")).await.map(drop)
}

/// Of each of three kinds.
const SCHEDULES: usize = 60;

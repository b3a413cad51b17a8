//! One call fails, in every way, at every place: nothing acknowledged is lost, and trying again works.

use std::sync::Arc;

use oci_core::error::StoreError;
use oci_core::store::{
    BlobStore, ManifestStore, PageRequest, TagPrecondition, TagWrite, UploadOptions,
};
use oci_core::{Digest, Manifest};

use super::harness::{
    Fault, World, append, block_on, content, image, push_blob, put, read_blob, repository, scope,
    tag,
};
use crate::records::{PoolSpawn, Records};

/// Tries until it works; every error on the way is one that a client may try again after.
macro_rules! retry {
    ($call:expr) => {
        retry!($call, |_error: &StoreError| false)
    };
    ($call:expr, $fine:expr) => {
        retry!($call, $fine, false)
    };
    // With `early`, what is fine after a lost answer is so at once.
    ($call:expr, $fine:expr, $early:expr) => {{
        let mut tries = 0;
        loop {
            match $call {
                Ok(value) => break Some(value),
                Err(error) if (tries > 0 || $early) && $fine(&error) => break None,
                // A client that is told where the upload stands goes on from there.
                Err(
                    StoreError::Unavailable { .. }
                    | StoreError::NoSpace(_)
                    | StoreError::Conflict { .. },
                ) => {}
                Err(error) => panic!("not an error to try again after: {error:?}"),
            }
            tries += 1;
            assert!(tries < 3, "one fault, one error");
        }
    }};
}

/// An upload in three pieces, each of which a client would resume.
async fn upload(store: &Records, bytes: &[u8]) {
    let digest = Digest::sha256(bytes);
    let id = retry!(
        async {
            let begun = store
                .begin_upload(&scope(), &UploadOptions::default())
                .await;
            let mut upload = begun?;
            upload.checkpoint().await?;
            Ok::<_, StoreError>(upload.id().clone())
        }
        .await
    )
    .unwrap();
    for end in [30_000, 42_000, bytes.len()] {
        let acknowledged = retry!(store.upload_status(&scope(), &id).await).unwrap();
        retry!(
            async {
                let mut upload = store.open_upload(&scope(), &id).await?;
                assert!(
                    upload.offset() >= acknowledged.offset,
                    "what was told is kept"
                );
                let at = usize::try_from(upload.offset()).unwrap();
                if at < end {
                    append(&mut upload, &bytes[at..end]).await?;
                }
                assert_eq!(upload.checkpoint().await?, end as u64);
                Ok::<_, StoreError>(())
            }
            .await
        );
    }
    // The session may be over while the answer got lost: then the blob must be there.
    retry!(
        async {
            let upload = store.open_upload(&scope(), &id).await?;
            upload.commit(&digest, &repository("r")).await
        }
        .await,
        StoreError::is_not_found
    );
    assert!(retry!(store.has_blob(&repository("r"), &digest).await).unwrap());
    assert!(retry!(read_blob(store, &digest).await).unwrap() == bytes);
}

struct Pushed {
    config: Vec<u8>,
    layer: Vec<u8>,
    first: Manifest,
    second: Manifest,
}

impl Pushed {
    fn new() -> Self {
        let (config, layer) = (content(1, 100), content(2, 55_000));
        let first = image(&config, &layer, "first", None);
        let subject = Digest::sha256(first.bytes());
        let second = image(&config, &layer, "second", Some(&subject));
        Self {
            config,
            layer,
            first,
            second,
        }
    }

    async fn script(&self, store: &Records, fault: Fault) {
        // Whoever has replaced the record may as well have been the one who deleted it.
        let overtaken = fault == Fault::Overtaken;
        let name = repository("r");
        let page = PageRequest::first(10);
        retry!(push_blob(store, &self.config).await);
        upload(store, &self.layer).await;
        let any = |name: &str| TagWrite::any(tag(name));
        let first = retry!(put(store, &self.first, &[any("a"), any("b")]).await).unwrap();
        let created = TagWrite::only_if(tag("c"), TagPrecondition::Absent);
        // A lost answer may leave the tag created: then the precondition speaks for itself.
        retry!(
            put(store, &self.second, &[any("b"), created.clone()]).await,
            |error: &StoreError| matches!(error, StoreError::Precondition)
        );
        let second = Digest::sha256(self.second.bytes());
        let tags = retry!(store.tags(&name, &page).await).unwrap();
        assert_eq!(tags.items, [tag("a"), tag("b"), tag("c")]);
        for (name_of_tag, digest) in [("a", first), ("b", second), ("c", second)] {
            let at = retry!(store.resolve(&name, &tag(name_of_tag)).await).unwrap();
            assert_eq!(at, digest, "{name_of_tag}");
        }
        let referrers = retry!(store.referrers(&name, &first, &page).await).unwrap();
        assert_eq!(referrers.items.len(), 1);
        retry!(
            store.untag(&name, &tag("c")).await,
            StoreError::is_not_found,
            overtaken
        );
        retry!(
            store.delete(&name, &second).await,
            StoreError::is_not_found,
            overtaken
        );
        let tags = retry!(store.tags(&name, &page).await).unwrap();
        assert_eq!(tags.items, [tag("a")], "no tag is left pointing at nothing");
        let referrers = retry!(store.referrers(&name, &first, &page).await).unwrap();
        assert!(referrers.items.is_empty());
        retry!(store.claim(&name, self.first.references()).await);
        let listed = retry!(store.repositories(&page).await).unwrap();
        assert_eq!(listed.items, std::slice::from_ref(&name));
        let stored = retry!(ManifestStore::read(store, &name, &first).await).unwrap();
        assert_eq!(stored.bytes, self.first.bytes());
    }
}

#[test]
fn every_call_fails_once_in_every_way() {
    let pushed = Pushed::new();
    for fault in Fault::ALL {
        let mut at = 0;
        loop {
            let world = World::new(10_000);
            let store = world.process(Arc::new(PoolSpawn::default()));
            world.control.fail(at, fault);
            block_on(pushed.script(&store, fault));
            if !world.control.failed() {
                assert!(at > 100, "the script makes that many calls at least: {at}");
                break;
            }
            at += 1;
        }
    }
}

/// Every call fails once, then the process dies: what was acknowledged is there for the next one.
#[test]
fn what_was_acknowledged_outlives_a_failing_store() {
    let layer = content(3, 25_000);
    for fault in Fault::ALL {
        for at in 0..60 {
            let world = World::new(10_000);
            let config = content(4, 50);
            let manifest = image(&config, &layer, "kept", None);
            let digest = Digest::sha256(manifest.bytes());
            let acknowledged = block_on(async {
                let store = world.process(Arc::new(super::harness::Crashed));
                world.control.fail(at, fault);
                push_blob(&store, &config).await.ok()?;
                push_blob(&store, &layer).await.ok()?;
                put(&store, &manifest, &[TagWrite::any(tag("t"))])
                    .await
                    .ok()
            });
            world.control.heal();
            let store = world.process(Arc::new(super::harness::Crashed));
            block_on(async {
                if acknowledged.is_some() {
                    let at = store.resolve(&repository("r"), &tag("t")).await.unwrap();
                    assert_eq!(at, digest);
                    for bytes in [&config, &layer] {
                        let read = read_blob(&store, &Digest::sha256(bytes)).await;
                        assert!(read.unwrap() == **bytes);
                    }
                } else if let Ok(at) = store.resolve(&repository("r"), &tag("t")).await {
                    // Not acknowledged, but if it is there, then whole.
                    ManifestStore::read(&store, &repository("r"), &at)
                        .await
                        .unwrap();
                }
            });
        }
    }
}

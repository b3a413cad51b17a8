//! Contracts of the metadata plane.

use super::StoreUnderTest;
use super::content::{image, image_blobs, index, repository, tag};
use crate::digest::{Algorithm, Digest};
use crate::error::StoreError;
use crate::manifest::{Manifest, ManifestReference, ReferenceKind};
use crate::store::{PageRequest, PutManifest, TagPrecondition, TagWrite};

pub(super) async fn round_trip(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("team/app");
    // A repository and a tag whose paths could be taken for one another.
    let nested = repository("team/app/v1");
    let digest = stores.push_image(&name, 1, &["v1", "latest"]).await;
    stores.push_image(&nested, 2, &["latest"]).await;
    for by in ["v1", "latest"] {
        assert_eq!(
            stores.manifests.resolve(&name, &tag(by)).await.unwrap(),
            digest
        );
    }
    let stored = stores.manifests.read(&name, &digest).await.unwrap();
    let manifest = image(1, None);
    assert_eq!((&stored.bytes, stored.digest), (manifest.bytes(), digest));
    assert_eq!(stored.manifest_type, manifest.manifest_type());

    let sha512 = Digest::of(Algorithm::Sha512, manifest.bytes());
    stores
        .put_as(&name, &manifest, &sha512, &[TagWrite::any(tag("wide"))])
        .await
        .unwrap();
    assert_eq!(
        stores.manifests.resolve(&name, &tag("wide")).await.unwrap(),
        sha512
    );
    assert_eq!(
        stores.manifests.read(&name, &sha512).await.unwrap().digest,
        sha512
    );

    let index = index(&manifest);
    let index_digest = stores
        .put(&name, &index, &[])
        .await
        .expect("an index needs only its child");
    assert_eq!(
        stores
            .manifests
            .read(&name, &index_digest)
            .await
            .unwrap()
            .bytes,
        index.bytes()
    );

    for unknown in [&nested, &repository("team"), &repository("nobody")] {
        assert!(
            stores
                .manifests
                .read(unknown, &digest)
                .await
                .unwrap_err()
                .is_not_found()
        );
        assert!(
            stores
                .manifests
                .resolve(unknown, &tag("v1"))
                .await
                .unwrap_err()
                .is_not_found()
        );
    }
}

pub(super) async fn references(place: &dyn StoreUnderTest) {
    let stores = place.open();
    if !stores.manifests.checks_references() {
        return;
    }
    let (name, other) = (repository("here"), repository("there"));
    let manifest = image(3, None);
    let [config, layer] = image_blobs(3);
    // In another repository is not in this one.
    stores.push(&other, &config).await;
    stores.push(&name, &layer).await;
    let needed = manifest.references().to_vec();
    match stores
        .put(&name, &manifest, &[TagWrite::any(tag("t"))])
        .await
    {
        Err(StoreError::MissingReferences(missing)) => assert_eq!(missing, [needed[0]]),
        other => panic!("what is missing is named, not {other:?}"),
    }
    assert!(
        stores
            .manifests
            .resolve(&name, &tag("t"))
            .await
            .unwrap_err()
            .is_not_found()
    );
    let digest = Digest::sha256(manifest.bytes());
    assert!(
        stores
            .manifests
            .read(&name, &digest)
            .await
            .unwrap_err()
            .is_not_found()
    );

    stores.push(&name, &config).await;
    let mut lied = needed.clone();
    lied[1].size += 1;
    let child = ManifestReference::new(ReferenceKind::Manifest, digest, manifest.size());
    lied.push(child);
    let mut put = PutManifest::new(&name, &digest, &manifest);
    put.references = &lied;
    match stores.manifests.put(put).await {
        Err(StoreError::MissingReferences(mut missing)) => {
            missing.sort_by_key(|reference| reference.digest);
            lied.remove(0);
            lied.sort_by_key(|reference| reference.digest);
            assert_eq!(missing, lied, "another size, and a child that is not there");
        }
        other => panic!("what is missing is named, not {other:?}"),
    }
    stores
        .put(&name, &manifest, &[])
        .await
        .expect("now everything is there");
    stores
        .put(&name, &index(&manifest), &[])
        .await
        .expect("and the child of an index too");
}

pub(super) async fn tags(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("t");
    let first = stores.push_image(&name, 4, &["moving"]).await;
    let second = stores.push_image(&name, 5, &["moving"]).await;
    let current = async || {
        stores
            .manifests
            .resolve(&name, &tag("moving"))
            .await
            .unwrap()
    };
    assert_eq!(current().await, second);
    assert!(
        stores.manifests.read(&name, &first).await.is_ok(),
        "the old manifest stays"
    );

    let put = async |name_of_tag: &str, precondition| {
        stores
            .put(
                &name,
                &image(4, None),
                &[TagWrite::only_if(tag(name_of_tag), precondition)],
            )
            .await
    };
    for refused in [TagPrecondition::Absent, TagPrecondition::PointsAt(first)] {
        assert!(matches!(
            put("moving", refused).await,
            Err(StoreError::Precondition)
        ));
        assert_eq!(current().await, second);
    }
    assert!(matches!(
        put("new", TagPrecondition::PointsAt(first)).await,
        Err(StoreError::Precondition)
    ));
    put("moving", TagPrecondition::PointsAt(second))
        .await
        .unwrap();
    assert_eq!(current().await, first);
    put("new", TagPrecondition::Absent).await.unwrap();

    assert_eq!(
        stores.manifests.untag(&name, &tag("moving")).await.unwrap(),
        first
    );
    assert!(
        stores
            .manifests
            .resolve(&name, &tag("moving"))
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        stores
            .manifests
            .untag(&name, &tag("moving"))
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert_eq!(
        stores.manifests.resolve(&name, &tag("new")).await.unwrap(),
        first
    );
    put("moving", TagPrecondition::Absent)
        .await
        .expect("a removed tag is absent");

    let manifests = &stores.manifests;
    let moving = tag("moving");
    let state = manifests.tag_state(&name, &moving).await.unwrap();
    assert_eq!(state.digest, first);
    let mut other = state;
    other.digest = second;
    match manifests.untag_if(&name, &moving, &other).await {
        // What needs it is not for this store.
        Err(StoreError::Unsupported(_)) => return,
        refused => assert!(matches!(refused, Err(StoreError::Precondition))),
    }
    assert_eq!(current().await, first);
    manifests.untag_if(&name, &moving, &state).await.unwrap();
    for gone in [
        manifests.resolve(&name, &moving).await.map(drop),
        manifests.tag_state(&name, &moving).await.map(drop),
        manifests.untag_if(&name, &moving, &state).await,
    ] {
        assert!(gone.unwrap_err().is_not_found());
    }
}

pub(super) async fn delete(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("d");
    let gone = stores.push_image(&name, 6, &["b", "a", "c"]).await;
    let kept = stores.push_image(&name, 7, &["kept"]).await;
    stores.push_image(&name, 7, &["c"]).await;
    assert_eq!(
        stores.manifests.delete(&name, &gone).await.unwrap(),
        [tag("a"), tag("b")]
    );
    assert!(
        stores
            .manifests
            .read(&name, &gone)
            .await
            .unwrap_err()
            .is_not_found()
    );
    let left = stores
        .manifests
        .tags(&name, &PageRequest::first(10))
        .await
        .unwrap();
    assert_eq!(left.items, [tag("c"), tag("kept")]);
    assert_eq!(
        stores.manifests.resolve(&name, &tag("c")).await.unwrap(),
        kept
    );
    assert!(
        stores
            .manifests
            .delete(&name, &gone)
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        stores
            .manifests
            .delete(&repository("nobody"), &kept)
            .await
            .unwrap_err()
            .is_not_found()
    );

    assert_eq!(
        stores.push_image(&name, 6, &["a"]).await,
        gone,
        "it can be pushed again"
    );
    assert!(stores.manifests.read(&name, &gone).await.is_ok());
}

pub(super) async fn emptied(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let (name, blobs_only) = (repository("emptied"), repository("blobs/only"));
    stores.push(&blobs_only, b"a layer").await;
    let digest = stores.push_image(&name, 8, &["only"]).await;
    let page = PageRequest::first(10);
    stores.manifests.delete(&name, &digest).await.unwrap();
    let tags = stores
        .manifests
        .tags(&name, &page)
        .await
        .expect("still known");
    assert!(tags.items.is_empty() && !tags.more);
    for unknown in [&blobs_only, &repository("nobody"), &repository("blobs")] {
        assert!(
            stores
                .manifests
                .tags(unknown, &page)
                .await
                .unwrap_err()
                .is_not_found(),
            "{unknown}"
        );
    }
    assert!(
        stores
            .manifests
            .repositories(&page)
            .await
            .unwrap()
            .items
            .is_empty(),
        "no manifest, not listed"
    );
}

pub(super) async fn referrers(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let (name, other) = (repository("r"), repository("r/other"));
    for algorithm in Algorithm::ALL {
        let subject = Digest::of(algorithm, b"a subject that need not exist");
        let page = PageRequest::first(10);
        assert!(
            stores
                .manifests
                .referrers(&name, &subject, &page)
                .await
                .unwrap()
                .items
                .is_empty()
        );
        let mut expected = Vec::new();
        for seed in [10, 11] {
            for blob in image_blobs(seed) {
                stores.push(&name, &blob).await;
            }
            let manifest = image(seed, Some(&subject));
            let digest = stores.put(&name, &manifest, &[]).await.unwrap();
            stores
                .put(&name, &manifest, &[])
                .await
                .expect("again, without a second entry");
            expected.push(manifest.descriptor(digest));
        }
        expected.sort_by_key(|descriptor| descriptor.digest);
        let listed = stores
            .manifests
            .referrers(&name, &subject, &page)
            .await
            .unwrap();
        assert_eq!((listed.items, listed.more), (expected.clone(), false));
        assert!(
            stores
                .manifests
                .referrers(&other, &subject, &page)
                .await
                .unwrap()
                .items
                .is_empty()
        );

        stores
            .manifests
            .delete(&name, &expected[0].digest)
            .await
            .unwrap();
        let listed = stores
            .manifests
            .referrers(&name, &subject, &page)
            .await
            .unwrap();
        assert_eq!(listed.items, expected[1..]);
    }
}

pub(super) async fn one_tag_at_once(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("race");
    let manifests: Vec<Manifest> = (20..26).map(|seed| image(seed, None)).collect();
    for seed in 20..26 {
        stores.push_image(&name, seed, &[]).await;
    }
    std::thread::scope(|threads| {
        for manifest in &manifests {
            let (stores, name) = (place.open(), &name);
            threads.spawn(move || {
                place.block_on(Box::pin(async move {
                    stores
                        .put(name, manifest, &[TagWrite::any(tag("t"))])
                        .await
                        .unwrap();
                    let at = stores.manifests.resolve(name, &tag("t")).await.unwrap();
                    stores
                        .manifests
                        .read(name, &at)
                        .await
                        .expect("a tag always points to a manifest");
                }));
            });
        }
    });
    let at = stores.manifests.resolve(&name, &tag("t")).await.unwrap();
    assert!(
        manifests
            .iter()
            .any(|manifest| Digest::sha256(manifest.bytes()) == at)
    );

    // Of several creators, one wins.
    let won = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for manifest in &manifests {
            let (stores, name, won) = (place.open(), &name, &won);
            threads.spawn(move || {
                place.block_on(Box::pin(async move {
                    let write = TagWrite::only_if(tag("created"), TagPrecondition::Absent);
                    match stores.put(name, manifest, &[write]).await {
                        Ok(_) => won.fetch_add(1, std::sync::atomic::Ordering::SeqCst),
                        Err(StoreError::Precondition) => 0,
                        Err(error) => panic!("{error}"),
                    };
                }));
            });
        }
    });
    assert_eq!(won.into_inner(), 1);
}

pub(super) async fn persistence(place: &dyn StoreUnderTest) {
    let name = repository("kept/app");
    let subject = Digest::sha256(b"subject");
    let stores = place.open();
    let digest = stores.push_image(&name, 30, &["v1"]).await;
    for blob in image_blobs(31) {
        stores.push(&name, &blob).await;
    }
    let referrer = stores
        .put(&name, &image(31, Some(&subject)), &[])
        .await
        .unwrap();
    drop(stores);

    let stores = place.open();
    let page = PageRequest::first(10);
    assert_eq!(
        stores.manifests.resolve(&name, &tag("v1")).await.unwrap(),
        digest
    );
    assert_eq!(
        stores.manifests.read(&name, &digest).await.unwrap().bytes,
        image(30, None).bytes()
    );
    assert_eq!(
        stores.content(&Digest::sha256(&image_blobs(30)[1])).await,
        image_blobs(30)[1]
    );
    assert_eq!(
        stores.manifests.tags(&name, &page).await.unwrap().items,
        [tag("v1")]
    );
    assert_eq!(
        stores.manifests.repositories(&page).await.unwrap().items,
        std::slice::from_ref(&name)
    );
    let referrers = stores
        .manifests
        .referrers(&name, &subject, &page)
        .await
        .unwrap()
        .items;
    assert_eq!(referrers.len(), 1);
    assert_eq!(referrers[0].digest, referrer);
}

//! Contracts of listings: byte order, and pages that add up to the whole.

use std::fmt::{Debug, Display};

use super::StoreUnderTest;
use super::content::{image, image_blobs, repository, tag};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::store::{Page, PageRequest, TagWrite};

pub(super) async fn tags(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("l/tags");
    // Upper before lower case, digits by byte and not by value, and every character a tag may have.
    let all = [
        "10", "9", "B", "_x", "a", "a-b", "a.b", "a0", "aB", "a_b", "ab", "b", "v1", "v1.0", "v10",
    ];
    let manifest = image(1, None);
    stores.push_image(&name, 1, &[]).await;
    for one in all.iter().rev() {
        stores
            .put(&name, &manifest, &[TagWrite::any(tag(one))])
            .await
            .unwrap();
    }
    let list = async |page: &PageRequest| stores.manifests.tags(&name, page).await;
    check(&all, list).await;
}

pub(super) async fn repositories(place: &dyn StoreUnderTest) {
    let stores = place.open();
    // `-` and `.` sort before `/`, digits and letters after it: a walk of directories gets this wrong.
    let all = [
        "a", "a-b", "a-b/c", "a.b", "a/b", "a/b-c", "a/b/c", "a/b0", "a/c", "a0", "a0/b", "aa",
        "b/b", "c",
    ];
    for (seed, one) in (100..).zip(all.iter().rev()) {
        stores.push_image(&repository(one), seed, &["latest"]).await;
    }
    stores.push(&repository("a/only-blobs"), b"x").await;
    let list = async |page: &PageRequest| stores.manifests.repositories(page).await;
    check(&all, list).await;
}

pub(super) async fn referrers(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("l/referrers");
    let subject = Digest::sha256(b"subject");
    let mut all = Vec::new();
    for seed in 200..207 {
        for blob in image_blobs(seed) {
            stores.push(&name, &blob).await;
        }
        all.push(
            stores
                .put(&name, &image(seed, Some(&subject)), &[])
                .await
                .unwrap()
                .to_string(),
        );
    }
    all.sort_unstable();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let list = async |page: &PageRequest| {
        let page = stores.manifests.referrers(&name, &subject, page).await?;
        Ok(Page::new(
            page.items
                .into_iter()
                .map(|descriptor| descriptor.digest)
                .collect(),
            page.more,
        ))
    };
    check(&all, list).await;
}

pub(super) async fn content(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let (name, other) = (repository("l/content"), repository("l/content-not"));
    let (mut blobs, mut manifests) = (Vec::new(), Vec::new());
    for seed in 300..306 {
        for blob in image_blobs(seed) {
            blobs.push(stores.push(&name, &blob).await.to_string());
        }
        // Not tagged: a listing of tags would not lead there.
        let put = stores.put(&name, &image(seed, None), &[]);
        manifests.push(put.await.unwrap().to_string());
    }
    stores.push(&other, b"elsewhere").await;
    let sorted = |list: &mut Vec<String>| {
        list.sort_unstable();
        list.dedup();
    };
    sorted(&mut blobs);
    sorted(&mut manifests);
    let all: Vec<&str> = manifests.iter().map(String::as_str).collect();
    check(&all, async |page: &PageRequest| {
        stores.manifests.manifests(&name, page).await
    })
    .await;
    let all: Vec<&str> = blobs.iter().map(String::as_str).collect();
    check(&all, async |page: &PageRequest| {
        stores.manifests.linked_blobs(&name, page).await
    })
    .await;
    for unknown in ["l/none", "l"] {
        let (unknown, page) = (repository(unknown), PageRequest::first(5));
        let found = stores.manifests.manifests(&unknown, &page).await.unwrap();
        assert!(found.items.is_empty() && !found.more);
        let found = stores.manifests.linked_blobs(&unknown, &page).await;
        assert!(found.unwrap().items.is_empty());
    }

    // All blobs, and perhaps the manifests.
    blobs.push(Digest::sha256(b"elsewhere").to_string());
    let whole = PageRequest::first(1000);
    let found = stores.blobs.blobs(&whole).await.unwrap().items;
    for blob in &found {
        assert_eq!(stores.blobs.stat(&blob.digest).await.unwrap(), *blob);
    }
    let found: Vec<String> = found.iter().map(|blob| blob.digest.to_string()).collect();
    for blob in &blobs {
        assert!(found.contains(blob), "{blob} is listed");
    }
    let strange = |one: &&String| !blobs.contains(one) && !manifests.contains(one);
    assert_eq!(found.iter().find(strange), None);
    let all: Vec<&str> = found.iter().map(String::as_str).collect();
    let list = async |page: &PageRequest| {
        let page = stores.blobs.blobs(page).await?;
        let digests = page.items.into_iter().map(|blob| blob.digest).collect();
        Ok(Page::new(digests, page.more))
    };
    check(&all, list).await;

    stores
        .manifests
        .unlink_blob(&name, &blobs[0].parse().unwrap())
        .await
        .unwrap();
    let shown = stores.manifests.linked_blobs(&name, &whole).await.unwrap();
    assert!(
        shown
            .items
            .iter()
            .all(|digest| digest.to_string() != blobs[0])
    );
}

pub(super) async fn discard(place: &dyn StoreUnderTest) {
    let stores = place.open();
    let name = repository("l/sound");
    for bytes in [&b"small"[..], &[7; 300_000]] {
        let digest = stores.push(&name, bytes).await;
        match stores.blobs.discard_damaged(&digest).await {
            Ok(discarded) => assert!(!discarded),
            // It may not be able to.
            Err(StoreError::Unsupported(_)) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!(
            stores.blobs.stat(&digest).await.unwrap().size,
            bytes.len() as u64
        );
    }
}

async fn check<T: Display + Debug>(
    all: &[&str],
    list: impl AsyncFn(&PageRequest) -> Result<Page<T>, StoreError>,
) {
    let texts = |page: &Page<T>| {
        page.items
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    for limit in 1..=all.len() + 1 {
        let mut request = PageRequest::first(limit);
        let mut seen = Vec::new();
        loop {
            let page = list(&request).await.unwrap();
            assert!(page.items.len() <= limit);
            seen.extend(texts(&page));
            if !page.more {
                break;
            }
            assert!(
                !page.items.is_empty(),
                "more to come, but nothing to go on from"
            );
            request.after = seen.last().cloned();
        }
        assert_eq!(seen, all, "pages of {limit}");
    }
    let whole = list(&PageRequest::first(all.len())).await.unwrap();
    assert!(
        !whole.more,
        "an exactly full page is not followed by an empty one"
    );
    assert!(list(&PageRequest::first(0)).await.unwrap().items.is_empty());
    // After something that is no entry, and need not be a name at all.
    for after in ["", "!", "a!", "a/", "zzz", "sha256:8", "\u{10ffff}"] {
        let page = list(&PageRequest::after(after, 100)).await.unwrap();
        let expected: Vec<_> = all.iter().filter(|one| **one > after).collect();
        assert_eq!(
            texts(&page).iter().collect::<Vec<_>>(),
            expected,
            "after {after:?}"
        );
    }
}

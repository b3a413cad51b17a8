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

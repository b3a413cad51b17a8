//! Pages of tags, repositories and referrers.

use std::collections::BTreeSet;

use async_trait::async_trait;
use oci_http::oci_core::{Access, Decision};
use oci_http::{Authorizer, Identity, MemoryStore, Registry, RegistryError, RegistryService};
use proptest::prelude::*;

use crate::support::{call, digest, index, push_index};

/// Follows the links and returns the pages.
async fn walk(service: &RegistryService, start: String, field: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(start);
    while let Some(target) = next {
        let reply = call(service, "GET", &target, b"").await.is(200);
        let items = reply.json()[field].as_array().unwrap().clone();
        pages.push(
            items
                .iter()
                .map(|item| item.as_str().unwrap().to_owned())
                .collect(),
        );
        next = reply.headers.get("link").map(|link| {
            let link = link.to_str().unwrap();
            let target = link
                .strip_prefix('<')
                .unwrap()
                .strip_suffix(">; rel=\"next\"");
            target.unwrap().to_owned()
        });
        assert!(pages.len() < 100);
    }
    pages
}

#[tokio::test]
async fn pages_of_tags() {
    let service = RegistryService::in_memory();
    for tag in ["b", "B", "a", "_", "c"] {
        push_index(&service, "x", tag).await;
    }
    let pages = walk(&service, "/v2/x/tags/list?n=2".to_owned(), "tags").await;
    assert_eq!(pages, [vec!["B", "_"], vec!["a", "b"], vec!["c"]]);
    let nothing = call(&service, "GET", "/v2/x/tags/list?n=0", b"")
        .await
        .is(200);
    assert_eq!(nothing.json(), serde_json::json!({"name": "x", "tags": []}));
    assert!(nothing.headers.get("link").is_none());
    let bad = call(&service, "GET", "/v2/x/tags/list?n=-1", b"").await;
    assert_eq!(bad.error(400), "PAGINATION_NUMBER_INVALID");
}

#[tokio::test]
async fn filters_of_referrers() {
    let service = RegistryService::in_memory();
    let subject = digest(b"subject");
    for (kind, note) in [("a/x+json", "1"), ("a/x+json", "2"), ("b", "3")] {
        let mut document: serde_json::Value = serde_json::from_slice(&index(note)).unwrap();
        document["artifactType"] = kind.into();
        document["subject"] = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": 7
        });
        let document = serde_json::to_vec(&document).unwrap();
        let target = format!("/v2/x/manifests/{}", digest(&document));
        call(&service, "PUT", &target, &document).await.is(201);
    }
    for (query, count) in [
        ("", 3),
        ("?artifactType=a%2Fx%2Bjson", 2),
        ("?artifactType=a/x+json&artifactType=b", 3),
        ("?artifactType=c", 0),
    ] {
        let target = format!("/v2/x/referrers/{subject}{query}");
        let reply = call(&service, "GET", &target, b"").await.is(200);
        assert_eq!(
            reply.header("content-type"),
            "application/vnd.oci.image.index.v1+json"
        );
        assert_eq!(
            reply.json()["manifests"].as_array().unwrap().len(),
            count,
            "{query}"
        );
        assert_eq!(
            reply.headers.contains_key("oci-filters-applied"),
            !query.is_empty()
        );
    }
    let unknown = call(&service, "GET", &format!("/v2/y/referrers/{subject}"), b"").await;
    assert_eq!(unknown.is(200).json()["manifests"], serde_json::json!([]));
}

/// Lets everybody list, and pull only these.
#[derive(Debug)]
struct Only(BTreeSet<String>);

#[async_trait]
impl Authorizer for Only {
    async fn authorize(
        &self,
        _: &Identity,
        access: &Access<'_>,
    ) -> Result<Decision, RegistryError> {
        Ok(Decision::allow_if(match access {
            Access::Catalog => true,
            Access::Repository { name, .. } => self.0.contains(name.as_str()),
            _ => false,
        }))
    }
}

async fn repositories(count: usize) -> (Registry, Vec<String>) {
    let registry = Registry::new(MemoryStore::new());
    let service = RegistryService::new(registry.clone());
    let names: Vec<String> = (0..count).map(|number| format!("r{number:02}")).collect();
    for name in &names {
        push_index(&service, name, "t").await;
    }
    (registry, names)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_catalog_shows_what_may_be_pulled_and_no_other_name(
        mask in proptest::collection::vec(any::<bool>(), 12),
        n in 1_usize..14,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (registry, names) = repositories(mask.len()).await;
            let visible: Vec<String> = names
                .into_iter()
                .zip(&mask)
                .filter_map(|(name, shown)| shown.then_some(name))
                .collect();
            let only = Only(visible.iter().cloned().collect());
            let service = RegistryService::builder(registry).authorizer(only).build().unwrap();
            let pages = walk(&service, format!("/v2/_catalog?n={n}"), "repositories").await;
            assert!(pages.iter().all(|page| page.len() <= n));
            // A link only leads somewhere.
            assert!(pages.len() == 1 || pages.iter().all(|page| !page.is_empty()), "{pages:?}");
            assert_eq!(pages.concat(), visible);
        });
    }
}

#[tokio::test]
async fn the_whole_catalog() {
    let (registry, names) = repositories(5).await;
    let service = RegistryService::new(registry);
    for n in 1..7 {
        let pages = walk(&service, format!("/v2/_catalog?n={n}"), "repositories").await;
        assert_eq!(pages.concat(), names);
        assert_eq!(pages.len(), 5_usize.div_ceil(n));
    }
}

//! Few enough steps for all orders.

use std::sync::{Arc, Mutex};

use oci_core::error::StoreError;
use oci_core::store::{BlobStore, ManifestStore};
use oci_core::{Digest, Manifest};
use shuttle::scheduler::DfsScheduler;

use super::site::{Flaw, Site, Travel};
use super::{Scenario, Seen, run};
use crate::records::tests::harness::{Task, block_on, content, push_blob, put, repository};
use crate::records::tests::interleaved::{collect_blob, collect_link};

#[test]
fn in_every_order_an_acknowledged_manifest_has_its_blob() {
    every_order(put_and_taken_blob);
}

#[test]
fn in_every_order_an_acknowledged_manifest_has_its_link() {
    every_order(put_and_taken_link);
}

pub(super) fn put_and_taken_blob(site: &Site) -> &'static str {
    put_and_take(site, Takes::Blob)
}

pub(super) fn put_and_taken_link(site: &Site) -> &'static str {
    put_and_take(site, Takes::Link)
}

/// What a collector decides about, beside the push.
#[derive(Clone, Copy, Debug)]
enum Takes {
    Blob,
    Link,
}

fn put_and_take(site: &Site, takes: Takes) -> &'static str {
    // It is in its record.
    let config = content(1, 40);
    let digest = Digest::sha256(&config);
    block_on(push_blob(&site.alone(), &config)).unwrap();
    let manifest = bare(&config);
    let told = Arc::new(Mutex::new(None));
    let (store, tells, own) = (site.replica(), Arc::clone(&told), manifest.clone());
    let putting: Task = Box::pin(async move {
        let answer = put(&store, &own, &[]).await;
        *tells.lock().unwrap() = Some(answer);
    });
    let engine = site.replica().engine;
    let taking: Task = Box::pin(async move {
        match takes {
            Takes::Blob => collect_blob(&engine, digest).await,
            Takes::Link => collect_link(&engine, digest).await,
        }
    });
    site.run(vec![putting, taking]);
    let (store, name) = (site.alone(), repository("r"));
    let there =
        block_on(store.stat(&digest)).is_ok() && block_on(store.has_blob(&name, &digest)).unwrap();
    match told.lock().unwrap().take().unwrap() {
        Ok(_) => {
            assert!(there);
            "acknowledged"
        }
        Err(StoreError::MissingReferences(_)) => {
            assert!(!there);
            "refused"
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn every_order(scenario: Scenario) {
    let seen = Seen::default();
    let all = DfsScheduler::new(None, false);
    run(all, Travel::InTurn, Flaw::None, scenario, &seen);
    let seen = seen.lock().unwrap();
    println!("{seen:?}");
    assert!(seen["acknowledged"] > 0 && seen["refused"] > 0, "{seen:?}");
}

/// An image without layers.
fn bare(config: &[u8]) -> Manifest {
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::sha256(config),
            "size": config.len(),
        },
        "layers": [],
    });
    Manifest::parse(document.to_string().into(), None).unwrap()
}

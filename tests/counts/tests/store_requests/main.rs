//! What the records engine asks of its stores for each endpoint, compared with `store_requests.md`: on
//! an object store each of these is a request that is paid and waited for.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up should stop"
)]

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use oci_core::{Digest, Registry};
use oci_storage::records::{MemoryExtents, MemoryRecords, PartLimits, Records};
use registry_benches::{Client, content, endpoints};
use registry_counts::table::{Row, Table};
use serde_json::json;

mod counting;

use counting::{Counting, Counts};

#[test]
fn store_requests_of_each_endpoint() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/store_requests.md");
    let table = Table::read(table).expect("the table");
    let counts = Counts::default();
    let records = Counting::new(MemoryRecords::new(), &counts);
    let extents = Counting::new(MemoryExtents::with_limits(PartLimits::S3), &counts);
    let client = Client::new(Registry::new(Records::new(records, extents)));

    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a runtime");
    let mut rows = runtime.block_on(repeatable(&client, &counts));
    rows.extend(runtime.block_on(large(&client, &counts)));
    rows.push(runtime.block_on(new_manifest(&client, &counts)));
    let settled = table.settle(&rows, "cargo test -p registry-counts --test store_requests");
    if let Err(problem) = settled {
        panic!("{problem:#}");
    }
}

async fn repeatable(client: &Client, counts: &Counts) -> Vec<Row> {
    let endpoints = endpoints(client).await.expect("a filled registry");
    let mut rows = Vec::new();
    for endpoint in endpoints {
        // The second time: what is cached is known by then.
        for counted in [false, true] {
            let request = endpoint.prepare(client).await.expect("a request");
            counts.take();
            let answered = endpoint.send(client, request).await;
            let seen = counts.take();
            let answered = answered.expect("the expected answer");
            let cleared = endpoint.clear(client, &answered).await;
            cleared.expect("no upload stays open");
            if counted {
                rows.push(Row::new(endpoint.name, seen));
            }
        }
    }
    rows
}

/// A layer that takes several parts, pushed in one request and pulled.
async fn large(client: &Client, counts: &Counts) -> [Row; 2] {
    let layer = content(64 << 20, 9);
    let digest = Digest::sha256(&layer);
    counts.take();
    let pushed = client.push("bench/large", layer, &digest).await;
    pushed.expect("a push");
    let pushing = counts.take();
    let pulled = client.pull("bench/large", &digest).await;
    assert_eq!(pulled.expect("a pull"), 64 << 20);
    [
        Row::new("POST of a whole blob of 64 MiB, new", pushing),
        Row::new("GET blob of 64 MiB", counts.take()),
    ]
}

/// An image that the repository does not have, over ten layers that it has.
async fn new_manifest(client: &Client, counts: &Counts) -> Row {
    let mut layers = Vec::new();
    for n in 0..11 {
        let layer = content(16 << 10, 100 + n);
        let digest = Digest::sha256(&layer);
        let size = layer.len();
        let pushed = client.push("bench/new", layer, &digest).await;
        pushed.expect("a push");
        layers.push(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": digest,
            "size": size,
        }));
    }
    let config = layers.pop();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let document = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers,
    });
    let request = Request::builder()
        .method(Method::PUT)
        .uri("/v2/bench/new/manifests/latest")
        .header("content-type", media_type)
        .body(Full::new(Bytes::from(document.to_string())));
    counts.take();
    let (head, _) = client.call(request.expect("a request")).await;
    assert_eq!(head.status, StatusCode::CREATED);
    Row::new(
        "PUT manifest of 10 layers, new, with a new tag",
        counts.take(),
    )
}

//! How many requests the service is sent for each operation, as it bills them. The same numbers stand in
//! docs/object-storage.md.
#![expect(
    clippy::expect_used,
    reason = "helpers of tests say what they expect, as tests do"
)]

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use oci_core::{Digest, Registry};
use oci_storage::object::{Bucket, RequestCounts, Verdict};
use oci_storage::records::RecordsOptions;
use registry_benches::{Client, content};
use registry_object_storage_tests::Moto;
use serde_json::json;

const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Operation, and how often the service is asked to read, write, list and delete.
const EXPECTED: &[(&str, [u64; 4])] = &[
    ("POST of a whole blob of 4 KiB, new", [1, 2, 1, 0]),
    ("POST of a whole blob of 1 MiB, new", [1, 3, 1, 0]),
    ("POST of a whole blob of 20 MiB, new", [1, 7, 1, 0]),
    ("POST of a whole blob of 1 MiB, known", [2, 2, 1, 0]),
    ("HEAD blob", [4, 0, 0, 0]),
    ("GET blob of 1 MiB", [3, 0, 0, 0]),
    ("POST that begins an upload", [0, 2, 1, 0]),
    ("PATCH of 300 KiB", [1, 2, 0, 0]),
    (
        "11 blobs of an image, as docker pushes them",
        [44, 87, 11, 11],
    ),
    (
        "PUT manifest of 10 layers, new, with a new tag",
        [24, 15, 0, 0],
    ),
    ("GET manifest by tag", [2, 0, 0, 0]),
    (
        "an image of 10 layers, each blob in one POST",
        [36, 47, 11, 0],
    ),
    ("GET a page with one tag", [2, 0, 1, 0]),
    ("GET manifest by a tag that is not there", [1, 0, 0, 0]),
    (
        "PUT manifest of 1,000 layers that are not there",
        [200, 0, 0, 0],
    ),
];

struct Bench {
    client: Client,
    bucket: Bucket,
    before: RequestCounts,
    seen: Vec<(&'static str, [u64; 4])>,
}

impl Bench {
    fn note(&mut self, operation: &'static str) {
        let now = self.bucket.requests();
        let before = std::mem::replace(&mut self.before, now);
        self.seen.push((
            operation,
            [
                now.get - before.get,
                now.put - before.put,
                now.list - before.list,
                now.delete - before.delete,
            ],
        ));
    }

    /// What is asked between two notes and belongs to none.
    fn skip(&mut self) {
        self.before = self.bucket.requests();
    }

    async fn ask(&self, method: Method, target: &str, body: Bytes, expected: StatusCode) {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("content-type", MEDIA_TYPE)
            .body(Full::new(body))
            .expect("a request");
        let (head, _) = self.client.call(request).await;
        assert_eq!(head.status, expected, "{target}");
    }

    /// As clients do that send what they have in one request.
    async fn push(&self, repository: &str, blob: &Bytes) -> Digest {
        let digest = Digest::sha256(blob);
        let pushed = self.client.push(repository, blob.clone(), &digest).await;
        pushed.expect("a push");
        digest
    }

    /// As docker does: is it there, a session, one PATCH, a closing PUT.
    async fn push_like_docker(&self, repository: &str, blob: &Bytes) -> Digest {
        let digest = Digest::sha256(blob);
        let target = format!("/v2/{repository}/blobs/{digest}");
        self.ask(Method::HEAD, &target, Bytes::new(), StatusCode::NOT_FOUND)
            .await;
        let pushed = self
            .client
            .push_in_chunks(repository, blob, usize::MAX >> 1, &digest);
        pushed.await.expect("a push");
        digest
    }
}

fn manifest(config: (&Digest, usize), layers: &[(Digest, usize)]) -> Bytes {
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size)| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": digest, "size": size,
            })
        })
        .collect();
    let document = json!({
        "schemaVersion": 2, "mediaType": MEDIA_TYPE, "layers": layers,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.0, "size": config.1,
        },
    });
    document.to_string().into()
}

#[tokio::test]
async fn requests_of_each_operation() {
    let moto = Moto::shared(env!("CARGO_TARGET_TMPDIR"));
    let bucket = moto.options(&moto.fresh_root()).open().expect("a bucket");
    let store = bucket.records(&Verdict::default(), RecordsOptions::default());
    let mut bench = Bench {
        client: Client::new(Registry::new(store)),
        before: bucket.requests(),
        bucket,
        seen: Vec::new(),
    };

    let small = content(4 << 10, 1);
    let large = content(20 << 20, 2);
    bench.push("one", &small).await;
    bench.note("POST of a whole blob of 4 KiB, new");
    let layer = content(1 << 20, 3);
    let digest = bench.push("one", &layer).await;
    bench.note("POST of a whole blob of 1 MiB, new");
    bench.push("one", &large).await;
    bench.note("POST of a whole blob of 20 MiB, new");
    bench.push("one", &layer).await;
    bench.note("POST of a whole blob of 1 MiB, known");
    let target = format!("/v2/one/blobs/{digest}");
    bench
        .ask(Method::HEAD, &target, Bytes::new(), StatusCode::OK)
        .await;
    bench.note("HEAD blob");
    let pulled = bench.client.pull("one", &digest).await;
    assert_eq!(pulled.expect("a pull"), 1 << 20);
    bench.note("GET blob of 1 MiB");

    let session = bench.client.begin("one").await.expect("a session");
    bench.note("POST that begins an upload");
    let patched = bench.client.append(&session, content(300 << 10, 4)).await;
    patched.expect("an upload");
    bench.note("PATCH of 300 KiB");
    bench.client.cancel(&session).await.expect("an upload");
    bench.skip();

    let mut layers = Vec::new();
    for n in 0..10 {
        let layer = content(64 << 10, 100 + n);
        layers.push((bench.push_like_docker("image", &layer).await, layer.len()));
    }
    let config = content(2 << 10, 99);
    let digest = bench.push_like_docker("image", &config).await;
    bench.note("11 blobs of an image, as docker pushes them");
    let document = manifest((&digest, config.len()), &layers);
    let target = "/v2/image/manifests/latest";
    bench
        .ask(Method::PUT, target, document, StatusCode::CREATED)
        .await;
    bench.note("PUT manifest of 10 layers, new, with a new tag");
    bench
        .ask(Method::GET, target, Bytes::new(), StatusCode::OK)
        .await;
    bench.note("GET manifest by tag");

    let mut layers = Vec::new();
    for n in 0..10 {
        let layer = content(64 << 10, 200 + n);
        layers.push((bench.push("whole", &layer).await, layer.len()));
    }
    let digest = bench.push("whole", &config).await;
    let document = manifest((&digest, config.len()), &layers);
    let target = "/v2/whole/manifests/latest";
    bench
        .ask(Method::PUT, target, document, StatusCode::CREATED)
        .await;
    bench.note("an image of 10 layers, each blob in one POST");

    let tags = "/v2/image/tags/list?n=10";
    bench
        .ask(Method::GET, tags, Bytes::new(), StatusCode::OK)
        .await;
    bench.note("GET a page with one tag");
    let unknown = "/v2/image/manifests/lates";
    bench
        .ask(Method::GET, unknown, Bytes::new(), StatusCode::NOT_FOUND)
        .await;
    bench.note("GET manifest by a tag that is not there");

    let nothing: Vec<_> = (0..1000_u32)
        .map(|n| (Digest::sha256(&n.to_le_bytes()), 1))
        .collect();
    let document = manifest((&digest, config.len()), &nothing);
    bench
        .ask(Method::PUT, target, document, StatusCode::NOT_FOUND)
        .await;
    bench.note("PUT manifest of 1,000 layers that are not there");

    if bench.seen != EXPECTED {
        let seen = bench.seen.iter();
        let lines: Vec<_> = seen.map(|row| format!("    {row:?},\n")).collect();
        panic!(
            "the requests have changed; now they are\n{}",
            lines.concat()
        );
    }
}

//! The router and the range headers: what every request passes.
#![expect(clippy::expect_used, reason = "a bench that fails should stop")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use oci_core::Digest;
use oci_http::range::RequestedRange;
use oci_http::{ContentRange, Endpoint};

fn router(c: &mut Criterion) {
    let digest = Digest::sha256(b"content");
    let id = "0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11";
    let state = format!("_state=1048576&digest={digest}");
    let targets = [
        ("base", "/v2/".to_owned(), None),
        (
            "manifest by tag",
            "/v2/library/debian/manifests/bookworm".to_owned(),
            None,
        ),
        ("blob", format!("/v2/library/debian/blobs/{digest}"), None),
        (
            "upload",
            format!("/v2/library/debian/blobs/uploads/{id}"),
            Some(state.as_str()),
        ),
        (
            "tags page",
            "/v2/library/debian/tags/list".to_owned(),
            Some("n=100&last=v1.27.3"),
        ),
        (
            "encoded",
            format!(
                "/v2/library%2Dx/debian/blobs/{}",
                digest.to_string().replace(':', "%3A")
            ),
            None,
        ),
    ];
    let mut group = c.benchmark_group("requests/parse");
    for (name, path, query) in &targets {
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| Endpoint::parse(black_box(path), black_box(*query)).expect("an endpoint"));
        });
    }
    group.bench_function(BenchmarkId::from_parameter("not ours"), |b| {
        b.iter(|| Endpoint::parse(black_box("/v2/library/debian/favicon.ico"), None).is_err());
    });
    group.finish();

    let mut group = c.benchmark_group("requests/format");
    for (name, path, query) in &targets {
        let endpoint = Endpoint::parse(path, *query).expect("an endpoint");
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| black_box(&endpoint).to_string());
        });
    }
    group.finish();
}

fn ranges(c: &mut Criterion) {
    let mut group = c.benchmark_group("requests/range");
    group.bench_function("Content-Range", |b| {
        b.iter(|| {
            let range = black_box("10485760-20971519").parse::<ContentRange>();
            range.expect("a range")
        });
    });
    group.bench_function("Range", |b| {
        b.iter(|| RequestedRange::parse(black_box("bytes=10485760-20971519")));
    });
    group.bench_function("Range, of a blob of 1 GiB", |b| {
        b.iter(
            || match RequestedRange::parse(black_box("bytes=10485760-20971519")) {
                RequestedRange::Part(part) => part.resolve(black_box(1 << 30)),
                _ => None,
            },
        );
    });
    group.finish();
}

criterion_group!(benches, router, ranges);
criterion_main!(benches);

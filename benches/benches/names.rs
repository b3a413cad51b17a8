//! Names as they stand in every URL.
#![expect(clippy::expect_used, reason = "a bench that fails should stop")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use oci_core::{Digest, Reference, RepositoryName};

fn repositories(c: &mut Criterion) {
    let mut group = c.benchmark_group("names/repository");
    let longest = "part-of.a_name/".repeat(16) + "and-the-rest";
    for (name, text) in [("short", "library/debian"), ("long", longest.as_str())] {
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let name = black_box(text).parse::<RepositoryName>();
                name.expect("a name")
            });
        });
    }
    group.finish();
}

fn references(c: &mut Criterion) {
    let mut group = c.benchmark_group("names/reference");
    let digest = Digest::sha256(b"").to_string();
    for (name, text) in [("tag", "v1.27.3-alpine"), ("digest", digest.as_str())] {
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let reference = black_box(text).parse::<Reference>();
                reference.expect("a reference")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, repositories, references);
criterion_main!(benches);

//! Reading manifests: every push does it, and every push of an index for each child.
#![expect(clippy::expect_used, reason = "a bench that fails should stop")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use oci_core::Manifest;
use registry_benches::{image_index, image_manifest};

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("manifest/parse");
    for (name, bytes) in [
        ("image of 5 layers", image_manifest(5)),
        ("image of 100 layers", image_manifest(100)),
        ("index of 10", image_index(10)),
        // Nearly the most that a registry takes.
        ("index of 15000", image_index(15_000)),
    ] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| Manifest::parse(black_box(bytes.clone()), None).expect("a manifest"));
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);

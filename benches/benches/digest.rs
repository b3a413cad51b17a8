//! Hashing while bytes arrive, and what it costs to save and restore a hash between requests.
#![expect(clippy::expect_used, reason = "a bench that fails should stop")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use oci_core::{Algorithm, Digest, Hasher, HasherState};
use registry_benches::content;

/// What one frame of an upload holds.
const PIECE: usize = 64 * 1024;

fn streaming(c: &mut Criterion) {
    let bytes = content(4 << 20, 1);
    let mut group = c.benchmark_group("digest/streaming");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    for algorithm in Algorithm::ALL {
        group.bench_with_input(
            BenchmarkId::from_parameter(algorithm),
            &algorithm,
            |b, algorithm| {
                b.iter(|| {
                    let mut hasher = Hasher::new(*algorithm);
                    for piece in bytes.chunks(PIECE) {
                        hasher.update(black_box(piece));
                    }
                    hasher.finish()
                });
            },
        );
    }
    group.finish();
}

fn state(c: &mut Criterion) {
    let mut group = c.benchmark_group("digest/state");
    for algorithm in Algorithm::ALL {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&content(PIECE + 17, 2));
        let stored = hasher.state().as_bytes().to_vec();
        group.bench_function(BenchmarkId::new("save", algorithm), |b| {
            b.iter(|| black_box(&hasher).state());
        });
        group.bench_function(BenchmarkId::new("restore", algorithm), |b| {
            b.iter(|| {
                let state = HasherState::from_bytes(black_box(&stored)).expect("our own state");
                Hasher::restore(&state).expect("our own state")
            });
        });
    }
    group.finish();
}

fn text(c: &mut Criterion) {
    let mut group = c.benchmark_group("digest/text");
    for algorithm in Algorithm::ALL {
        let digest = Digest::of(algorithm, b"content");
        let text = digest.to_string();
        group.bench_function(BenchmarkId::new("parse", algorithm), |b| {
            b.iter(|| {
                black_box(text.as_str())
                    .parse::<Digest>()
                    .expect("a digest")
            });
        });
        group.bench_function(BenchmarkId::new("format", algorithm), |b| {
            b.iter(|| black_box(&digest).to_string());
        });
    }
    group.finish();
}

criterion_group!(benches, streaming, state, text);
criterion_main!(benches);

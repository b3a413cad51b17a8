//! Pushes through the whole service, without a network: on the memory store, which costs nothing, and
//! on the filesystem engine with everything synced.
//!
//! Pushing known content is no shortcut: it is received, hashed, written and put in place again.
#![expect(clippy::expect_used, reason = "a bench that fails should stop")]

use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use oci_core::memory::MemoryStore;
use oci_core::{Digest, Registry};
use oci_storage::filesystem::{Filesystem, Options};
use registry_benches::{Client, content};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// A store, and what has to live as long.
struct Store {
    name: &'static str,
    client: Client,
    _directory: Option<TempDir>,
}

fn stores() -> Vec<Store> {
    // Below the target directory: a real disk, where the default one may be memory.
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let filesystem = Filesystem::open(directory.path(), Options::default()).expect("a store");
    vec![
        Store {
            name: "memory",
            client: Client::new(Registry::new(MemoryStore::new())),
            _directory: None,
        },
        Store {
            name: "filesystem",
            client: Client::new(Registry::new(filesystem)),
            _directory: Some(directory),
        },
    ]
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

/// One blob of 1 MiB: in one request, and in a session of four chunks.
fn sequences(c: &mut Criterion) {
    let runtime = runtime();
    let bytes = content(1 << 20, 3);
    let digest = Digest::sha256(&bytes);
    let mut group = c.benchmark_group("uploads/1 MiB");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    for store in stores() {
        let client = &store.client;
        group.bench_function(BenchmarkId::new("one request", store.name), |b| {
            b.to_async(&runtime).iter(|| async {
                let pushed = client.push("bench/blob", bytes.clone(), &digest).await;
                pushed.expect("a push");
            });
        });
        group.bench_function(BenchmarkId::new("four chunks", store.name), |b| {
            b.to_async(&runtime).iter(|| async {
                let pushed = client.push_in_chunks("bench/blob", &bytes, 256 << 10, &digest);
                pushed.await.expect("a push");
            });
        });
        group.bench_function(BenchmarkId::new("pull", store.name), |b| {
            b.to_async(&runtime).iter(|| async {
                let pulled = client.pull("bench/blob", &digest).await.expect("a pull");
                assert_eq!(pulled, bytes.len() as u64);
            });
        });
    }
    group.finish();
}

/// Small blobs, alone and at once. On the filesystem the time of one is that of its syncs; many at
/// once share them.
fn group_commit(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("uploads/4 KiB at once");
    group.measurement_time(Duration::from_secs(8));
    for store in stores() {
        for clients in [1_u64, 4, 16, 64] {
            let blobs: Vec<(Bytes, Digest)> = (0..clients)
                .map(|n| content(4 << 10, n))
                .map(|bytes| (bytes.clone(), Digest::sha256(&bytes)))
                .collect();
            group.throughput(Throughput::Elements(clients));
            group.bench_function(BenchmarkId::new(store.name, clients), |b| {
                b.to_async(&runtime).iter(|| async {
                    let mut pushes = JoinSet::new();
                    for (bytes, digest) in blobs.iter().cloned() {
                        let client = store.client.clone();
                        pushes.spawn(async move {
                            let pushed = client.push("bench/small", bytes, &digest).await;
                            pushed.expect("a push");
                        });
                    }
                    pushes.join_all().await;
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, sequences, group_commit);
criterion_main!(benches);

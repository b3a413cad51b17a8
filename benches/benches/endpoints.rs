//! Processor time of one request to each endpoint, on all threads of the process: what the service and
//! the filesystem engine take, kernel included, without hyper, TLS and sockets.
//!
//! Not the time that passes: of a push that is mostly waiting for the disk, and not comparable between
//! disks. `uploads` measures that.
#![expect(clippy::expect_used, reason = "a bench that fails should stop")]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use oci_core::Registry;
use oci_storage::filesystem::{Filesystem, Options};
use registry_benches::{Client, endpoints};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

fn requests(c: &mut Criterion) {
    // One thread polls, as a connection does; the store has its own.
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a runtime");
    // Below the target directory: a real disk, where the default one may be memory.
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let store = Filesystem::open(directory.path(), Options::default()).expect("a store");
    let client = Client::new(Registry::new(store));
    let endpoints = runtime
        .block_on(endpoints(&client))
        .expect("a filled registry");

    let mut group = c.benchmark_group("endpoints/processor time");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(2));
    for endpoint in endpoints {
        group.bench_function(BenchmarkId::from_parameter(endpoint.name), |b| {
            b.iter_custom(|times| {
                runtime.block_on(async {
                    let mut spent = Duration::ZERO;
                    for _ in 0..times {
                        let request = endpoint.prepare(&client).await.expect("a request");
                        let before = processor_time();
                        let answered = endpoint.send(&client, request).await;
                        spent += processor_time().saturating_sub(before);
                        let answered = answered.expect("the expected answer");
                        let cleared = endpoint.clear(&client, &answered).await;
                        cleared.expect("no upload stays open");
                    }
                    spent
                })
            });
        });
    }
    group.finish();
}

/// What all threads of this process have used so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("time is not negative")
}

criterion_group!(benches, requests);
criterion_main!(benches);

//! Allocations of the service for each endpoint, compared with `allocations.md`.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up should stop"
)]

use std::{
    alloc::System,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use oci_core::{Registry, runtime::ThreadPool};
use oci_storage::filesystem::{Filesystem, Options};
use registry_benches::{Client, EndpointRequest, endpoints};
use registry_counts::table::{Row, Table};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tempfile::TempDir;

/// Counts for all threads of this program, which is why the one test here is alone in it.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn allocations_of_each_endpoint() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/allocations.md");
    let table = Table::read(table).expect("the table");
    let scratch = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let pool = ThreadPool::new(4);
    let mut options = Options::default();
    options.pool = Arc::new(pool.clone());
    let store = Filesystem::open(root(scratch.path()), options).expect("a store");
    let client = Client::new(
        Registry::builder(store)
            .pool(Arc::new(pool.clone()))
            .build(),
    );

    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a runtime");
    let rows: Vec<Row> = runtime.block_on(async {
        let endpoints = endpoints(&client).await.expect("a filled registry");
        let mut rows = Vec::new();
        for endpoint in endpoints {
            let seen = count(&endpoint, &client, &pool).await;
            rows.push(Row::new(endpoint.name, seen.to_vec()));
        }
        rows
    });
    let settled = table.settle(&rows, "cargo test -p registry-counts --test allocations");
    if let Err(problem) = settled {
        panic!("{problem:#}");
    }
}

/// A root whose path is as long on every machine: paths are most of what is allocated.
fn root(scratch: &Path) -> PathBuf {
    let given = scratch.as_os_str().len();
    scratch.join("x".repeat(PATH_LENGTH.saturating_sub(given + 1).max(1)))
}

/// How many allocations one request makes, and of how many bytes together. The median of a few: a queue
/// or a map that grows now and then is no cost of the request that it grows for.
async fn count(endpoint: &EndpointRequest, client: &Client, pool: &ThreadPool) -> [u64; 2] {
    let mut seen = Vec::new();
    // The store trusts what it knows of a link only if that has not just changed.
    registry_counts::pause(Duration::from_millis(200));
    for turn in 0..WARM_UPS + COUNTED {
        let request = endpoint.prepare(client).await.expect("a request");
        assert!(pool.wait_idle(PATIENCE), "the pool does not come to rest");
        let region = Region::new(ALLOCATOR);
        let answered = endpoint.send(client, request).await;
        assert!(pool.wait_idle(PATIENCE), "the pool does not come to rest");
        let change = region.change();
        let answered = answered.expect("the expected answer");
        let cleared = endpoint.clear(client, &answered).await;
        cleared.expect("no upload stays open");
        if turn >= WARM_UPS {
            let times = change.allocations + change.reallocations;
            let grown = change.bytes_reallocated.max(0).unsigned_abs();
            seen.push((times as u64, (change.bytes_allocated + grown) as u64));
        }
    }
    let (times, bytes) = seen.into_iter().unzip();
    [median(times), median(bytes)]
}

fn median(mut figures: Vec<u64>) -> u64 {
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

const PATH_LENGTH: usize = 120;
const WARM_UPS: usize = 3;
const COUNTED: usize = 11;
const PATIENCE: Duration = Duration::from_secs(60);

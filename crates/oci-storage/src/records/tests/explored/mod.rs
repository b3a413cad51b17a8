//! The engine itself, under the schedulers of [shuttle]: whatever order requests of several replicas arrive and
//! are answered in, what was acknowledged is whole.
//!
//! [`interleaved`](super::interleaved) and [`replicas`](super::replicas) throw dice for much at once, failures
//! included. Here each test is about two or three parties and one promise. Orders come from shuttle: at random,
//! with each request a task of its own; by priorities that change a few times ([PCT]); and where that comes to
//! an end, all of them. That this finds what it should, [`flaws`] proves with stores that break their contracts.
//!
//! A schedule that fails is printed with its seed; `SHUTTLE_RANDOM_SEED` repeats it. `REGISTRY_SCHEDULES=100000`
//! tries as many.
//!
//! [shuttle]: https://docs.rs/shuttle
//! [PCT]: https://www.microsoft.com/en-us/research/publication/a-randomized-scheduler-with-probabilistic-guarantees-of-finding-bugs/

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci_core::store::{BlobStore, CollectObserver, CollectOptions, Collected, Phase};
use oci_core::{Digest, StoreError};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use tokio::sync::Semaphore;

use super::harness::{Task, block_on, give_way, read_blob};
use super::interleaved::everything;
use crate::records::Records;
use site::{Flaw, Site, Travel};

mod every;
mod flaws;
mod manifests;
mod site;
mod uploads;

/// What several parties do on a site, how it may end for them, and how it did.
type Scenario = fn(&Site) -> &'static str;

/// Runs `scenario` in many orders, on stores that keep their contracts. It has to end in each of these ways.
fn explore(schedules: usize, scenario: Scenario, ends: &[&'static str]) {
    let asked = std::env::var("REGISTRY_SCHEDULES").ok();
    let schedules = asked.map_or(schedules, |text| text.parse().unwrap());
    let seen = Seen::default();
    for travel in [Travel::Alone, Travel::InTurn] {
        let random = RandomScheduler::new_from_seed(1, schedules);
        run(random, travel, Flaw::None, scenario, &seen);
    }
    let pct = PctScheduler::new_from_seed(1, PREEMPTIONS, schedules);
    run(pct, Travel::InTurn, Flaw::None, scenario, &seen);
    let seen = seen.lock().unwrap();
    println!("{seen:?}");
    assert!(ends.iter().all(|end| seen.contains_key(end)), "{seen:?}");
}

/// How often it ended how.
type Seen = Arc<Mutex<BTreeMap<&'static str, usize>>>;

fn run(
    scheduler: impl Scheduler + 'static,
    travel: Travel,
    flaw: Flaw,
    scenario: Scenario,
    seen: &Seen,
) {
    let mut config = Config::new();
    config.stack_size = STACK;
    let seen = Arc::clone(seen);
    Runner::new(scheduler, config).run(move || {
        let end = scenario(&Site::new(travel, flaw));
        *seen.lock().unwrap().entry(end).or_default() += 1;
    });
}

/// A collection that spares nothing, by a clock that is so far ahead that the bytes of every upload look left
/// behind and every other collector looks dead.
async fn collect(store: &Records) {
    collect_with(store, &everything(), Marked::default()).await;
}

async fn collect_with(store: &Records, options: &CollectOptions, marked: Marked) {
    // Whatever it ends with: it may have been overtaken.
    let _ = store
        .engine
        .collect(options, Arc::new(marked.clone()))
        .await;
    marked.0.add_permits(MANY);
    let _ = store.engine.sweep(Duration::from_secs(3_600)).await;
}

/// Tells those who would come too early that a collector has looked at everything, and is about to decide.
#[derive(Clone, Debug)]
struct Marked(Arc<Semaphore>);

impl Default for Marked {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Marked {
    /// Whoever has decided to wait for that waits for that.
    async fn perhaps_wait(&self) {
        if shuttle::rand::thread_rng().gen_bool(0.5) {
            self.0.acquire().await.unwrap().forget();
        }
    }
}

impl CollectObserver for Marked {
    fn progress(&self, phase: Phase, _: &Collected) {
        if phase == Phase::Marked {
            self.0.add_permits(MANY);
        }
    }
}

const AHEAD: i64 = 7_200;
const MANY: usize = 9;

/// A client that has had enough at some time.
fn leaving(client: impl Future<Output = ()> + Send + 'static) -> Task {
    Box::pin(async move {
        let client = shuttle::future::spawn(client);
        for _ in 0..4 {
            give_way().await;
        }
        client.abort();
        let _ = client.await;
    })
}

/// Whether a blob can be seen, which then is whole.
fn is_there(site: &Site, bytes: &[u8]) -> bool {
    let (store, digest) = (site.alone(), Digest::sha256(bytes));
    block_on(async {
        match store.stat(&digest).await {
            Ok(_) => {
                let read = read_blob(&store, &digest).await;
                assert!(read.unwrap() == bytes, "the content is another");
                true
            }
            Err(StoreError::NotFound) => false,
            Err(error) => panic!("{error:?}"),
        }
    })
}

/// The depth of PCT: how many orders of two steps have to be just so for something to go wrong, which it then
/// finds with a known probability.
const PREEMPTIONS: usize = 4;
/// In bytes. Futures of an unoptimised build are large.
const STACK: usize = 1 << 20;

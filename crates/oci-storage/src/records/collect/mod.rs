//! The collector: removes what nobody refers to, beside pushes and pulls of any number of processes.
//!
//! What it does was model-checked before it was written: `tests/models`, "the records engine". A run looks at
//! everything first and removes nothing ([`look`]); what it finds then is a hint. Only then is each candidate
//! decided on its own ([`remove`]): condemned by one swap, its references listed, and ended or brought back by
//! another swap. So a run can be cut off anywhere, and any number of them may be at work at once; a lease
//! ([`lease`]) keeps them from doing the same work twice. No clock takes part in that argument, but for the
//! thirty days after which the record of what is gone is removed as well ([`tombstones`]).
//!
//! What is damaged, or of a kind that this version does not write, keeps all that it might need.

use std::sync::Arc;
use std::time::{Duration, Instant};

use oci_core::StoreError;
use oci_core::store::{CollectEnd, CollectObserver, CollectOptions, Collected, Phase};

use super::Engine;

mod cursor;
mod elsewhere;
mod lease;
mod look;
mod orphans;
mod references;
mod remove;
mod tombstones;
mod untagged;

use elsewhere::Elsewhere;
use lease::Lease;
pub(super) use lease::Watch;
use references::Manifests;

impl Engine {
    /// One run. Dropping the future ends it after the calls that are under way.
    pub(super) async fn collect(
        self: &Arc<Self>,
        options: &CollectOptions,
        observer: Arc<dyn CollectObserver>,
    ) -> Result<Collected, StoreError> {
        if !self.can_collect() {
            return Err(StoreError::Unsupported(
                "garbage collection where conditional writes or listings cannot be relied on: see the \
                 message at start about the bucket, or update the storage service",
            ));
        }
        let began = Instant::now();
        let mut run = Run {
            engine: Arc::clone(self),
            options: options.clone(),
            observer,
            now: self.now(),
            collected: Collected::default(),
            manifests: Manifests::default(),
            elsewhere: Elsewhere::default(),
            lease: None,
            failures: 0,
        };
        run.collected.end = run.whole().await?;
        if let Some(lease) = run.lease.take() {
            let complete = run.collected.end == CollectEnd::Complete;
            lease.release(complete).await;
        }
        run.collected.duration = began.elapsed();
        Ok(run.collected)
    }

    /// Whether the stores keep the contracts that collection rests on.
    pub(super) fn can_collect(&self) -> bool {
        self.records.guarantees().consistent && self.extents.guarantees().consistent
    }
}

/// A run, and what it has found and done so far.
struct Run {
    engine: Arc<Engine>,
    options: CollectOptions,
    observer: Arc<dyn CollectObserver>,
    /// When it began: what is younger then is younger later.
    now: u64,
    collected: Collected,
    manifests: Manifests,
    elsewhere: Elsewhere,
    lease: Option<Lease>,
    /// How many candidates could not be decided.
    failures: u32,
}

impl Run {
    async fn whole(&mut self) -> Result<CollectEnd, StoreError> {
        if !self.options.dry_run {
            let Some(lease) = self.engine.take_lease(self.options.unless_within).await? else {
                return Ok(CollectEnd::Busy);
            };
            self.lease = Some(lease);
        }
        let mut first = true;
        loop {
            let Some(found) = self.look(first).await? else {
                return Ok(CollectEnd::Busy);
            };
            if first {
                self.observer.progress(Phase::Marked, &self.collected);
                if self.options.dry_run {
                    return Ok(CollectEnd::Complete);
                }
                let brake = self.options.brake.as_ref();
                if brake.is_some_and(|brake| self.collected.is_unusual(brake)) {
                    return Ok(CollectEnd::Braked);
                }
            }
            first = false;
            let more = found.is_full();
            let before = self.removed();
            if !self.remove(found).await? {
                return Ok(CollectEnd::Busy);
            }
            if !more || self.removed() == before {
                break;
            }
        }
        if !self.bury().await? {
            return Ok(CollectEnd::Busy);
        }
        Ok(CollectEnd::Complete)
    }

    fn removed(&self) -> u64 {
        let Collected {
            removed,
            removed_orphans,
            removed_links,
            removed_manifests,
            ..
        } = self.collected;
        removed.count + removed_orphans.count + removed_links + removed_manifests
    }

    /// Called now and then. `false` if another collector has taken over.
    async fn goes_on(&mut self, phase: Phase) -> Result<bool, StoreError> {
        self.observer.progress(phase, &self.collected);
        match &mut self.lease {
            Some(lease) => lease.renew().await,
            None => Ok(true),
        }
    }

    /// Whether nobody was told of it for the grace period. What is from the future is new.
    fn is_old(&self, touched: u64) -> bool {
        is_old(self.now, touched, self.options.grace)
    }

    /// Says that something keeps all it might need.
    fn unclear(&mut self, what: &str, why: &str) {
        self.collected.kept_whole += 1;
        self.observer.kept_whole(what, why);
    }

    /// A candidate that could not be decided is kept; a store that fails again and again ends the run.
    fn failed(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.failures += 1;
        if self.failures > MOST_FAILURES {
            return Err(error);
        }
        Ok(())
    }
}

fn is_old(now: u64, touched: u64, grace: Duration) -> bool {
    grace.is_zero() || now.saturating_sub(touched) >= grace.as_secs()
}

/// How many keys are asked for at once.
const PAGE: usize = 1000;
/// How many candidates are decided between two looks at the lease.
const BATCH: usize = 256;
/// How many candidates of a kind are remembered. If there are more, the run looks again.
const MOST: usize = if cfg!(test) { 100 } else { 100_000 };
const MOST_FAILURES: u32 = 16;

//! Collecting garbage, and what is known of collections so far.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::Registry;
use crate::error::StoreError;
use crate::store::{Amount, CollectEnd, CollectObserver, CollectOptions, Collected};

impl Registry {
    /// Removes content that nothing refers to, while pushes and pulls go on.
    ///
    /// Dropping the future ends the collection after the batch that it is busy with.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] if the store cannot; else whatever could not be read, and then nothing
    /// more is removed. For operators, not for clients: the text may name paths.
    pub async fn collect(
        &self,
        options: &CollectOptions,
        observer: Arc<dyn CollectObserver>,
    ) -> Result<Collected, StoreError> {
        let collections = &self.inner.collections;
        collections.change(|totals| totals.running += 1);
        let running = Running(collections);
        let outcome = self.inner.blobs.collect(options, observer).await;
        drop(running);
        collections.change(|totals| totals.note(&outcome, options.dry_run));
        outcome
    }

    /// What collections by this registry did so far; for metrics.
    pub fn collections(&self) -> Collections {
        self.inner.collections.change(|totals| totals.clone())
    }
}

/// What the collections of one [`Registry`] did since it was built.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Collections {
    /// How many are at work now.
    pub running: u64,
    /// How many ended by themselves, dry runs left out.
    pub runs: u64,
    /// Of these, the ones that left something for the next time: see [`CollectEnd`].
    pub incomplete: u64,
    /// How many failed.
    pub failures: u64,
    /// Content removed by all of them.
    pub removed: Amount,
    /// Bytes that were part of no content, removed by all of them.
    pub removed_orphans: Amount,
    /// Links of blobs removed by all of them.
    pub removed_links: u64,
    /// Manifests removed by all of them.
    pub removed_manifests: u64,
    /// What the last one found and did, if it did not fail.
    pub last: Option<Collected>,
    /// When the last one ended that removed all there was to remove.
    pub last_complete: Option<SystemTime>,
}

impl Collections {
    fn note(&mut self, outcome: &Result<Collected, StoreError>, dry_run: bool) {
        match outcome {
            Err(_) => self.failures += 1,
            Ok(_) if dry_run => {}
            Ok(collected) => {
                self.runs += 1;
                for (all, more) in [
                    (&mut self.removed, collected.removed),
                    (&mut self.removed_orphans, collected.removed_orphans),
                ] {
                    all.count += more.count;
                    all.bytes = all.bytes.saturating_add(more.bytes);
                }
                self.removed_links += collected.removed_links;
                self.removed_manifests += collected.removed_manifests;
                if collected.end == CollectEnd::Complete {
                    self.last_complete = Some(SystemTime::now());
                } else {
                    self.incomplete += 1;
                }
                self.last = Some(collected.clone());
            }
        }
    }
}

/// The totals, shared.
#[derive(Debug, Default)]
pub(super) struct Totals(Mutex<Collections>);

impl Totals {
    fn change<T>(&self, change: impl FnOnce(&mut Collections) -> T) -> T {
        // Each change leaves them sound at each step.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts as running until it is dropped, also with the future.
struct Running<'a>(&'a Totals);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.change(|totals| totals.running -= 1);
    }
}

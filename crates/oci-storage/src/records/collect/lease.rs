//! One collector at a time, as far as that saves work.
//!
//! The holder writes its record again every now and then. Others watch: a record that has not changed
//! for a while by their own clock, between two looks of theirs, belongs to a process that is gone.
//! Nothing rests on there being only one: two at once do the same work twice. Where one process has the store
//! to itself, whoever else's lease it finds is that of a process that is gone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oci_core::StoreError;

use super::super::Engine;
use super::super::access::Swap;
use super::super::encoding::Nonce;
use super::super::keys::Key;
use super::super::model::LeaseRecord;
use super::super::store::Version;

/// What this process knows of leases.
#[derive(Debug, Default)]
pub(in super::super) struct Watch {
    /// What it last saw of somebody else's, and when it first looked like that.
    seen: Mutex<Option<(Version, u64)>>,
    /// The one it last took itself.
    own: Mutex<Option<Nonce>>,
}

impl Watch {
    fn is_own(&self, holder: Nonce) -> bool {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) == Some(holder)
    }

    fn take(&self, holder: Nonce) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(holder);
    }

    /// Whether the lease has not changed for so long that its holder must be gone.
    fn is_abandoned(&self, version: &Version, now: u64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some((known, since)) if known == version => now.saturating_sub(*since) >= PATIENCE,
            _ => {
                *seen = Some((version.clone(), now));
                false
            }
        }
    }
}

impl Engine {
    /// The lease, unless another collector has it, or one was complete that began less than `unless_within` ago.
    pub(in super::super) async fn take_lease(
        self: &Arc<Self>,
        unless_within: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let found = self.get::<LeaseRecord>(&Key::Lease).await?;
        let now = self.now();
        if let (Some(version), Some(held)) = (&found.version, found.header())
            && let Some(holder) = held.holder
            && (self.records.guarantees().shared || self.watch.is_own(holder))
            && !self.watch.is_abandoned(version, now)
            // A command that runs once sees it once. Clocks differ by less than this.
            && now.saturating_sub(held.renewed) < LONG_AGO
        {
            return Ok(None);
        }
        let complete = found.header().and_then(|last| last.complete);
        // A clock that was far ahead must not keep everybody from it for long.
        if complete.is_some_and(|began| now.abs_diff(began) < unless_within.as_secs()) {
            return Ok(None);
        }
        let mut lease = Lease {
            engine: Arc::clone(self),
            holder: self.nonce(),
            version: found.version,
            began: now,
            renewed: now,
            complete,
        };
        if !lease.write().await? {
            return Ok(None);
        }
        self.watch.take(lease.holder);
        Ok(Some(lease))
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(in super::super) struct Lease {
    engine: Arc<Engine>,
    holder: Nonce,
    /// As it was last written. `None` if it is not held any more, or never was.
    version: Option<Version>,
    began: u64,
    renewed: u64,
    /// When the last run that was complete began.
    complete: Option<u64>,
}

impl Lease {
    /// Writes it again if that is due. `false` if somebody else has it now.
    pub(in super::super) async fn renew(&mut self) -> Result<bool, StoreError> {
        if self.engine.now().saturating_sub(self.renewed) < RENEWAL {
            return Ok(true);
        }
        self.write().await
    }

    async fn write(&mut self) -> Result<bool, StoreError> {
        let record = LeaseRecord {
            holder: Some(self.holder),
            renewed: self.engine.now(),
            complete: self.complete,
        };
        let before = self.version.take();
        let swap = self.engine.swap(&Key::Lease, before.as_ref(), &record, &[]);
        let Swap::Won(version, _) = swap.await? else {
            return Ok(false);
        };
        self.version = Some(version);
        self.renewed = record.renewed;
        Ok(true)
    }

    /// Gives it back, and notes whether the run was complete.
    pub(in super::super) async fn release(mut self, complete: bool) {
        if complete {
            self.complete = Some(self.began);
        }
        if let Some(version) = self.version.take() {
            free(&self.engine, version, self.complete).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(version) = self.version.take() {
            let (engine, complete) = (Arc::clone(&self.engine), self.complete);
            let spawn = Arc::clone(&engine.options.spawn);
            spawn.spawn(Box::pin(async move {
                free(&engine, version, complete).await;
            }));
        }
    }
}

/// What fails here is waited for by the next.
async fn free(engine: &Engine, version: Version, complete: Option<u64>) {
    let record = LeaseRecord {
        holder: None,
        renewed: engine.now(),
        complete,
    };
    let _ = engine.swap(&Key::Lease, Some(&version), &record, &[]).await;
}

/// How often it is written, in seconds.
const RENEWAL: u64 = 30;
/// How long it may stay as it is while somebody watches.
const PATIENCE: u64 = 180;
/// How old it may be by its holder's clock: more than clocks differ by.
const LONG_AGO: u64 = 3600;

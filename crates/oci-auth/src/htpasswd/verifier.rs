//! Verifying passwords: few at once, each only once, and all in the same time.

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use oci_core::runtime::{BlockingPool, Clock, ThreadPool};
use oci_core::{ErrorCode, RegistryError};

use super::cache::{Accepted, CacheKey, Keyer};
use super::hash::PasswordHash;
use super::options::HtpasswdOptions;
use super::table::HtpasswdTable;
use crate::basic::BasicCredentials;

/// Verifies one password: bcrypt, or what a test counts with.
pub(super) type Check = Arc<dyn Fn(&str, &PasswordHash) -> bool + Send + Sync>;

/// The users of one state of the file, and what was learned about them. When the file changes, all
/// of it goes at once: nothing that was true of the old file can be mistaken for true of the new.
pub(super) struct Generation {
    table: HtpasswdTable,
    /// Stands in for the hash that a user does not have.
    decoy: PasswordHash,
    verdicts: Mutex<Verdicts>,
}

struct Verdicts {
    accepted: Accepted,
    /// Who waits for each verification that is under way.
    flights: HashMap<CacheKey, Vec<oneshot::Sender<bool>>>,
}

impl Generation {
    pub(super) fn new(table: HtpasswdTable, options: &HtpasswdOptions) -> Self {
        let cost = table.highest_cost().unwrap_or(PasswordHash::DEFAULT_COST);
        let accepted = Accepted::new(options.cache_capacity, options.cache_ttl);
        Self {
            table,
            decoy: PasswordHash::decoy(cost),
            verdicts: Mutex::new(Verdicts {
                accepted,
                flights: HashMap::new(),
            }),
        }
    }

    /// Whether somebody who is among these users is not among those.
    pub(super) fn loses_users(&self, new: &HtpasswdTable) -> bool {
        self.table.users().any(|user| new.hash(user).is_none())
    }

    /// The hash that the user has, or else the decoy.
    fn hash(&self, user: &str) -> &PasswordHash {
        self.table.hash(user).unwrap_or(&self.decoy)
    }

    /// Verifies a password. A wrong one costs the same for every user there is or is not: as much as
    /// the most expensive hash of the table.
    fn judge(&self, check: &Check, credentials: &BasicCredentials) -> bool {
        let hash = self.hash(credentials.user());
        let known = self.table.hash(credentials.user()).is_some();
        if check(credentials.password(), hash) && known {
            return true;
        }
        // Each step of the cost doubles the work: 2^c + (2^c + … + 2^(max-1)) = 2^max.
        for cost in hash.cost()..self.decoy.cost() {
            let decoy = PasswordHash::decoy(cost);
            black_box(check(credentials.password(), &decoy));
        }
        false
    }

    fn verdicts(&self) -> MutexGuard<'_, Verdicts> {
        // Whole entries go in and out, so it is sound after a panic.
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("users", &self.table.len())
            .finish_non_exhaustive()
    }
}

/// The threads that verify, and the queue in front of them.
pub(super) struct Verifier {
    pool: ThreadPool,
    busy: Arc<AtomicUsize>,
    limit: usize,
    keyer: Keyer,
    clock: Arc<dyn Clock>,
    check: Check,
}

impl Verifier {
    pub(super) fn new(options: &HtpasswdOptions, secret: &[u8; 64], check: Check) -> Self {
        Self {
            pool: ThreadPool::new(options.verify_threads),
            busy: Arc::new(AtomicUsize::new(0)),
            limit: options.verify_threads.saturating_add(options.verify_queue),
            keyer: Keyer::new(secret),
            clock: Arc::clone(&options.clock),
            check,
        }
    }

    /// Whether the credentials are right.
    ///
    /// Cancel safe: a verification that nobody waits for any more is not begun, or else runs to its
    /// end and is remembered.
    ///
    /// # Errors
    /// 429 if too many wait already, 503 if the verification got lost.
    pub(super) async fn verify(
        &self,
        generation: &Arc<Generation>,
        credentials: BasicCredentials,
    ) -> Result<bool, RegistryError> {
        let hash = generation.hash(credentials.user());
        let key = self
            .keyer
            .key(credentials.user(), credentials.password(), hash.as_str());
        let (sender, receiver) = oneshot::channel();
        let slot = {
            let mut verdicts = generation.verdicts();
            if verdicts.accepted.contains(&key, self.clock.now()) {
                return Ok(true);
            }
            if let Some(waiting) = verdicts.flights.get_mut(&key) {
                waiting.push(sender);
                None
            } else {
                let slot = self.enter()?;
                verdicts.flights.insert(key, vec![sender]);
                Some(slot)
            }
        };
        if let Some(slot) = slot {
            let mut flight = Flight {
                generation: Arc::clone(generation),
                key,
                slot: Some(slot),
                over: false,
            };
            let (check, clock) = (Arc::clone(&self.check), Arc::clone(&self.clock));
            self.pool.execute(Box::new(move || {
                if flight.is_abandoned() {
                    return;
                }
                let right = flight.generation.judge(&check, &credentials);
                flight.land(right, clock.as_ref());
            }));
        }
        receiver.await.map_err(|_| {
            RegistryError::new(
                ErrorCode::Unavailable,
                "the password could not be checked; try again shortly",
            )
            .with_retry_after(RETRY)
        })
    }

    fn enter(&self) -> Result<Slot, RegistryError> {
        let enter = |busy| (busy < self.limit).then_some(busy + 1);
        match self
            .busy
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter)
        {
            Ok(_) => Ok(Slot(Arc::clone(&self.busy))),
            Err(_) => Err(RegistryError::new(
                ErrorCode::TooManyRequests,
                "too many passwords are waiting to be checked; try again in a second",
            )
            .with_retry_after(RETRY)),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("busy", &self.busy)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A place in the queue or at work.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A verification under way. However it ends, nobody goes on waiting for it.
struct Flight {
    generation: Arc<Generation>,
    key: CacheKey,
    /// Given back before anybody wakes, so that a client with its answer finds room for the next
    /// question.
    slot: Option<Slot>,
    /// Whether the entry under the key is another flight's by now.
    over: bool,
}

impl Flight {
    /// Whether all who waited have gone; then it is over, and who comes later begins a new one.
    fn is_abandoned(&mut self) -> bool {
        let mut verdicts = self.generation.verdicts();
        let abandoned = verdicts
            .flights
            .get(&self.key)
            .is_none_or(|waiting| waiting.iter().all(oneshot::Sender::is_canceled));
        if abandoned {
            verdicts.flights.remove(&self.key);
            self.over = true;
        }
        abandoned
    }

    fn land(mut self, right: bool, clock: &dyn Clock) {
        self.slot = None;
        let waiting = {
            let mut verdicts = self.generation.verdicts();
            if right {
                verdicts.accepted.insert(self.key, clock.now());
            }
            self.over = true;
            verdicts.flights.remove(&self.key)
        };
        for sender in waiting.into_iter().flatten() {
            // Nobody may be waiting any more.
            let _ = sender.send(right);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.slot = None;
        if self.over {
            return;
        }
        let lost = self.generation.verdicts().flights.remove(&self.key);
        // Outside the lock, because it wakes those who wait.
        drop(lost);
    }
}

/// The queue is worth some seconds at most.
const RETRY: Duration = Duration::from_secs(1);

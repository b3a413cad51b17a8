//! Group commit: all who wait for durability at a time share one flush and one sync.

use std::collections::HashSet;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Shared;
use super::error::Fault;

/// Who waits, and what is not durable yet.
#[derive(Debug)]
pub(super) struct GroupCommit {
    state: Mutex<State>,
    /// sled's own file.
    file: File,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<oneshot::Sender<()>>,
    /// Whether somebody is flushing, and will look at `waiting` again.
    at_work: bool,
    /// Records written since the last flush began.
    fresh: HashSet<String>,
    /// Those that the flush at work makes durable.
    flushing: HashSet<String>,
    /// Why nothing can be made durable any more.
    broken: Option<String>,
}

impl GroupCommit {
    pub(super) fn new(file: File) -> Self {
        Self {
            state: Mutex::default(),
            file,
        }
    }

    /// Fails if an earlier sync did.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match &self.lock().broken {
            None => Ok(()),
            Some(reason) => Err(Fault::Unavailable(
                format!("the database could not be synced and takes part in nothing any more; restart the process: {reason}")
                    .into(),
            )),
        }
    }

    /// Notes that a record is not durable yet. Called before others can read it.
    pub(super) fn note(&self, key: &str) {
        self.lock().fresh.insert(key.to_owned());
    }

    /// Whether what was just read under `key`, or below it if that ends with `/`, may not be durable
    /// yet. Nobody is told of it before it is.
    pub(super) fn is_fresh(&self, key: &str) -> bool {
        let state = self.lock();
        let mut sets = [&state.fresh, &state.flushing].into_iter();
        if key.ends_with('/') {
            sets.any(|set| set.iter().any(|fresh| fresh.starts_with(key)))
        } else {
            sets.any(|set| set.contains(key))
        }
    }

    /// Waits until all that was written before this call is durable.
    pub(super) async fn wait(shared: Arc<Shared>) -> Result<(), Fault> {
        let (sender, receiver) = oneshot::channel();
        let begin = {
            let mut state = shared.commits.lock();
            state.waiting.push(sender);
            !std::mem::replace(&mut state.at_work, true)
        };
        let pool = Arc::clone(&shared.options.pool);
        let commits = Arc::clone(&shared);
        if begin {
            let leader = Leader {
                shared,
                done: false,
            };
            pool.execute(Box::new(move || leader.work()));
        }
        let synced = receiver.await;
        commits.commits.check()?;
        synced.map_err(|_| Fault::Unavailable("the database was closed".into()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who flushes for all. If it ends before its work, by a panic or because the pool is gone, nobody
/// waits for ever.
struct Leader {
    shared: Arc<Shared>,
    done: bool,
}

impl Leader {
    fn work(mut self) {
        while let Some(waiting) = self.begin() {
            match self.shared.flush() {
                Ok(()) => {
                    self.shared.commits.lock().flushing.clear();
                    for sender in waiting {
                        // Who does not wait any more does not need to know.
                        let _ = sender.send(());
                    }
                }
                // Dropping the senders wakes their waiters, who then see why.
                Err(reason) => {
                    self.shared.commits.lock().broken.get_or_insert(reason);
                }
            }
        }
        self.done = true;
    }

    fn begin(&self) -> Option<Vec<oneshot::Sender<()>>> {
        // Not between the note of a change and the change: this flush would not be the one that makes
        // it durable.
        let _changes = self.shared.changes();
        let mut state = self.shared.commits.lock();
        if state.waiting.is_empty() || state.broken.is_some() {
            state.waiting.clear();
            state.at_work = false;
            return None;
        }
        let fresh = std::mem::take(&mut state.fresh);
        state.flushing.extend(fresh);
        Some(std::mem::take(&mut state.waiting))
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.shared.commits.lock();
        state
            .broken
            .get_or_insert_with(|| "the flush did not return".to_owned());
        state.waiting.clear();
        // The next one who waits looks again, and finds it broken.
        state.at_work = false;
    }
}

impl Shared {
    #[expect(
        clippy::disallowed_methods,
        reason = "sled's flush leaves the file's length and the disk's cache alone; this is the one place that makes its file durable"
    )]
    pub(super) fn flush(&self) -> Result<(), String> {
        self.database
            .flush()
            .map_err(|error| format!("flush: {error}"))?;
        self.commits
            .file
            .sync_data()
            .map_err(|error| format!("fsync: {error}"))
    }
}

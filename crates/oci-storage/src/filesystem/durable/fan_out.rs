//! Syncing many directories at once: a disk works on many requests as fast as on one.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::{Disk, lock};

impl Disk {
    /// Syncs each of `directories` and says how each went. Blocks.
    pub(super) fn sync_directories(
        self: &Arc<Self>,
        directories: Vec<&Path>,
    ) -> HashMap<PathBuf, io::Result<()>> {
        let helpers = (directories.len() / SHARE).min(HELPERS);
        let shared = Arc::new(FanOut {
            state: Mutex::new(State {
                waiting: directories.into_iter().map(Path::to_owned).collect(),
                running: 0,
                done: HashMap::new(),
            }),
            idle: Condvar::new(),
        });
        for _ in 0..helpers {
            let (disk, shared) = (Arc::clone(self), Arc::clone(&shared));
            self.pool.execute(Box::new(move || shared.work(&disk)));
        }
        // This thread does what nobody else does: were the pool too busy to help, all of it.
        shared.work(self);
        let state = lock(&shared.state);
        let ended = shared.idle.wait_while(state, |state| state.running > 0);
        let mut state = ended.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.done)
    }
}

#[derive(Debug)]
struct FanOut {
    state: Mutex<State>,
    /// Notified when nobody is at work any more.
    idle: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Vec<PathBuf>,
    running: usize,
    done: HashMap<PathBuf, io::Result<()>>,
}

impl FanOut {
    fn work(&self, disk: &Disk) {
        loop {
            let mut state = lock(&self.state);
            let Some(path) = state.waiting.pop() else {
                return;
            };
            state.running += 1;
            drop(state);
            let running = Running(self);
            let result = disk.sync_directory(&path);
            lock(&self.state).done.insert(path, result);
            drop(running);
        }
    }
}

/// Counts as running until it is dropped, also by a panic: nobody must wait for ever.
struct Running<'a>(&'a FanOut);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.running -= 1;
        if state.running == 0 {
            drop(state);
            self.0.idle.notify_all();
        }
    }
}

/// How many directories are worth waking another thread for.
const SHARE: usize = 3;
/// Beyond this a disk does not become faster.
const HELPERS: usize = 7;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use oci_core::runtime::{SystemIds, ThreadPool};

    use super::super::super::layout::Layout;
    use super::super::super::listing::{Listings, Trial};
    use super::super::{DiskOperation, Durability, FaultHook};
    use super::*;

    #[test]
    fn every_directory_is_synced_once_and_a_failure_is_its_own() {
        let root = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..40).map(|i| root.path().join(i.to_string())).collect();
        for path in &paths {
            std::fs::create_dir(path).unwrap();
        }
        let synced = Arc::new(AtomicUsize::new(0));
        let (count, bad) = (Arc::clone(&synced), root.path().join("7"));
        let hook: FaultHook = Arc::new(move |operation, path| {
            assert_eq!(operation, DiskOperation::SyncDirectory);
            count.fetch_add(1, Ordering::Relaxed);
            if path == bad {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        });
        for threads in [1, 4] {
            let layout = Layout::new(root.path());
            let disk = Arc::new(Disk::new(
                root.path(),
                layout.temporary(),
                Listings::new(&layout, 1 << 20, Trial::default()),
                Arc::new(ThreadPool::new(threads)),
                Arc::new(SystemIds::new()),
                Durability::Full,
                Some(Arc::clone(&hook)),
            ));
            let outcomes = disk.sync_directories(paths.iter().map(PathBuf::as_path).collect());
            assert_eq!(outcomes.len(), 40);
            for (path, outcome) in outcomes {
                assert_eq!(outcome.is_err(), path.ends_with("7"), "{}", path.display());
            }
        }
        assert_eq!(synced.load(Ordering::Relaxed), 80);
    }
}

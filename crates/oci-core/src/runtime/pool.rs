//! Blocking work (file reads, fsync, locks) runs on a pool, never on the thread that polls a request.

use std::collections::VecDeque;
use std::fmt;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;

/// A piece of blocking work. It always runs to its end, whoever still waits for it.
pub type BlockingTask = Box<dyn FnOnce() + Send + 'static>;

/// Threads for blocking work.
///
/// The default is a [`ThreadPool`]. A host with a pool of its own can pass that instead, for example
/// `tokio::task::spawn_blocking` in three lines.
pub trait BlockingPool: Debug + Send + Sync + 'static {
    /// Runs `task` soon, on a thread that may block. Never blocks the caller.
    ///
    /// A task that was taken in is run even if the process begins to shut down, unless it ends first.
    fn execute(&self, task: BlockingTask);
}

/// Runs `work` on `pool` and waits for its result.
///
/// # Cancel safety
/// Dropping the future does not stop `work`: it runs to its end with everything it owns, and its
/// result is dropped there. That is what lets a commit hold a file lock across a dropped request.
///
/// # Errors
/// [`PoolClosed`] if `work` panicked or the pool went away before running it.
pub fn run_blocking<T: Send + 'static>(
    pool: &dyn BlockingPool,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, PoolClosed>> + Send + 'static {
    let (sender, receiver) = oneshot::channel();
    pool.execute(Box::new(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    }));
    async move { receiver.await.map_err(|_| PoolClosed) }
}

/// Blocking work that did not return: it panicked, or its pool was closed first.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a blocking task did not return")]
#[non_exhaustive]
pub struct PoolClosed;

/// A bounded pool of threads, started on demand and ended after some idle time.
///
/// ```
/// use oci_core::runtime::{ThreadPool, run_blocking};
///
/// let pool = ThreadPool::new(4);
/// let sum = run_blocking(&pool, || (1..=10).sum::<u32>());
/// # drop(sum);
/// ```
#[derive(Clone)]
pub struct ThreadPool {
    shared: Arc<Shared>,
}

impl ThreadPool {
    /// A pool of at most `threads` threads, at least one.
    pub fn new(threads: usize) -> Self {
        let state = State {
            tasks: VecDeque::new(),
            running: 0,
            idle: 0,
        };
        let shared = Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            idle: Condvar::new(),
            limit: threads.max(1),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Blocks until nothing runs and nothing waits, or until `patience` is over; says which.
    ///
    /// For the end of a process: work that outlived its request comes to its end.
    pub fn wait_idle(&self, patience: Duration) -> bool {
        let state = self.shared.lock();
        let busy = |state: &mut State| !state.tasks.is_empty() || state.idle < state.running;
        let waited = self.shared.idle.wait_timeout_while(state, patience, busy);
        let (_state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }
}

impl Default for ThreadPool {
    /// 32 threads: enough to keep a disk busy, few enough that their stacks do not count.
    fn default() -> Self {
        Self::new(32)
    }
}

impl BlockingPool for ThreadPool {
    fn execute(&self, task: BlockingTask) {
        let mut state = self.shared.lock();
        state.tasks.push_back(task);
        if state.idle >= state.tasks.len() || state.running >= self.shared.limit {
            drop(state);
            self.shared.wake.notify_one();
            return;
        }
        state.running += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new()
            .name("registry-blocking".to_owned())
            .spawn(move || shared.work());
        if spawned.is_err() {
            // Out of threads: one that runs already takes the task. With none at all it is dropped,
            // which the waiting side sees as `PoolClosed`.
            let mut state = self.shared.lock();
            state.running -= 1;
            if state.running == 0 {
                // Dropping a task may hand the pool another one, so not under the lock.
                let dropped = std::mem::take(&mut state.tasks);
                drop(state);
                drop(dropped);
            }
        }
    }
}

impl Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("ThreadPool")
            .field("limit", &self.shared.limit)
            .field("running", &state.running)
            .field("queued", &state.tasks.len())
            .finish()
    }
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// Notified when the last running task has ended.
    idle: Condvar,
    limit: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a queue and two counts: it is sound after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                drop(state);
                // A panic drops the task's sender, which tells the waiting side.
                let _ = catch_unwind(AssertUnwindSafe(task));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            if state.idle == state.running {
                self.idle.notify_all();
            }
            let (woken, timeout) = self
                .wake
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.tasks.is_empty() {
                state.running -= 1;
                return;
            }
        }
    }
}

struct State {
    tasks: VecDeque<BlockingTask>,
    running: usize,
    idle: usize,
}

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_task_runs_and_never_more_threads_than_allowed() {
        let pool = ThreadPool::new(3);
        let (done, finished) = mpsc::channel();
        let at_once = Arc::new(AtomicUsize::new(0));
        for i in 0..200 {
            let (done, at_once) = (done.clone(), Arc::clone(&at_once));
            pool.execute(Box::new(move || {
                assert!(at_once.fetch_add(1, Ordering::SeqCst) < 3);
                std::thread::yield_now();
                at_once.fetch_sub(1, Ordering::SeqCst);
                done.send(i).unwrap();
            }));
        }
        drop(done);
        let mut seen: Vec<i32> = finished.iter().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn waiting_for_the_pool_to_be_idle() {
        let pool = ThreadPool::new(2);
        assert!(pool.wait_idle(Duration::ZERO));
        let (release, released) = mpsc::channel::<()>();
        pool.execute(Box::new(move || {
            let _ = released.recv();
        }));
        assert!(!pool.wait_idle(Duration::from_millis(1)));
        drop(release);
        assert!(pool.wait_idle(Duration::from_secs(60)));
    }

    #[test]
    fn a_panic_is_seen_by_the_waiter_and_the_pool_lives_on() {
        let pool = ThreadPool::new(1);
        let failed = run_blocking(&pool, || panic!("on purpose"));
        assert!(crate::testing::block_on(failed).is_err());
        assert_eq!(
            crate::testing::block_on(run_blocking(&pool, || 7)).unwrap(),
            7
        );
    }
}

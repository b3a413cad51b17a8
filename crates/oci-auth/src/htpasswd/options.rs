//! How a password file is served.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oci_core::runtime::{BlockingPool, Clock, SystemClock, ThreadPool};

use super::problem::Problem;
use crate::basic::Realm;

/// What a host can choose about an [`HtpasswdAuthenticator`](super::HtpasswdAuthenticator).
///
/// ```
/// use oci_auth::HtpasswdOptions;
///
/// let options = HtpasswdOptions::new()
///     .realm("Registry Realm".parse()?)
///     .on_problem(|problem| eprintln!("{problem}"));
/// # drop(options);
/// # Ok::<(), oci_auth::RealmError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct HtpasswdOptions {
    pub(super) realm: Realm,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pool: Arc<dyn BlockingPool>,
    pub(super) on_problem: OnProblem,
    pub(super) check_interval: Duration,
    pub(super) cache_ttl: Duration,
    pub(super) cache_capacity: usize,
    pub(super) verify_threads: usize,
    pub(super) verify_queue: usize,
}

/// What is told of problems.
pub(super) type OnProblem = Arc<dyn Fn(&Problem) + Send + Sync>;

impl HtpasswdOptions {
    /// The defaults that each method names.
    pub fn new() -> Self {
        Self {
            realm: Realm::default(),
            clock: Arc::new(SystemClock::new()),
            pool: Arc::new(ThreadPool::new(1)),
            on_problem: Arc::new(|_| {}),
            check_interval: Duration::from_secs(1),
            cache_ttl: Duration::from_secs(300),
            cache_capacity: 10_000,
            verify_threads: std::thread::available_parallelism().map_or(1, usize::from),
            verify_queue: 64,
        }
    }

    /// What clients are told the password is for. Default: `Registry`.
    pub fn realm(mut self, realm: Realm) -> Self {
        self.realm = realm;
        self
    }

    /// What tells the age of cached verifications and when to look at the file again. Default: the
    /// clock of the machine.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where the file is looked at and read. Default: a thread of its own, while there is need.
    ///
    /// Passwords are not verified there: they have threads of their own, so that a flood of logins
    /// does not hold up whatever else runs on the host's pool.
    pub fn blocking_pool(mut self, pool: Arc<dyn BlockingPool>) -> Self {
        self.pool = pool;
        self
    }

    /// What to call with every problem of the file: each one once after every change of the file.
    /// Default: nothing.
    ///
    /// Logins wait for it, so it should only log.
    pub fn on_problem(mut self, report: impl Fn(&Problem) + Send + Sync + 'static) -> Self {
        self.on_problem = Arc::new(report);
        self
    }

    /// How old the last look at the file may be when a password is checked. Default: one second.
    pub fn check_interval(mut self, interval: Duration) -> Self {
        self.check_interval = interval;
        self
    }

    /// How long a right password is remembered (as a keyed hash), and how many are. Default: five
    /// minutes and 10,000. All are forgotten when the file changes. Wrong ones are never remembered.
    pub fn cache(mut self, ttl: Duration, capacity: usize) -> Self {
        self.cache_ttl = ttl;
        self.cache_capacity = capacity;
        self
    }

    /// How many passwords are verified at once, at least one, and how many more may wait. Default:
    /// as many as there are cores, and 64. Beyond that clients are told to come back (429).
    pub fn verification(mut self, threads: usize, queue: usize) -> Self {
        self.verify_threads = threads.max(1);
        self.verify_queue = queue;
        self
    }
}

impl Default for HtpasswdOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HtpasswdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HtpasswdOptions")
            .field("realm", &self.realm)
            .field("check_interval", &self.check_interval)
            .field("cache_ttl", &self.cache_ttl)
            .field("cache_capacity", &self.cache_capacity)
            .field("verify_threads", &self.verify_threads)
            .field("verify_queue", &self.verify_queue)
            .finish_non_exhaustive()
    }
}

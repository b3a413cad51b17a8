//! What a host hands in instead of globals: a clock, random ids and threads for blocking work.

use std::fmt::Debug;
use std::time::SystemTime;

mod buffers;
mod pool;

pub use buffers::ReadBuffers;
pub use pool::{BlockingPool, BlockingTask, PoolClosed, ThreadPool, run_blocking};

/// Tells the time. Used for expiry and timestamps, never for the safety of data.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> SystemTime;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl SystemClock {
    /// The same as `SystemClock::default()`.
    pub fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Makes the random parts of upload ids, temporary names and nonces.
pub trait IdSource: Debug + Send + Sync + 'static {
    /// 16 bytes that nobody can guess and that never come twice.
    fn random(&self) -> [u8; 16];
}

/// Random bytes of the operating system.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemIds;

impl SystemIds {
    /// The same as `SystemIds::default()`.
    pub fn new() -> Self {
        Self
    }
}

impl IdSource for SystemIds {
    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        // The operating system's source does not fail once the machine is up. If it ever did, a
        // predictable upload id would let one client disturb another's upload, so mix in what differs.
        if getrandom::fill(&mut bytes).is_err() {
            use std::hash::{BuildHasher, RandomState};
            let low = RandomState::new().hash_one(SystemTime::now());
            let high = RandomState::new().hash_one(std::thread::current().id());
            bytes = ((u128::from(high) << 64) | u128::from(low)).to_le_bytes();
        }
        bytes
    }
}

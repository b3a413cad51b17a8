//! What each operation costs, counted instead of timed: counts are the same on a slow machine.
//!
//! * `syscalls` runs one operation at a time against the real `registryd` under strace. It needs strace
//!   and so the feature of that name: `cargo test -p registry-counts --features strace`.
//! * `allocations` calls the service in process under an allocator that counts.
//! * `store_requests` calls it over the records engine, whose two stores count what is asked of them.
//!
//! Each compares what it sees with a table of its own name beside this package's manifest. When a change moves a figure on purpose, `ACCEPT_COUNTS=1` before the same command
//! writes what was seen into the table; what it did shows in `git diff`, to be reviewed with the change.

pub mod table;
pub mod trace;
pub mod traced;

use std::time::Duration;

/// Blocks the calling thread.
#[expect(
    clippy::disallowed_methods,
    reason = "plain threads wait here; there is no runtime in this crate"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

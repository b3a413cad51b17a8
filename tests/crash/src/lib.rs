//! Harnesses that try to make `registryd` lose what it acknowledged, and measure what it needs.
//!
//! Everything here talks to the real binary over a socket and knows the registry protocol only, so
//! that it can be pointed at another registry as a check of the harness itself. The programs:
//!
//! | program | what it does to the server | needs |
//! |---|---|---|
//! | `kill_cycles` | `kill -9` under concurrent pushers, again and again | nothing |
//! | `power_cut` | drops everything that was not synced, under concurrent pushers | root, loop devices, perl |
//! | `disk_full` | fills its volume up to every boundary, then frees it | root |
//! | `io_faults` | lets syscalls that make data durable fail | root, strace |
//! | `memory` | pushes and pulls gigabytes and reads its peak memory | nothing |
//! | `timeouts` | stalls in every phase of a connection | nothing |
//!
//! All of them take the `registryd` that cargo built beside them, or the one named in
//! `$REGISTRYD_BIN`; the tests run `registryd_under_test`, which is the same in another wrapping.
//!
//! A server without fsync must be found out; this proves that `power_cut` can fail:
//! `power_cut --expect-loss --without-sync`, or `--without-sync fsync` for the directories alone.
//!
//! Each program prints one summary line, ends with a status other than zero when something was violated, and
//! then leaves the evidence in place and says where. `cargo test` runs short forms of those that need
//! nothing but the built binary.

pub mod crash;
pub mod cycles;
pub mod http;
pub mod images;
pub mod io_faults;
pub mod ledger;
pub mod memory;
pub mod options;
pub mod payload;
pub mod program;
pub mod pusher;
pub mod registry;
pub mod resume;
pub mod resume_large;
pub mod server;
pub mod space;
pub mod stall;
pub mod tracer;
pub mod verify;
pub mod violation;
pub mod volume;

use std::time::Duration;

/// Blocks the calling thread.
#[expect(
    clippy::disallowed_methods,
    reason = "plain threads wait here; there is no runtime in this crate"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

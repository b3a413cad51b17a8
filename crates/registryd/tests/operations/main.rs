//! What operators configure and see: health, metrics, the log, headers, limits, start and stop.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::match_wild_err_arm,
    clippy::unused_self,
    reason = "helpers of tests say what they expect, as tests do"
)]

#[cfg(feature = "pebble")]
mod acme;
mod listings;
mod log;
mod metrics;
mod password_file;
mod probes;
mod running;
mod service_manager;
mod sockets;

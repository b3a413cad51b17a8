//! The parts of the `registryd` binary that can be tested on their own.
//!
//! **Not a stable interface.** This library exists so that the binary stays thin and its parts have
//! tests; it may change in any release. To embed a registry in a program of your own, use `oci-http`
//! and the crates below it.

pub mod assemble;
pub mod cli;
pub mod config;
pub mod debug;
mod files;
pub mod health;
pub mod metrics;
mod mounts;
mod new_password;
mod retention;
pub mod server;
pub mod telemetry;
pub mod tls;

//! The log: one line per event on standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogLevel};

mod access;
mod lines;
mod request_id;

pub(crate) use access::Access;
pub(crate) use request_id::{RequestId, X_REQUEST_ID};

/// Installs the log of the process. A second call does nothing.
///
/// `RUST_LOG` overrides `log.level`, for finding faults.
pub fn init(log: &Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .event_format(lines::Lines::new(log))
        .try_init();
}

//! The log: one line per event on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Log, LogFormatter, LogLevel};

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_target(false);
    let _ = match log.formatter {
        LogFormatter::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        // Logstash reads plain JSON lines as well.
        LogFormatter::Json | LogFormatter::Logstash => {
            builder.json().flatten_event(true).try_init()
        }
    };
}

//! What Prometheus clients tell of their process, from `/proc`.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The gauges of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    resident: Gauge,
    open_files: Gauge,
    most_files: Gauge,
    started: Gauge,
}

impl Process {
    pub(super) fn expose(&self, to: &mut Registry) {
        to.register(
            "process_resident_memory_bytes",
            "Resident memory size in bytes",
            self.resident.clone(),
        );
        to.register(
            "process_open_fds",
            "Number of open file descriptors",
            self.open_files.clone(),
        );
        to.register(
            "process_max_fds",
            "Maximum number of open file descriptors",
            self.most_files.clone(),
        );
        to.register(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds",
            self.started.clone(),
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.started
            .set(now.map_or(0, |now| super::whole(now.as_secs())));
    }

    /// Reads what there is; a system that does not tell leaves zeros.
    pub(super) fn sample(&self) {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<i64>().ok());
        let page = i64::try_from(rustix::param::page_size()).unwrap_or(4096);
        self.resident
            .set(pages.unwrap_or_default().saturating_mul(page));
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.open_files
            .set(i64::try_from(files).unwrap_or(i64::MAX));
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        self.most_files.set(limit.current.map_or(-1, super::whole));
    }
}

//! What one measurement yields.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use registry_load_driver::process::{Meter, Used};

use crate::server::Server;

/// A quantity. The order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Speed,
    Rate,
    Collected,
    Median,
    P99,
    P999,
    CpuPerGb,
    CpuPerRequest,
    Peak,
    BeforeFirstByte,
    AfterOneRequest,
    Start,
    Idle,
    Binary,
}

impl Metric {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Speed => "MB/s",
            Self::Rate => "per s",
            Self::Collected => "blobs/s",
            Self::Median => "ms median",
            Self::P99 => "ms p99",
            Self::P999 => "ms p99.9",
            Self::CpuPerGb => "CPU s/GB",
            Self::CpuPerRequest => "CPU µs/request",
            Self::Peak => "MiB peak RSS",
            Self::BeforeFirstByte => "MiB before the first byte",
            Self::AfterOneRequest => "MiB after one request each",
            Self::Start => "ms to the first 200",
            Self::Idle => "MiB idle RSS",
            Self::Binary => "MB stripped binary",
        }
    }
}

/// The figures of one contestant in one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) figures: BTreeMap<Metric, f64>,
    /// Whether others used the machine right before.
    pub(crate) busy: bool,
}

impl Sample {
    pub(crate) fn with(mut self, metric: Metric, value: f64) -> Self {
        self.figures.insert(metric, value);
        self
    }

    /// Speed and costs of moving so many bytes.
    pub(crate) fn transfer(bytes: u64, metered: &Metered) -> Self {
        let seconds = metered.elapsed.as_secs_f64();
        let sample = Self::default().with(Metric::Speed, float(bytes) / 1e6 / seconds);
        match metered.used {
            Some(used) => sample
                .with(
                    Metric::CpuPerGb,
                    used.cpu.as_secs_f64() * 1e9 / float(bytes),
                )
                .with(Metric::Peak, mib(used.peak_rss)),
            None => sample,
        }
    }

    /// Rate and costs of so many requests.
    pub(crate) fn requests(count: u64, metered: &Metered) -> Self {
        let seconds = metered.elapsed.as_secs_f64();
        let sample = Self::default().with(Metric::Rate, float(count) / seconds);
        match metered.used {
            Some(used) => sample
                .with(
                    Metric::CpuPerRequest,
                    used.cpu.as_secs_f64() * 1e6 / float(count.max(1)),
                )
                .with(Metric::Peak, mib(used.peak_rss)),
            None => sample,
        }
    }
}

/// How long something took, and what the server used meanwhile; nothing if it was not started here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metered {
    pub(crate) elapsed: Duration,
    pub(crate) used: Option<Used>,
}

/// Does the work and measures it.
pub(crate) fn metered<T>(
    server: &Server,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Metered)> {
    let meter = server.pid().map(Meter::start).transpose()?;
    let start = Instant::now();
    let done = work()?;
    let elapsed = start.elapsed();
    let used = meter.map(|meter| meter.stop()).transpose()?;
    Ok((done, Metered { elapsed, used }))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and sizes are far below 2^52"
)]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

pub(crate) fn mib(bytes: u64) -> f64 {
    float(bytes) / 1_048_576.0
}

/// The middle of some figures, or nothing if there are none.
pub(crate) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    if figures.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *figures.get(middle - 1)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 3.0, 4.0]), Some(3.5));
    }
}

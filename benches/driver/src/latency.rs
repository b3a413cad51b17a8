//! How long requests took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies with three significant digits, from 1 µs to 10 minutes.
#[derive(Clone, Debug)]
pub struct Latencies {
    // Nothing only if the bounds were wrong.
    histogram: Option<Histogram<u64>>,
}

const LONGEST_US: u64 = 600_000_000;

impl Default for Latencies {
    fn default() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(1, LONGEST_US, 3).ok(),
        }
    }
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        if let Some(histogram) = &mut self.histogram {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US);
            histogram.saturating_record(micros.max(1));
        }
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        if let (Some(mine), Some(theirs)) = (&mut self.histogram, &other.histogram) {
            // The bounds are the same, so nothing can be out of range.
            let _ = mine.add(theirs);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// The latency in milliseconds that so many per cent stay within.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        let micros = self
            .histogram
            .as_ref()
            .map_or(0, |histogram| histogram.value_at_percentile(percent));
        Duration::from_micros(micros).as_secs_f64() * 1e3
    }
}

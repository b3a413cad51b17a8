//! Requests that arrive by a schedule, whether the server keeps up or not.
//!
//! A closed loop waits while the server stalls, and so leaves out the requests that would have seen the
//! stall. Here each latency is counted from the moment the request was due, even if no connection was
//! free then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::latency::Latencies;
use crate::pause_until;

/// So many requests per second for so long.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    rate: f64,
    requests: u64,
}

/// What was measured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Served {
    /// From when a request was due to the end of its answer.
    pub latencies: Latencies,
    /// From the first due to the last answer.
    pub elapsed: Duration,
}

impl Schedule {
    /// `requests` of them, `rate` per second.
    pub fn new(rate: f64, requests: u64) -> Self {
        Self { rate, requests }
    }

    /// Calls `serve` with the number of each request when it is due. Each of the `states`, which are
    /// connections as a rule, has a thread of its own and serves one request at a time.
    pub fn run<S: Send>(
        &self,
        states: Vec<S>,
        serve: impl Fn(&mut S, u64) -> Result<()> + Sync,
    ) -> Result<Served> {
        let next = AtomicU64::new(0);
        let start = Instant::now();
        let results: Vec<Result<Latencies>> = std::thread::scope(|scope| {
            let workers: Vec<_> = states
                .into_iter()
                .map(|mut state| {
                    let (next, serve) = (&next, &serve);
                    scope.spawn(move || {
                        let mut latencies = Latencies::default();
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= self.requests {
                                return Ok(latencies);
                            }
                            let due = start + self.due(number);
                            pause_until(due);
                            serve(&mut state, number)?;
                            latencies.record(due.elapsed());
                        }
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| {
                    let crashed = || Error::protocol("open loop", "a thread of the driver crashed");
                    worker.join().unwrap_or_else(|_| Err(crashed()))
                })
                .collect()
        });
        let elapsed = start.elapsed();
        let mut latencies = Latencies::default();
        for result in results {
            latencies.add(&result?);
        }
        Ok(Served { latencies, elapsed })
    }

    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn due(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate.max(1e-3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pause;

    #[test]
    fn a_stall_is_seen_by_all_that_were_due_meanwhile() {
        // One server that stalls once for 200 ms: of 100 requests at 200 per second, 40 fall due
        // during it. A closed loop would see a single slow one.
        let served = Schedule::new(200.0, 100)
            .run(vec![()], |(), number| {
                if number == 10 {
                    pause(Duration::from_millis(200));
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(served.latencies.count(), 100);
        assert!(served.latencies.percentile_ms(75.0) >= 40.0);
        assert!(served.latencies.percentile_ms(100.0) >= 200.0);
    }

    #[test]
    fn a_failure_ends_the_run() {
        let schedule = Schedule::new(1e6, 100);
        let failed = schedule.run(vec![(), ()], |(), number| {
            if number == 50 {
                return Err(Error::protocol("GET /", "broken"));
            }
            Ok(())
        });
        assert!(failed.unwrap_err().to_string().contains("broken"));
    }
}

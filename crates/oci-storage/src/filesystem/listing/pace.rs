//! How often a large directory may be read again.

use std::time::{Duration, Instant};

/// A budget of time: reading takes from it, and a tenth of the time that passes is added. So two
/// registries that write to a directory in turn cost at most a tenth of one processor.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Before this moment nothing is left; `None` if nothing was ever taken.
    free_from: Option<Instant>,
}

impl Pace {
    pub(super) fn allows(&self) -> bool {
        self.allows_at(Instant::now())
    }

    fn allows_at(&self, now: Instant) -> bool {
        self.free_from.is_none_or(|free| now >= free)
    }

    /// Takes what was `spent` from what is there, where no more than `burst` is ever saved up.
    pub(super) fn charge(&mut self, spent: Duration, burst: Duration) {
        self.charge_at(Instant::now(), spent, burst);
    }

    fn charge_at(&mut self, now: Instant, spent: Duration, burst: Duration) {
        let full = now.checked_sub(burst * SHARE).unwrap_or(now);
        let free = self.free_from.map_or(full, |free| free.max(full));
        self.free_from = Some(free + spent * SHARE);
    }
}

/// What may be spent at once after a while of rest.
pub(super) const BURST: Duration = Duration::from_millis(250);
/// One part in so many of all time.
const SHARE: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_a_tenth_of_the_time_is_spent() {
        let begin = Instant::now() + Duration::from_secs(3600);
        for cost in [1, 10, 100, 700, 5000].map(Duration::from_millis) {
            let mut pace = Pace::default();
            let (mut now, mut spent) = (begin, Duration::ZERO);
            while now < begin + Duration::from_secs(1000) {
                if pace.allows_at(now) {
                    now += cost;
                    spent += cost;
                    pace.charge_at(now, cost, BURST);
                } else {
                    now += Duration::from_millis(1);
                }
            }
            assert!(
                spent <= Duration::from_millis(100_250) + cost,
                "{cost:?} {spent:?}"
            );
            assert!(spent >= Duration::from_secs(95), "{cost:?} {spent:?}");
        }
    }

    #[test]
    fn after_a_rest_small_directories_are_read_at_once() {
        let mut pace = Pace::default();
        let now = Instant::now() + Duration::from_secs(3600);
        for _ in 0..50 {
            assert!(pace.allows_at(now));
            pace.charge_at(now, Duration::from_millis(5), BURST);
        }
        pace.charge_at(now, Duration::from_millis(5), BURST);
        assert!(!pace.allows_at(now));
        assert!(pace.allows_at(now + Duration::from_secs(1)));
    }
}

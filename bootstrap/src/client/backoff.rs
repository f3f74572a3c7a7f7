//! When to try again: pure, so that its caller keeps the clock and the random numbers.

use std::time::Duration;

/// Wait after the first failure: a coordinator that restarts is back in about this time.
const FIRST: Duration = Duration::from_millis(500);

/// Longest wait that we choose ourselves: a member that is silent for 30 s is shown as missing.
const LONGEST: Duration = Duration::from_secs(10);

/// Longest wait that a coordinator may ask for.
const ASKED_MAX: Duration = Duration::from_secs(120);

/// Doubles the wait with each failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It worked; the next failure is a first one.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// It failed. How long to wait: the doubled time, less up to a quarter by `random` (0 to 1), so
    /// that members which lost the same coordinator do not return at once; or what was asked for.
    #[must_use]
    pub fn failed(&mut self, asked: Option<Duration>, random: f64) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let ours = doubled.mul_f64(1.0 - 0.25 * random.clamp(0.0, 1.0));
        asked.map_or(ours, |asked| asked.min(ASKED_MAX).max(ours))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_a_limit_and_starts_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..7).map(|_| backoff.failed(None, 0.0).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        backoff.worked();
        assert_eq!(backoff.failed(None, 1.0).as_millis(), 375);
        for _ in 0..100 {
            assert!(backoff.failed(None, 2.0) <= LONGEST);
        }
    }

    #[test]
    fn what_the_coordinator_asks_for_is_kept_within_reason() {
        let mut backoff = Backoff::default();
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(backoff.failed(seconds(7), 0.0).as_secs(), 7);
        assert_eq!(backoff.failed(seconds(0), 0.0).as_millis(), 1000, "never less than ours");
        assert_eq!(backoff.failed(seconds(86_400), 0.0).as_secs(), 120);
    }
}

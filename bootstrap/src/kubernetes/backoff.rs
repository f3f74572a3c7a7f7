//! How long to wait before the next attempt: longer with each failure, never the same for two
//! balancers.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait: an API that comes back is seen within this time.
const LONGEST: Duration = Duration::from_secs(30);

/// An attempt that went well for this long ends a row of failures; a server that accepts and ends
/// every watch at once is as good as one that fails.
pub const GOOD_AFTER: Duration = Duration::from_secs(10);

/// A row of failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Something ended after it went well for `lasted`. Says how long to wait before the next
    /// attempt: from 1 s, doubling up to 30 s, of which `random` (0 to 1) takes off up to a quarter
    /// once it is more than the first wait.
    pub fn ended(&mut self, lasted: Duration, random: f64) -> Duration {
        if lasted >= GOOD_AFTER {
            self.failures = 0;
        }
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(self.failures.min(8)));
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.min(LONGEST).mul_f64(1.0 - random.clamp(0.0, 1.0) / 4.0);
        wait.max(FIRST)
    }

    /// There is a reason to think that it works now.
    pub fn forget(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grows_to_a_limit_and_starts_again() {
        let mut backoff = Backoff::default();
        let mut next = |lasted| backoff.ended(Duration::from_secs(lasted), 0.0).as_secs();
        let waits: Vec<u64> = (0..7).map(|_| next(0)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!((next(10), next(9)), (1, 2));
    }

    proptest! {
        #[test]
        fn always_within_its_bounds(steps in proptest::collection::vec((0..20u64, any::<f64>()), 1..200)) {
            let mut backoff = Backoff::default();
            for (lasted, random) in steps {
                let wait = backoff.ended(Duration::from_secs(lasted), random);
                prop_assert!((FIRST..=LONGEST).contains(&wait));
            }
        }
    }
}

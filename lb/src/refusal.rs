//! Passive health: a backend that refuses is left out for a while, longer each time.
//!
//! ```text
//!            failed                    time over, one connection tries
//! Trusted ----------> Skipped(until) ---------------------------------> Trial
//!    ^                     ^                                              |
//!    |                     +------------------- failed ------------------+
//!    +---------------------------------------- connected ----------------+
//! ```
//!
//! Pure: the caller brings the time. While a trial runs the backend stays skipped for the others,
//! so that a black-holed master costs one connection its connect timeout, not hundreds.

use std::time::Duration;

use crate::clock::Millis;

/// First time left out. Twice the restart gap of a process under a supervisor would be too long
/// for one refusal, and a tenth of it would dial a dead host all the time.
pub const SKIP_MIN: Duration = Duration::from_millis(500);

/// Longest time left out: NGINX's `fail_timeout`, so that a returned master waits no longer here.
pub const SKIP_MAX: Duration = Duration::from_secs(10);

/// What the failures of one backend say about the next connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Refusals {
    /// Failures since the last success.
    in_a_row: u32,
    /// When the last one was counted.
    last: Millis,
    /// New connections go elsewhere until then.
    skip_until: Millis,
}

impl Refusals {
    /// Whether new connections should go elsewhere now.
    #[must_use]
    pub fn skipped(&self, now: Millis) -> bool {
        self.in_a_row > 0 && now < self.skip_until
    }

    /// Failures since the last success.
    #[must_use]
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// When the next connection may try.
    #[must_use]
    pub fn skip_until(&self) -> Millis {
        self.skip_until
    }

    /// A connection that was begun at `begun` failed at `now`. Of a burst that was begun before the
    /// last counted failure none counts again: together they saw one event.
    #[must_use]
    pub fn failed(self, begun: Millis, now: Millis) -> Self {
        if self.in_a_row > 0 && begun < self.last {
            return self;
        }
        let in_a_row = self.in_a_row.saturating_add(1);
        Self { in_a_row, last: now, skip_until: now.after(skip_time(in_a_row)) }
    }

    /// A connection was accepted.
    #[must_use]
    pub fn connected(self) -> Self {
        Self::default()
    }

    /// One connection tries a backend whose time is over: the others wait for its outcome, at most
    /// `trial`.
    #[must_use]
    pub fn trying(self, now: Millis, trial: Duration) -> Self {
        Self { skip_until: now.after(trial), ..self }
    }
}

/// How long a backend is left out after this many failures.
fn skip_time(in_a_row: u32) -> Duration {
    let doublings = in_a_row.saturating_sub(1).min(16);
    SKIP_MIN.saturating_mul(1 << doublings).min(SKIP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grows_from_half_a_second_to_ten() {
        let table =
            [(1, 500), (2, 1000), (3, 2000), (4, 4000), (5, 8000), (6, 10_000), (60, 10_000)];
        for (in_a_row, millis) in table {
            assert_eq!(skip_time(in_a_row), Duration::from_millis(millis));
        }
    }

    #[test]
    fn a_burst_counts_once() {
        let one = Refusals::default().failed(Millis(0), Millis(5));
        let same = one.failed(Millis(1), Millis(6)).failed(Millis(4), Millis(7));
        assert_eq!(one, same);
        assert_eq!(one.failed(Millis(600), Millis(601)).in_a_row(), 2);
    }

    #[test]
    fn a_trial_keeps_the_others_away() {
        let once = Refusals::default().failed(Millis(0), Millis(0));
        assert!(once.skipped(Millis(499)));
        assert!(!once.skipped(Millis(500)));
        let trial = once.trying(Millis(500), Duration::from_secs(2));
        assert!(trial.skipped(Millis(2_499)));
        assert!(!trial.skipped(Millis(2_500)));
        assert!(!trial.connected().skipped(Millis(501)));
    }

    proptest! {
        #[test]
        fn never_left_out_longer_than_the_maximum(
            steps in proptest::collection::vec((0u64..20_000, any::<bool>()), 1..200),
        ) {
            let mut refusals = Refusals::default();
            let mut now = Millis(0);
            for (pause, good) in steps {
                let begun = now;
                now = Millis(now.0 + pause);
                refusals = if good { refusals.connected() } else { refusals.failed(begun, now) };
                prop_assert!(!refusals.skipped(now.after(SKIP_MAX)));
                prop_assert_eq!(good, refusals.in_a_row() == 0);
            }
        }
    }
}

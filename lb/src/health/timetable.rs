//! When to probe next, and how long to wait for the answer: pure.

use std::time::Duration;

use super::{Outcome, State};

/// Usual time between two probes. Faster polling makes overload look like death; fast reaction
/// comes from passive signals.
pub const INTERVAL: Duration = Duration::from_secs(3);

/// Usual wait for an answer.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Time between probes after a failure or a passive signal.
pub const FAST_INTERVAL: Duration = Duration::from_millis(500);

/// Wait for an answer then.
pub const FAST_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between probes of a backend that was never ready: during `kubeadm init` every call goes
/// through us.
pub const PENDING_INTERVAL: Duration = Duration::from_millis(250);

/// Part of the interval by which it varies, so that balancers and backends do not fall in step.
const JITTER: f64 = 0.2;

/// When and how the next probe goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Pause before it.
    pub pause: Duration,
    /// Longest wait for its answer.
    pub timeout: Duration,
}

/// The next probe of a backend in `state` whose last one saw `last`; `random` is from 0 to 1.
#[must_use]
pub fn next(state: State, last: Option<Outcome>, random: f64) -> Plan {
    let (interval, timeout) = match (state, last) {
        (State::Pending, _) => (PENDING_INTERVAL, FAST_TIMEOUT),
        (State::Up, Some(Outcome::Ready | Outcome::Alive | Outcome::Unidentified)) => {
            (INTERVAL, TIMEOUT)
        }
        // Not ready is an answer, not a failure: nothing is to be found out in a hurry.
        (
            State::Drain,
            Some(Outcome::Ready | Outcome::Alive | Outcome::NotReady | Outcome::Outdated),
        ) => (INTERVAL, TIMEOUT),
        (_, _) => (FAST_INTERVAL, FAST_TIMEOUT),
    };
    let factor = 1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0);
    Plan { pause: interval.mul_f64(factor), timeout }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_fast_and_first() {
        let table = [
            (State::Up, Some(Outcome::Ready), INTERVAL, TIMEOUT),
            (State::Up, Some(Outcome::Refused), FAST_INTERVAL, FAST_TIMEOUT),
            (State::Dead, Some(Outcome::Ready), FAST_INTERVAL, FAST_TIMEOUT),
            (State::Drain, Some(Outcome::NotReady), INTERVAL, TIMEOUT),
            (State::Pending, None, PENDING_INTERVAL, FAST_TIMEOUT),
        ];
        for (state, last, interval, timeout) in table {
            assert_eq!(next(state, last, 0.5), Plan { pause: interval, timeout });
        }
    }

    #[test]
    fn the_interval_varies_by_a_fifth() {
        let pause = |random| next(State::Up, Some(Outcome::Ready), random).pause.as_millis();
        assert_eq!((pause(0.0), pause(1.0)), (2400, 3600));
    }
}

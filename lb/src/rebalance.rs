//! Moves load back to a master that returned, as a pure machine.
//!
//! Clients hold one HTTP/2 connection for hours, so after a restart one master stays empty until
//! somebody closes connections of the others. That is done here, few at a time: a reconnect costs a
//! client a handshake and a list, and thousands at once are what brought masters down elsewhere.
//! Only quiet sessions are closed, and never while any backend is not UP.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Millis;

/// The fullest backend must be above the mean by more than this part of it.
pub const SPREAD: f64 = 0.25;

/// It must also be above the mean by this many connections.
pub const SPREAD_MIN: f64 = 3.0;

/// A session may be closed if it was quiet both ways for this long.
pub const QUIET_FOR: Duration = Duration::from_secs(5);

/// Most sessions that are closed in one step of a second, as a part of all.
const PER_STEP: f64 = 0.01;

/// Most sessions that are closed in [`WINDOW`], as a part of all.
const PER_WINDOW: f64 = 0.10;

/// The time over which closed sessions are counted.
const WINDOW: Duration = Duration::from_secs(300);

/// Time between two steps.
pub const STEP: Duration = Duration::from_secs(1);

/// What the operator says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebalanceSettings {
    /// Whether it is done at all without being asked for.
    pub on: bool,
    /// How long the imbalance must last: a rolling restart passes through many.
    pub after: Duration,
    /// How old a session must be to be closed.
    pub age: Duration,
}

/// Close up to `count` sessions of the backend at `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Place among the loads.
    pub index: usize,
    /// Most sessions to close.
    pub count: u32,
}

/// Decides when to close how many sessions of whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rebalancer {
    uneven_since: Option<Millis>,
    last_step: Option<Millis>,
    closed: VecDeque<(Millis, u32)>,
}

impl Rebalancer {
    /// What to do now, with these connections on the backends. `steady`: every backend is UP and
    /// none is in its slow start. `after`: how long the imbalance must have lasted.
    pub fn step(
        &mut self,
        loads: &[u32],
        steady: bool,
        after: Duration,
        now: Millis,
    ) -> Option<Order> {
        self.forget(now);
        let excess = if steady { excess(loads) } else { None };
        let Some((index, excess)) = excess else {
            self.uneven_since = None;
            return None;
        };
        let since = *self.uneven_since.get_or_insert(now);
        let waited = now.since(since) >= after;
        let due = self.last_step.is_none_or(|last| now.since(last) >= STEP);
        if !waited || !due {
            return None;
        }
        self.last_step = Some(now);
        let count = excess.min(self.allowance(loads));
        (count > 0).then_some(Order { index, count })
    }

    /// Notes how many sessions were closed.
    pub fn closed(&mut self, count: u32, now: Millis) {
        if count > 0 {
            self.closed.push_back((now, count));
        }
    }

    /// Closed in the last [`WINDOW`].
    #[must_use]
    pub fn closed_lately(&self) -> u32 {
        self.closed.iter().map(|(_, count)| count).sum()
    }

    fn forget(&mut self, now: Millis) {
        while self.closed.front().is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.closed.pop_front();
        }
    }

    fn allowance(&self, loads: &[u32]) -> u32 {
        let all: f64 = loads.iter().map(|load| f64::from(*load)).sum();
        let per_window = whole(all * PER_WINDOW).saturating_sub(self.closed_lately());
        whole(all * PER_STEP).max(1).min(per_window)
    }
}

/// The fullest backend and how many connections it has above the mean, if that is too many.
fn excess(loads: &[u32]) -> Option<(usize, u32)> {
    let (index, most) = loads.iter().enumerate().max_by_key(|(_, load)| **load)?;
    let all: f64 = loads.iter().map(|load| f64::from(*load)).sum();
    let mean = all / f64::from(u32::try_from(loads.len()).ok()?);
    let above = f64::from(*most) - mean;
    let uneven = above > SPREAD * mean && above >= SPREAD_MIN;
    uneven.then(|| (index, whole(above)))
}

/// The whole part of a count, which is never negative and never near the limits of the type.
fn whole(count: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = count.max(0.0) as u32;
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT_ONCE: Duration = Duration::ZERO;

    const USUAL: Duration = Duration::from_secs(120);

    /// Steps a second apart until `seconds`; what was closed of the first backend.
    fn run(loads: &mut [u32], seconds: u64, steady: bool, after: Duration) -> u32 {
        let mut rebalancer = Rebalancer::default();
        let mut closed = 0;
        for second in 0..seconds {
            let now = Millis(second * 1000);
            if let Some(order) = rebalancer.step(loads, steady, after, now) {
                loads[order.index] -= order.count;
                closed += order.count;
                rebalancer.closed(order.count, now);
            }
        }
        closed
    }

    #[test]
    fn waits_two_minutes_and_then_takes_little() {
        let loads = || vec![500, 500, 0];
        assert_eq!(run(&mut loads(), 120, true, USUAL), 0);
        assert_eq!(run(&mut loads(), 121, true, USUAL), 10, "a hundredth at once");
        let closed = run(&mut loads(), 419, true, USUAL);
        assert!((80..=100).contains(&closed), "at most a tenth in five minutes: {closed}");
    }

    #[test]
    fn never_while_a_backend_is_not_up() {
        assert_eq!(run(&mut [500, 500, 0], 1000, false, AT_ONCE), 0);
    }

    #[test]
    fn small_differences_are_left_alone() {
        for loads in [vec![4, 4, 2], vec![100, 90, 80], vec![3, 0, 0], vec![], vec![9]] {
            assert_eq!(run(&mut loads.clone(), 1000, true, AT_ONCE), 0, "{loads:?}");
        }
    }

    #[test]
    fn the_operator_need_not_wait() {
        assert_eq!(run(&mut [500, 500, 0], 1, true, AT_ONCE), 10);
    }

    proptest! {
        #[test]
        fn keeps_its_limits(loads in prop::collection::vec(0u32..3000, 1..8), seconds in 1u64..2000) {
            let mut loads = loads;
            let before: u32 = loads.iter().sum();
            let closed = run(&mut loads, seconds, true, USUAL);
            let windows = 1 + u32::try_from(seconds / 300).unwrap();
            prop_assert!(closed <= windows * before.div_ceil(10));
        }
    }
}

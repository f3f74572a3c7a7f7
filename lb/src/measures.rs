//! What was measured of one backend, for people and Prometheus. Nothing decides by it. All of it is
//! atomics, so that sessions and probes add to it without waiting for a reader.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::histogram::Histogram;

use crate::health::{Outcome, State};

/// No answer was measured yet.
const NEVER: u64 = u64::MAX;

/// The measures of one backend.
#[derive(Debug)]
pub struct Measures {
    /// From the start of a client's dial until the backend accepted.
    pub dial: Histogram,
    /// From the connect of a probe until the TLS handshake was done.
    pub tls: Histogram,
    /// From the start of a probe until its answer, on a new connection or a kept one.
    pub answer: Histogram,
    last_answer_us: AtomicU64,
    probes: [AtomicU64; Outcome::ALL.len()],
    entered: [AtomicU64; State::ALL.len()],
    delayed: AtomicU64,
    shed: AtomicU64,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            dial: Histogram::default(),
            tls: Histogram::default(),
            answer: Histogram::default(),
            last_answer_us: AtomicU64::new(NEVER),
            probes: Default::default(),
            entered: Default::default(),
            delayed: AtomicU64::new(0),
            shed: AtomicU64::new(0),
        }
    }
}

impl Measures {
    /// A probe ended so, after this time.
    pub fn probed(&self, outcome: Outcome, time: Duration) {
        add(&self.probes, outcome as usize);
        if outcome.answered() {
            self.answer.observe(time);
            let us = u64::try_from(time.as_micros()).unwrap_or(NEVER - 1);
            self.last_answer_us.store(us, Ordering::Relaxed);
        }
    }

    /// The backend entered a state.
    pub fn entered(&self, state: State) {
        add(&self.entered, state as usize);
    }

    /// A client's dial had to wait for its place, or had none.
    pub fn held_back(&self, wait: Option<Duration>) {
        match wait {
            Some(Duration::ZERO) => {}
            Some(_) => {
                self.delayed.fetch_add(1, Ordering::Relaxed);
            }
            None => {
                self.shed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How long the last answered probe took; `None` if none was yet.
    #[must_use]
    pub fn last_answer(&self) -> Option<Duration> {
        let us = self.last_answer_us.load(Ordering::Relaxed);
        (us != NEVER).then(|| Duration::from_micros(us))
    }

    /// How many probes ended in each way.
    pub fn probes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().zip(self.probes.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// How often each state was entered.
    pub fn transitions(&self) -> impl Iterator<Item = (State, u64)> {
        State::ALL.into_iter().zip(self.entered.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Dials that had to wait for a place.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }

    /// Dials that had no place in time and went elsewhere.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }
}

fn add(counts: &[AtomicU64], index: usize) {
    if let Some(count) = counts.get(index) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_stands_at_its_name() {
        let measures = Measures::default();
        assert_eq!(measures.last_answer(), None);
        let time = Duration::from_micros(700);
        for outcome in Outcome::ALL {
            measures.probed(outcome, time);
        }
        assert!(measures.probes().all(|(_, count)| count == 1));
        assert_eq!(measures.answer.snapshot().count(), 4, "those that answered");
        assert_eq!(measures.last_answer(), Some(time));
        State::ALL.into_iter().for_each(|state| measures.entered(state));
        measures.entered(State::Dead);
        assert_eq!(measures.transitions().last(), Some((State::Dead, 2)));
        for wait in [None, Some(Duration::ZERO), Some(time), Some(time)] {
            measures.held_back(wait);
        }
        assert_eq!((measures.delayed(), measures.shed()), (2, 1));
    }
}

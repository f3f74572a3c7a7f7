//! What was measured of one backend, for people and Prometheus. Nothing decides by it. All of it is
//! atomics, so that sessions and probes add to it without waiting for a reader.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::histogram::{Histogram, HistogramRecord};
use serde::{Deserialize, Serialize};

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

/// The measures of one backend, for another process to go on with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MeasuresRecord {
    /// Of dials.
    pub dial: HistogramRecord,
    /// Of TLS handshakes.
    pub tls: HistogramRecord,
    /// Of answers.
    pub answer: HistogramRecord,
    /// The last answer, in microseconds.
    pub last_answer_us: Option<u64>,
    /// Probes by outcome.
    pub probes: BTreeMap<String, u64>,
    /// Transitions by state.
    pub entered: BTreeMap<String, u64>,
    /// Dials that waited.
    pub delayed: u64,
    /// Dials that had no place.
    pub shed: u64,
}

impl MeasuresRecord {
    /// What was measured since `earlier`.
    pub(crate) fn subtract(&mut self, earlier: &Self) {
        self.dial.subtract(&earlier.dial);
        self.tls.subtract(&earlier.tls);
        self.answer.subtract(&earlier.answer);
        self.delayed = self.delayed.saturating_sub(earlier.delayed);
        self.shed = self.shed.saturating_sub(earlier.shed);
        subtract_each(&mut self.probes, &earlier.probes);
        subtract_each(&mut self.entered, &earlier.entered);
    }
}

/// Takes the counts of `earlier` from those of the same name.
pub(crate) fn subtract_each(counts: &mut BTreeMap<String, u64>, earlier: &BTreeMap<String, u64>) {
    for (name, count) in counts {
        *count = count.saturating_sub(earlier.get(name).copied().unwrap_or_default());
    }
}

impl Measures {
    /// What another process needs to go on with them.
    pub(crate) fn record(&self) -> MeasuresRecord {
        let last = self.last_answer_us.load(Ordering::Relaxed);
        MeasuresRecord {
            dial: self.dial.record(),
            tls: self.tls.record(),
            answer: self.answer.record(),
            last_answer_us: (last != NEVER).then_some(last),
            probes: self.probes().map(|(what, n)| (what.label().to_owned(), n)).collect(),
            entered: self.transitions().map(|(to, n)| (to.name().to_owned(), n)).collect(),
            delayed: self.delayed(),
            shed: self.shed(),
        }
    }

    /// Adds what another process measured.
    pub(crate) fn add(&self, record: &MeasuresRecord) {
        self.dial.add(&record.dial);
        self.tls.add(&record.tls);
        self.answer.add(&record.answer);
        if let Some(last) = record.last_answer_us {
            self.last_answer_us.store(last, Ordering::Relaxed);
        }
        let of = |counts: &BTreeMap<String, u64>, name| counts.get(name).copied().unwrap_or(0);
        for (outcome, own) in Outcome::ALL.iter().zip(&self.probes) {
            own.fetch_add(of(&record.probes, outcome.label()), Ordering::Relaxed);
        }
        for (state, own) in State::ALL.iter().zip(&self.entered) {
            own.fetch_add(of(&record.entered, state.name()), Ordering::Relaxed);
        }
        self.delayed.fetch_add(record.delayed, Ordering::Relaxed);
        self.shed.fetch_add(record.shed, Ordering::Relaxed);
    }

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
        // Ready, Alive, Unidentified, NotReady, Outdated, Slow: whoever is not known yet has answered too.
        assert_eq!(measures.answer.snapshot().count(), 6, "those that answered");
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

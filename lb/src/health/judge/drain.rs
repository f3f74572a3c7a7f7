//! Drains: somebody who knows better than probes wants a backend to get nothing new.
//!
//! The operator and the machine each take back only what they asked for themselves, so that a reboot
//! in the middle of somebody's maintenance does not end it.

use super::{HealthJudge, Transition};
use crate::clock::Millis;

/// Who drains a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainedBy {
    /// With `mainstay drain`.
    Operator,
    /// Its agent, because the machine goes down.
    Machine,
}

impl HealthJudge {
    /// Whether the operator drains it.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.drained
    }

    /// Whether anybody drains it.
    #[must_use]
    pub fn held_back(&self) -> bool {
        self.drained || self.going_down
    }

    /// Drains the backend, or takes back what the same one has asked for.
    pub fn drain(&mut self, by: DrainedBy, drained: bool, now: Millis) -> Option<Transition> {
        let from = self.state();
        match by {
            DrainedBy::Operator => self.drained = drained,
            DrainedBy::Machine => self.going_down = drained,
        }
        let to = self.state();
        if from == to {
            return None;
        }
        let signal = match (by, drained) {
            (DrainedBy::Operator, true) => "the operator drains it",
            (DrainedBy::Operator, false) => "the operator undrained it",
            (DrainedBy::Machine, true) => "its machine goes down",
            (DrainedBy::Machine, false) => "its machine is back",
        };
        self.since = now;
        Some(self.remember(Transition {
            from,
            to,
            at: now,
            signal: signal.into(),
            threshold: "at once".into(),
        }))
    }

    /// What would end the drain, in words.
    pub(super) fn drain_clears(&self) -> Option<&'static str> {
        match (self.drained, self.going_down) {
            (true, _) => Some("`mainstay undrain`"),
            (false, true) => Some("a heartbeat of its agent after the restart"),
            (false, false) => None,
        }
    }
}

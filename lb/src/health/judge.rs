//! The state of one backend, as a pure machine: told what a probe saw and when, it says what the
//! backend may get.
//!
//! ```text
//!            2 good                 500, certificate, operator
//! PENDING ----------> UP --------------------------> DRAIN
//!                     | ^ 2 good from anywhere         | port closed for 70 s
//!       3 slow/silent v |                              v
//!                  SUSPECT --30 s without TLS--> FROZEN, DEAD <-- refused twice, no connect 3 times
//! ```
//!
//! Slow is not dead: a master that answers TLS keeps its established connections, because resetting
//! thousands of them makes it slower still. One that is gone loses them at once, because clients
//! hang on them otherwise.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::clock::Millis;

mod drain;

pub use drain::DrainedBy;

/// Good probes in a row before a backend gets connections: one answer may be the end of a restart.
pub const RISE: u32 = 2;

/// Time of nothing but answers that may not tell before a backend gets connections while others
/// serve. An apiserver that starts refuses everybody until it knows its own rules, for some seconds.
pub const RISE_ALIVE_AFTER: Duration = Duration::from_secs(10);

/// Refusals in a row that are a death. One may be the gap of a restart; two are about a second.
pub const FALL_REFUSED: u32 = 2;

/// Probes without any connection in a row that are a death: 13 s at most, below the 40 s after
/// which Kubernetes gives up a node.
pub const FALL_HARD: u32 = 3;

/// Probes without a timely answer in a row that make a backend suspect.
pub const FALL_SOFT: u32 = 3;

/// Time without any TLS answer after which a process is frozen: above any believable handshake,
/// below the 45 s after which client-go gives up by itself.
pub const FROZEN_AFTER: Duration = Duration::from_secs(30);

/// Time that established connections of a stopping apiserver may last after its port is closed: it
/// gives running requests 60 s.
pub const DRAIN_MAX: Duration = Duration::from_secs(70);

/// Transitions that are remembered for each backend.
pub const HISTORY_MAX: usize = 10;

/// What is known of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Known, never ready yet.
    Pending,
    /// Serves.
    Up,
    /// Serves what it has, wants nothing new.
    Drain,
    /// Answers too slowly or not, but is there.
    Suspect,
    /// Accepts connections and does nothing with them.
    Frozen,
    /// Not there, or not ours.
    Dead,
}

impl State {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Up, Self::Drain, Self::Suspect, Self::Frozen, Self::Dead];

    /// As status and metrics name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Up => "UP",
            Self::Drain => "DRAIN",
            Self::Suspect => "SUSPECT",
            Self::Frozen => "FROZEN",
            Self::Dead => "DEAD",
        }
    }

    /// Whether its established connections are to be reset.
    #[must_use]
    pub fn cuts(self) -> bool {
        matches!(self, Self::Frozen | Self::Dead)
    }
}

/// When new connections may go to a backend, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// By its connections.
    Usual,
    /// Only if no backend is usual: it is suspect.
    LastChoice,
    /// Only if there is no other at all: it says that it is not ready, or its certificate is not valid
    /// now. An etcd gap makes all masters say so at once, and so does a wrong clock of ours.
    FailOpen,
    /// Not at all.
    Never,
}

/// One change of state and what brought it about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// When.
    pub at: Millis,
    /// What was seen.
    pub signal: String,
    /// The rule that it met.
    pub threshold: Cow<'static, str>,
}

/// The judge of one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthJudge {
    state: State,
    since: Millis,
    /// Consecutive good outcomes.
    good: u32,
    /// Since when there were only answers that may not tell whether it is ready.
    #[serde(default)]
    alive_since: Option<Millis>,
    /// Consecutive refusals.
    refused: u32,
    /// Consecutive outcomes without a TCP connection or with a wrong identity.
    hard: u32,
    /// Consecutive outcomes with a connection, but without a timely answer.
    soft: u32,
    /// When TLS last answered, unless the host was gone since then.
    answered: Option<Millis>,
    /// Since when no TLS answer came although TCP connects.
    silent_since: Option<Millis>,
    /// Consecutive outcomes without a TLS answer although TCP connects.
    silent: u32,
    /// Since when the port of a draining backend is closed.
    port_closed: Option<Millis>,
    /// Whether it was ever UP: before that it can only be PENDING, or DEAD for a wrong identity.
    ever_up: bool,
    /// Whether the operator drains it.
    drained: bool,
    /// Whether its own machine goes down. A process that takes over hears that anew, if it is so.
    #[serde(skip)]
    going_down: bool,
    last: Option<Outcome>,
    history: VecDeque<Transition>,
}

impl HealthJudge {
    /// The judge of a backend that was just added.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self {
            state: State::Pending,
            since: now,
            good: 0,
            alive_since: None,
            refused: 0,
            hard: 0,
            soft: 0,
            answered: None,
            silent_since: None,
            silent: 0,
            port_closed: None,
            ever_up: false,
            drained: false,
            going_down: false,
            last: None,
            history: VecDeque::new(),
        }
    }

    /// The state as probes see it, or DRAIN while somebody drains a backend that would serve.
    #[must_use]
    pub fn state(&self) -> State {
        match self.state {
            State::Up | State::Suspect if self.held_back() => State::Drain,
            state => state,
        }
    }

    /// Since when it is in that state.
    #[must_use]
    pub fn since(&self) -> Millis {
        self.since
    }

    /// What the last probe saw.
    #[must_use]
    pub fn last(&self) -> Option<Outcome> {
        self.last
    }

    /// The last changes, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Transition> {
        self.history.iter()
    }

    /// When new connections may go to it.
    #[must_use]
    pub fn rank(&self) -> Rank {
        if self.held_back() {
            return Rank::Never;
        }
        match self.state {
            State::Up => Rank::Usual,
            // Three probes without a TLS answer: it would only eat the client's first flight.
            State::Suspect if self.silent >= FALL_SOFT => Rank::Never,
            State::Suspect => Rank::LastChoice,
            State::Drain if self.port_closed.is_none() => Rank::FailOpen,
            State::Drain | State::Pending | State::Frozen | State::Dead => Rank::Never,
        }
    }

    /// Notes what a probe saw. `alone`: no backend serves, so the first sign of life counts.
    pub fn observe(&mut self, outcome: Outcome, now: Millis, alone: bool) -> Option<Transition> {
        self.count(outcome, now);
        self.last = Some(outcome);
        let (to, threshold) = self.verdict(outcome, now, alone)?;
        self.enter(to, now, outcome.to_string(), threshold)
    }

    fn count(&mut self, outcome: Outcome, now: Millis) {
        let next = |count: u32, grows: bool| if grows { count.saturating_add(1) } else { 0 };
        let hard = !outcome.answered() && outcome != Outcome::Silent;
        self.good = next(self.good, outcome.is_good());
        self.alive_since = match outcome {
            Outcome::Alive => self.alive_since.or(Some(now)),
            _ => None,
        };
        self.refused = next(self.refused, outcome == Outcome::Refused);
        self.hard = next(self.hard, hard);
        if !hard {
            self.soft = next(self.soft, matches!(outcome, Outcome::Slow | Outcome::Silent));
        }
        self.silent = next(self.silent, outcome == Outcome::Silent);
        if outcome == Outcome::Silent {
            // The silence began after the last answer, not when we had waited for the next one.
            self.silent_since.get_or_insert(self.answered.unwrap_or(now));
        } else if outcome.answered() {
            self.silent_since = None;
        }
        if outcome.answered() {
            self.answered = Some(now);
        } else if hard {
            self.answered = None;
        }
        if !hard {
            self.port_closed = None;
        }
    }

    /// The state that the counts ask for and the rule that says so; `None` to stay.
    fn verdict(
        &mut self,
        outcome: Outcome,
        now: Millis,
        alone: bool,
    ) -> Option<(State, &'static str)> {
        if outcome == Outcome::WrongIdentity {
            return Some((State::Dead, "a wrong identity, at once"));
        }
        if alone && outcome.is_good() {
            return Some((State::Up, "one good probe while no other backend serves"));
        }
        if alone && !self.ever_up && outcome.answered() {
            return Some((State::Up, "any TLS answer of the first master"));
        }
        if alone && outcome == Outcome::Unidentified {
            return Some((State::Up, "any TLS answer while nobody serves and no CA is known"));
        }
        if self.good >= RISE && (self.alive_since.is_none() || self.state == State::Suspect) {
            return Some((State::Up, "2 good probes in a row"));
        }
        if self.alive_since.is_some_and(|since| now.since(since) >= RISE_ALIVE_AFTER) {
            return Some((State::Up, "10s of answers that may not tell"));
        }
        if !self.ever_up {
            let known = outcome.answered();
            return known.then_some((State::Pending, "its identity is right again"));
        }
        if outcome == Outcome::NotReady {
            return Some((State::Drain, "one answer that it is not ready"));
        }
        // Clients whose clock is right would not take it. If it is our clock that is wrong, all of
        // them are so, and all serve.
        if outcome == Outcome::Outdated {
            return Some((State::Drain, "one certificate that is not valid now"));
        }
        if self.hard >= FALL_HARD && self.refused < FALL_REFUSED {
            return Some((State::Dead, "3 probes in a row without a connection"));
        }
        if self.refused >= FALL_REFUSED {
            return self.port_gone(now);
        }
        // Several probes, for the case that it was us who stood still.
        let silent = self.silent_since.is_some_and(|since| now.since(since) >= FROZEN_AFTER);
        if silent && self.soft >= FALL_SOFT {
            return Some((State::Frozen, "no TLS answer for 30s"));
        }
        let looks_alive = matches!(self.state, State::Up | State::Drain);
        (self.soft >= FALL_SOFT && looks_alive)
            .then_some((State::Suspect, "3 probes in a row without an answer in time"))
    }

    /// Nobody listens any more: a death, or the expected end of a drain.
    fn port_gone(&mut self, now: Millis) -> Option<(State, &'static str)> {
        if self.state != State::Drain {
            return Some((State::Dead, "2 refused probes in a row"));
        }
        let closed = *self.port_closed.get_or_insert(now);
        (now.since(closed) >= DRAIN_MAX).then_some((State::Dead, "70s after its port closed"))
    }

    fn enter(
        &mut self,
        to: State,
        now: Millis,
        signal: String,
        threshold: &'static str,
    ) -> Option<Transition> {
        let from = self.state();
        if self.state == to {
            return None;
        }
        self.state = to;
        self.ever_up |= to == State::Up;
        if to != State::Drain {
            self.port_closed = None;
        }
        let (to, threshold) = (self.state(), threshold.into());
        if from == to {
            // A drain hides it.
            return None;
        }
        self.since = now;
        Some(self.remember(Transition { from, to, at: now, signal, threshold }))
    }

    fn remember(&mut self, transition: Transition) -> Transition {
        if self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(transition.clone());
        transition
    }

    /// What would end the present state, in words.
    #[must_use]
    pub fn clears(&self) -> &'static str {
        if let Some(clears) = self.drain_clears() {
            return clears;
        }
        match self.state {
            State::Pending => {
                "2 good probes in a row (one TLS answer if no other backend serves), 10s of 401 or 403"
            }
            State::Up => "a 500 of /readyz, 2 refused probes, 3 without an answer in time",
            State::Drain => "2 good probes in a row; 70s after its port closed it is DEAD",
            State::Suspect => "2 good probes in a row; 30s without any TLS answer make it FROZEN",
            State::Frozen | State::Dead => {
                "2 good probes in a row (one if no other backend serves)"
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The phases in which the balancer stops, as a pure machine.
//!
//! ```text
//! Serving --stop--> LameDuck --time--> Draining --time or no session--> Cutting --> Stopped
//! ```
//!
//! LameDuck: `/readyz` fails, connections are still accepted, so that whoever watches us can send
//! clients elsewhere. Draining: the port is closed, sessions go on. Cutting: the sessions that are
//! left are reset. A second request to stop skips the phase that runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the program is between start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopPhase {
    /// Normal work.
    Serving,
    /// `/readyz` fails, the port is still open.
    LameDuck,
    /// The port is closed, established sessions go on.
    Draining,
    /// The sessions that are left are reset.
    Cutting,
    /// Nothing is left to do.
    Stopped,
}

/// How long the phases last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopLimits {
    /// Length of [`StopPhase::LameDuck`].
    pub lame_duck: Duration,
    /// Longest [`StopPhase::Draining`].
    pub drain_timeout: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopEvent {
    /// The operator asked us to stop; again, if it is not the first time.
    StopRequested,
    /// The time of the phase is over.
    TimeOver,
    /// The last session ended.
    NoSessionLeft,
}

impl StopPhase {
    /// As people read it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::LameDuck => "lame duck",
            Self::Draining => "draining",
            Self::Cutting => "cutting",
            Self::Stopped => "stopped",
        }
    }

    /// The phase after `event`. An event that means nothing in this phase changes nothing.
    #[must_use]
    pub fn after(self, event: StopEvent) -> Self {
        match (self, event) {
            (Self::Serving, StopEvent::StopRequested) => Self::LameDuck,
            (Self::Serving, StopEvent::TimeOver | StopEvent::NoSessionLeft) => Self::Serving,
            (Self::LameDuck, StopEvent::StopRequested | StopEvent::TimeOver) => Self::Draining,
            (Self::LameDuck, StopEvent::NoSessionLeft) => Self::LameDuck,
            (Self::Draining, StopEvent::StopRequested | StopEvent::TimeOver) => Self::Cutting,
            (Self::Draining, StopEvent::NoSessionLeft) => Self::Stopped,
            (Self::Cutting | Self::Stopped, _) => Self::Stopped,
        }
    }

    /// How long this phase may last; `None` where it ends by an event alone.
    #[must_use]
    pub fn time_limit(self, limits: &StopLimits) -> Option<Duration> {
        match self {
            Self::Serving | Self::Stopped => None,
            Self::LameDuck => Some(limits.lame_duck),
            Self::Draining => Some(limits.drain_timeout),
            Self::Cutting => Some(CUTTING_MAX),
        }
    }
}

/// Resetting a session takes one wake-up of its task; whoever has not ended after this long never
/// will, and the process must not hang for it.
pub const CUTTING_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::StopEvent::*;
    use super::StopPhase::*;

    #[test]
    fn every_phase_and_event() {
        let table = [
            (Serving, StopRequested, LameDuck),
            (Serving, TimeOver, Serving),
            (Serving, NoSessionLeft, Serving),
            (LameDuck, StopRequested, Draining),
            (LameDuck, TimeOver, Draining),
            (LameDuck, NoSessionLeft, LameDuck),
            (Draining, StopRequested, Cutting),
            (Draining, TimeOver, Cutting),
            (Draining, NoSessionLeft, Stopped),
            (Cutting, StopRequested, Stopped),
            (Cutting, TimeOver, Stopped),
            (Cutting, NoSessionLeft, Stopped),
            (Stopped, StopRequested, Stopped),
            (Stopped, TimeOver, Stopped),
            (Stopped, NoSessionLeft, Stopped),
        ];
        for (phase, event, expected) in table {
            assert_eq!(phase.after(event), expected, "{phase:?} after {event:?}");
        }
    }

    #[test]
    fn a_phase_never_goes_back() {
        for phase in [Serving, LameDuck, Draining, Cutting, Stopped] {
            for event in [StopRequested, TimeOver, NoSessionLeft] {
                assert!(phase.after(event) >= phase);
            }
        }
    }
}

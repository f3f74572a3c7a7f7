//! The keeper's part that tells people what was decided, through the journal.

use std::time::Duration;

use common::duration;
use common::events::EventKind;

use super::{Keeper, Ward};
use crate::health::{State, Transition};

/// Why a state changes, which decides how it is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// By what probes saw, or by what its agent says.
    Seen,
    /// By the operator, who is told in words of his own: see [`Keeper::note_drain`].
    Operator,
}

impl Keeper {
    /// A backend changed its state.
    pub(super) fn note_turn(&self, name: &str, transition: &Transition, cause: Cause) {
        let kind = match (cause, transition.to) {
            (Cause::Operator, _) => return,
            (Cause::Seen, State::Up) => EventKind::BackendUp,
            (Cause::Seen, State::Frozen | State::Dead) => EventKind::BackendDown,
            (Cause::Seen, State::Pending | State::Drain | State::Suspect) => {
                EventKind::BackendDegraded
            }
        };
        let (from, to) = (transition.from.name(), transition.to.name());
        let (signal, rule) = (&transition.signal, &transition.threshold);
        let text = format!("{from} to {to}: {signal} ({rule})");
        self.balancer.journal().note_about(kind, name, text);
    }

    /// An operator drains a backend or takes that back.
    pub(super) fn note_drain(&self, name: &str, drained: bool, over: Option<Duration>) {
        if !drained {
            let text = "it may get new connections again";
            return self.balancer.journal().note_about(EventKind::Undrained, name, text);
        }
        let text = match over {
            Some(over) => {
                let over = duration::exact(over);
                format!("no new connections; its sessions are closed over {over}")
            }
            None => "no new connections; its sessions go on".to_owned(),
        };
        self.balancer.journal().note_about(EventKind::Drained, name, text);
    }

    /// A membership was applied; `gone` are those that are no members any more.
    pub(super) fn note_membership(&self, added: &[String], gone: &[Ward]) {
        let gone = gone.iter().map(|ward| ward.backend.member.name.as_str());
        let list = |sign: &str, names: Vec<&str>| {
            names.iter().map(|name| format!(" {sign}{name}")).collect::<String>()
        };
        let added = list("+", added.iter().map(String::as_str).collect());
        let gone = list("-", gone.collect());
        let (generation, members) = (self.generation, self.wards.len());
        let text = format!("generation {generation}, members: {members}{added}{gone}");
        self.balancer.journal().note(EventKind::MembershipChanged, text);
    }
}

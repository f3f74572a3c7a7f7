//! How the registry's events are told: kind, name and sentence.

use common::events::EventKind;

use crate::registry::RegistryEvent;
use crate::registry::turns::TurnEvent;

/// Kind of an event, whom it is about, and what happened.
pub(super) fn entry(event: &RegistryEvent) -> (EventKind, String, String) {
    match event {
        RegistryEvent::Registered { name, address, ticket } => {
            let by = ticket.as_ref().map_or_else(
                || "by its registered key".to_owned(),
                |ticket| format!("with ticket {ticket}"),
            );
            let text = format!("registered {address} {by}");
            (EventKind::MemberRegistered, name.clone(), text)
        }
        RegistryEvent::Admitted(name) => {
            (EventKind::MemberAdmitted, name.clone(), "its apiserver is in rotation".to_owned())
        }
        RegistryEvent::Left(name) => {
            (EventKind::MemberLeft, name.clone(), "it is no member any more".to_owned())
        }
        RegistryEvent::Missing(name) => {
            (EventKind::HeartbeatMissed, name.clone(), "no heartbeat for 30s".to_owned())
        }
        RegistryEvent::Returned(name) => {
            (EventKind::HeartbeatReturned, name.clone(), "its heartbeats are back".to_owned())
        }
        RegistryEvent::Pinned(pins) => {
            let text = format!("the cluster's CA is known: {pins}");
            (EventKind::SourceChanged, "cluster".to_owned(), text)
        }
        RegistryEvent::Turn(turn) => turn_entry(turn),
    }
}

fn turn_entry(event: &TurnEvent) -> (EventKind, String, String) {
    match event {
        TurnEvent::Began { joiner } => {
            (EventKind::JoinStarted, joiner.clone(), "it has the turn to join".to_owned())
        }
        TurnEvent::Issued { joiner, by, token_id } => {
            let text = format!("{by} made credentials, token {token_id}");
            (EventKind::JoinStep, joiner.clone(), text)
        }
        TurnEvent::Ended { joiner, joined: true, reason } => {
            (EventKind::JoinDone, joiner.clone(), reason.clone())
        }
        TurnEvent::Ended { joiner, joined: false, reason } => {
            (EventKind::JoinFailed, joiner.clone(), reason.clone())
        }
    }
}

//! Tests of the page as the server draws it.

use std::sync::Arc;

use common::Source;
use common::coordinator::{
    CertificateStatus, CoordinatorStatus, JoinStatus, RegisteredMember, TicketStatus,
};
use common::drain::StopPhase;
use common::events::{EventKind, Journal};
use common::status::{BackendState, BackendStatus, ConnectionStatus, KubernetesStatus, Status};

use super::draw::Drawing;
use super::*;

/// A name that would run if it was not escaped, or draw the script a second time.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&{{backends}}";

fn status() -> Status {
    let backend = |name: &str, state| BackendStatus {
        name: name.into(),
        addr: "10.0.0.11:6443".into(),
        source: Source::Registered,
        state,
        why: HOSTILE.into(),
        connections: 1,
        connections_total: 7,
        dial_failures_total: 0,
        received_bytes: 2048,
        sent_bytes: 3,
        age_seconds: 9,
        answer_us: Some(1500),
    };
    Status {
        version: "0.1.0".into(),
        commit: "abc".into(),
        pid: 7,
        uptime_seconds: 61,
        phase: StopPhase::Serving,
        ready: true,
        listen: vec!["[::]:6443".into()],
        listening: true,
        generation: 1,
        connections: ConnectionStatus { open: 3, limit: 100, ..Default::default() },
        backends: vec![backend(HOSTILE, BackendState::Up), backend("m1", BackendState::Dead)],
        kubernetes: KubernetesStatus::default(),
        coordinator: None,
    }
}

fn page(status: &Status) -> String {
    let journal = Journal::new();
    journal.note_about(EventKind::MemberRefused, HOSTILE, HOSTILE);
    let events: Vec<Arc<_>> = journal.kept();
    filled(TEMPLATE, &Drawing { status, events: &events })
}

fn coordinator() -> CoordinatorStatus {
    CoordinatorStatus {
        members: vec![RegisteredMember {
            name: HOSTILE.into(),
            addr: HOSTILE.into(),
            life: HOSTILE.into(),
            heartbeat_seconds_ago: Some(4),
            missing: false,
        }],
        joins: vec![JoinStatus {
            name: HOSTILE.into(),
            step: HOSTILE.into(),
            seconds: 5,
            seconds_left: None,
        }],
        tickets: vec![TicketStatus {
            id: HOSTILE.into(),
            description: HOSTILE.into(),
            seconds_left: Some(3600),
            uses_left: None,
        }],
        certificates: vec![CertificateStatus { name: HOSTILE.into(), seconds_left: -1 }],
        tickets_good: 1,
        revocations: 0,
    }
}

#[test]
fn everything_is_there_without_javascript() {
    let mut status = status();
    let drawn = page(&status);
    assert!(drawn.contains("<title>1 of 2 UP – Mainstay</title>"));
    for text in [
        "off: no credentials",
        "✓ UP",
        "✕ DEAD",
        "2.0 KiB in all",
        "1.5 ms",
        "50%",
        "registered",
        "3 of 100",
    ] {
        assert!(drawn.contains(text), "{text}");
    }
    assert!(!drawn.contains(">Nobody joins."), "there is no coordinator");
    status.coordinator = Some(CoordinatorStatus::default());
    assert!(page(&status).contains(">Nobody joins."));
    status.coordinator = Some(coordinator());
    assert!(page(&status).contains("<span class=\"badge bad\">ended</span>"));
    status.backends.clear();
    status.ready = false;
    let empty = page(&status);
    assert!(empty.contains(">No backend: the port is closed.") && empty.contains("not ready"));
}

#[test]
fn nothing_from_the_network_is_html() {
    let mut status = status();
    status.coordinator = Some(coordinator());
    status.kubernetes.on = true;
    status.kubernetes.listed = vec![HOSTILE.into()];
    status.kubernetes.error = Some(HOSTILE.into());
    let drawn = page(&status);
    assert!(drawn.contains(">not connected for 0s, listed &#60;img"), "{drawn}");
    assert!(!drawn.contains("<img"), "{drawn}");
    assert!(drawn.matches("&#60;img src=x onerror=alert(1)&#62;&#34;&#39;&#38;").count() > 10);
    let tables = drawn.matches("aria-label=\"Backends\"").count();
    assert_eq!(tables, 1, "what is put in is not looked at again");
}

#[test]
fn the_policy_names_the_pages_own_script() {
    assert_eq!(TEMPLATE.matches("<script").count(), 1);
    assert_eq!(TEMPLATE.matches("<style").count(), 1);
    for forbidden in [" style=", " onclick", "http://", "https://", "innerHTML", "//cdn"] {
        let allowed = TEMPLATE.replace("http://www.w3.org/2000/svg", "");
        assert!(!allowed.contains(forbidden), "{forbidden}");
    }
    assert!(!POLICY.contains("unsafe") && POLICY.matches("'sha256-").count() == 2, "{}", *POLICY);
    let places = TEMPLATE.matches("{{").count();
    assert_eq!(places, 12, "a place in script or style would change its hash");
    for part in ["style", "script"] {
        let content = between(TEMPLATE, &format!("<{part}>"), &format!("</{part}>"));
        assert!(content.len() > 1000 && !content.contains("{{"), "{part}");
    }
}

//! The registry, event by event.

use super::*;
use crate::protocol::{Intent, JoinPhase, Made, Task, WorkOutcome};
use crate::registry::refusal::RefusedKind;
use crate::registry::tickets::Terms;
use std::net::SocketAddr;
use std::time::Instant;

const EC: &str = include_str!("../../../tests/fixtures/vectors/ca-ec.crt");
const RSA: &str = include_str!("../../../tests/fixtures/vectors/ca-rsa.crt");

fn now(seconds: u64) -> Now {
    Now { unix: 1_000 + seconds, run: Duration::from_secs(seconds) }
}

fn claim(name: &str, host: u8, intent: Intent) -> Claim {
    Claim {
        name: name.into(),
        address: SocketAddr::from(([10, 0, 0, host], 6443)),
        key: format!("key of {name}"),
        intent,
        force: false,
    }
}

fn seen(host: u8, state: BackendState) -> MemberState {
    MemberState {
        name: host.to_string(),
        addr: SocketAddr::from(([10, 0, 0, host], 6443)),
        state,
        since: Instant::now(),
        why: "seen".into(),
    }
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    let terms = Terms { uses: Some(3), ..Terms::default() };
    registry.tickets.add(&"abcdef.0123456789abcdef".parse().unwrap(), terms, 1_000).unwrap();
    registry.register(claim("a", 1, Intent::Init), Some("abcdef"), &[], now(0)).unwrap();
    registry
}

fn agent() -> Heartbeat {
    Heartbeat { can_issue: true, ..Heartbeat::default() }
}

fn pins(pem: &str) -> Vec<CaPin> {
    let mut cluster = ClusterRecord::default();
    cluster.learn(Some(pem), None).unwrap();
    cluster.pins()
}

#[test]
fn a_ticket_is_spent_once_for_each_master() {
    let mut registry = registry();
    registry.register(claim("a", 1, Intent::Init), Some("abcdef"), &[], now(1)).unwrap();
    registry.register(claim("b", 2, Intent::Join), Some("abcdef"), &[], now(2)).unwrap();
    let used = registry.tickets.good(1_002).next().unwrap().1.used;
    assert_eq!(used, 2);
}

#[test]
fn without_a_ticket_only_the_registered_key_comes_back_to_its_place() {
    let mut registry = registry();
    let moved = claim("a", 9, Intent::Register);
    let back = registry.register(moved, None, &[], now(5)).unwrap();
    assert_eq!(back.address.to_string(), "10.0.0.1:6443");
    let stranger = claim("x", 9, Intent::Join);
    let refused = registry.register(stranger, None, &[], now(5)).unwrap_err();
    assert_eq!(refused.kind, RefusedKind::Unauthorized);
    let thief = Claim { key: "other".into(), ..claim("a", 9, Intent::Join) };
    assert!(registry.register(thief, None, &[], now(5)).is_err());
}

#[test]
fn another_cluster_is_refused_before_a_ticket_is_spent() {
    let mut registry = registry();
    registry.learn("a", Some(EC), None).unwrap();
    let refused =
        registry.register(claim("b", 2, Intent::Join), Some("abcdef"), &pins(RSA), now(1));
    assert_eq!(refused.unwrap_err().kind, RefusedKind::Forbidden);
    assert_eq!(registry.tickets.good(1_002).next().unwrap().1.used, 1);
    assert!(
        registry.register(claim("b", 2, Intent::Join), Some("abcdef"), &pins(EC), now(1)).is_ok()
    );
}

#[test]
fn only_a_master_that_is_alone_may_begin_anew() {
    let mut registry = registry();
    registry.learn("a", Some(EC), None).unwrap();
    registry.observe(&[seen(1, BackendState::Up)], now(1));
    // kubeadm init failed late, was reset and made another CA.
    registry.register(claim("a", 1, Intent::Init), None, &pins(RSA), now(2)).unwrap();
    registry.learn("a", Some(RSA), None).unwrap();
    registry.register(claim("b", 2, Intent::Join), Some("abcdef"), &pins(RSA), now(3)).unwrap();
    registry.observe(&[seen(1, BackendState::Up), seen(2, BackendState::Up)], now(4));
    assert!(registry.learn("a", Some(EC), None).is_err());
    assert!(registry.register(claim("a", 1, Intent::Init), None, &pins(EC), now(5)).is_err());
}

#[test]
fn only_masters_in_rotation_get_work_and_are_believed() {
    let mut registry = registry();
    registry.register(claim("b", 2, Intent::Join), Some("abcdef"), &[], now(0)).unwrap();
    let request = JoinRequest { sealing_key: "k".into(), turn_only: false, seen: None };
    assert_eq!(registry.join("b", &request, now(0)).unwrap().phase, JoinPhase::Issuing);
    assert!(registry.heartbeat("a", &agent(), now(0)).unwrap().work.is_none(), "not UP yet");
    registry.observe(&[seen(1, BackendState::Up), seen(2, BackendState::Pending)], now(1));
    assert!(registry.heartbeat("b", &agent(), now(1)).unwrap().work.is_none(), "not the joiner");
    let draining = Heartbeat { draining: true, ..agent() };
    assert!(registry.heartbeat("a", &draining, now(1)).unwrap().work.is_none());
    let work = registry.heartbeat("a", &agent(), now(1)).unwrap().work.unwrap();
    assert!(matches!(work.task, Task::Issue { .. }));
    let made = Made { token_id: "t".into(), owner_id: "o".into(), certs_uid: None };
    let result = WorkOutcome::Issued { sealed: "s".into(), made };
    let result = WorkResult { id: work.id, result };
    assert!(registry.worked("b", result.clone(), now(2)).is_err());
    registry.worked("a", result, now(2)).unwrap();
    assert_eq!(registry.join("b", &request, now(2)).unwrap().phase, JoinPhase::Ready);
    registry.joined("b", &JoinOutcome { joined: true, reason: String::new() }, now(3));
    registry.observe(&[seen(1, BackendState::Up), seen(2, BackendState::Up)], now(4));
    assert_eq!(registry.join("b", &request, now(4)).unwrap().phase, JoinPhase::Joined);
    assert_eq!(registry.members.of("b").unwrap().life, Life::Admitted);
}

#[test]
fn silence_and_return_are_told_once() {
    let mut registry = registry();
    registry.take_events();
    for second in [10, 31, 32, 33] {
        registry.tick(now(second));
    }
    assert_eq!(registry.take_events(), [RegistryEvent::Missing("a".into())]);
    registry.heartbeat("a", &agent(), now(40)).unwrap();
    registry.tick(now(41));
    assert_eq!(registry.take_events(), [RegistryEvent::Returned("a".into())]);
}

#[test]
fn whoever_left_is_nobody() {
    let mut registry = registry();
    assert!(registry.leave("a", now(1)) && !registry.leave("a", now(1)));
    assert!(registry.heartbeat("a", &agent(), now(1)).is_err());
    let request = JoinRequest { sealing_key: "k".into(), turn_only: false, seen: None };
    assert!(registry.join("a", &request, now(1)).is_err());
}

#[test]
fn a_restart_knows_what_was_saved() {
    let mut registry = registry();
    registry.learn("a", Some(EC), Some(zeroize::Zeroizing::new("kubeconfig".into()))).unwrap();
    let text = serde_json::to_string(&registry.saved()).unwrap();
    let again = Registry::restored(serde_json::from_str(&text).unwrap(), 7);
    assert_eq!(again.saved(), registry.saved());
    assert_eq!(again.cluster.ca(), Some(EC));
}

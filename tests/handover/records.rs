//! What others keep of the balancer stays whole: metrics, events, the ledger, the service manager.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::giver::{ask, hand_over, upgrade_of};
use crate::support::{Backend, Balancer, Behaviour, Client, Setup, eventually, until};

/// Every series that may only grow.
fn growing(balancer: &Balancer) -> BTreeMap<String, f64> {
    let page = balancer.ask("GET", "/metrics").body;
    let grows = |name: &str| {
        let name = name.split('{').next().unwrap_or_default();
        ["_total", "_bucket", "_sum", "_count"].iter().any(|suffix| name.ends_with(suffix))
    };
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let series = lines.filter_map(|line| line.rsplit_once(' ')).filter(|(name, _)| grows(name));
    series.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

#[test]
fn no_counter_goes_back() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).start();
    let mut kept = Client::established(balancer.addr).unwrap();
    (0..10).for_each(|_| drop(Client::established(balancer.addr).unwrap()));
    balancer.ask("POST", &format!("/v1/members/{}/drain", backend.addr));
    balancer.ask("POST", &format!("/v1/members/{}/undrain", backend.addr));
    until("ten sessions are over", || balancer.status().connections.open == 1);
    until("the bytes are counted", || {
        balancer.row(backend.addr).is_some_and(|row| row.sent_bytes >= 44)
    });
    let before = growing(&balancer);
    let first = balancer.metric("mainstay_membership_generation");
    for _ in 0..2 {
        hand_over(&balancer);
    }
    kept.echo(b"goes on").unwrap();
    let after = growing(&balancer);
    for (series, value) in &before {
        let now = after.get(series).copied().unwrap_or_default();
        assert!(now >= *value, "{series}: {value} before, {now} after");
    }
    assert!(before.values().filter(|value| **value > 0.0).count() > 20, "{before:?}");
    let generation = balancer.metric("mainstay_membership_generation");
    assert!(generation >= first + 2.0, "{first} before, {generation} after two processes");
    let events = balancer.ask("GET", "/v1/events?follow=false").body;
    assert!(events.contains("drained") && events.contains("took over 1 session"), "{events}");
}

#[test]
fn a_session_has_one_line_in_the_ledger() {
    let backend = Backend::new(Behaviour::Echo);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ledger.jsonl");
    let config = format!("ledger = \"{}\"\n", file.display());
    let balancer = Setup::backends(&[backend.addr]).config(config).start();
    let mut client = Client::established(balancer.addr).unwrap();
    for _ in 0..3 {
        assert_eq!(hand_over(&balancer).sessions, 1);
        client.echo(b"0123456789").unwrap();
    }
    drop(client);
    let line = eventually("a line of the ledger", || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.ends_with('\n').then_some(text)
    });
    assert_eq!(line.lines().count(), 1, "{line}");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["reason"], "client_ended", "{line}");
    assert_eq!((&line["sent_bytes"], &line["received_bytes"]), (&34.into(), &34.into()), "{line}");
}

#[test]
fn the_service_manager_learns_of_the_new_main_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).environment("NOTIFY_SOCKET", path).start();
    let said = || {
        let mut text = [0; 512];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    assert_eq!(said(), "READY=1");
    let first = ask(&balancer).pid;
    let pid = eventually("another process", || {
        let now = upgrade_of(&balancer).pid;
        (now != first).then_some(now)
    });
    let both = [said(), said()];
    assert!(both.contains(&format!("MAINPID={pid}")), "{both:?}");
    assert!(both.contains(&"READY=1".to_owned()), "{both:?}");
}

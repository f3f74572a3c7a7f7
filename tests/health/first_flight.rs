//! Masters that take a connection and do not answer it: the client is answered by another one.

use std::time::Duration;

use common::status::BackendState;

use crate::clients::{Load, Trust, assert_served};
use crate::master::{three, until_state};
use crate::pki::Pki;

/// New connections while one master opens its door in this way; until it is found out.
fn with_door(door: &str, limit: Duration, verdict: BackendState) {
    let pki = Pki::new();
    let ([mut master, _two, _three], balancer) = three(&pki);
    let load = Load::start(balancer.addr, &Trust::of(&pki.ca()), 50);
    std::thread::sleep(Duration::from_millis(500));
    master.tell(&format!("door {door}"));
    until_state(&balancer, &master, verdict);
    std::thread::sleep(Duration::from_millis(500));
    let attempts = load.stop();
    let slowest = assert_served(&attempts, limit);
    println!("{door}: {} connections, slowest {slowest:?}", attempts.len());
}

#[test]
fn a_master_that_closes_before_its_first_byte_fails_no_connection() {
    with_door("close", Duration::from_secs(2), BackendState::Dead);
}

#[test]
fn a_master_that_resets_before_its_first_byte_fails_no_connection() {
    with_door("reset", Duration::from_secs(2), BackendState::Dead);
}

#[test]
fn a_master_that_trickles_its_first_bytes_gets_nothing_new_when_found_out() {
    let pki = Pki::new();
    let ([mut master, _two, _three], balancer) = three(&pki);
    master.tell("door trickle");
    until_state(&balancer, &master, BackendState::Suspect);
    let load = Load::start(balancer.addr, &Trust::of(&pki.ca()), 50);
    std::thread::sleep(Duration::from_secs(2));
    let attempts = load.stop();
    assert_served(&attempts, Duration::from_secs(2));
    assert!(attempts.iter().all(|attempt| attempt.ended != Ok(master.port())));
    assert_eq!(balancer.row(master.addr).unwrap().state, BackendState::Suspect);
}

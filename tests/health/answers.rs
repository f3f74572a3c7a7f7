//! What masters answer to the probes, and what follows for new and established connections.

use std::time::{Duration, Instant};

use common::status::BackendState;

use crate::clients::{Load, Streams, Trust, assert_served};
use crate::master::{Master, three, until_state};
use crate::pki::Pki;
use crate::support::Setup;

/// The longest usual pause between two probes, and what a busy machine may add.
const PROBE_INTERVAL: Duration = Duration::from_millis(3_600 + 1_500);

#[test]
fn a_master_that_is_not_ready_gets_nothing_new_and_keeps_its_streams() {
    let pki = Pki::new();
    let ([mut master, _two, _three], balancer) = three(&pki);
    let trust = Trust::of(&pki.ca());
    let streams = Streams::open(balancer.addr, &trust, 60);
    let load = Load::start(balancer.addr, &trust, 50);
    let told = Instant::now();
    master.tell("readyz 500");
    until_state(&balancer, &master, BackendState::Drain);
    let moved = told.elapsed();
    assert!(moved < PROBE_INTERVAL, "{moved:?}");
    let drained = Instant::now();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(streams.ended(), 0);
    let attempts = load.stop();
    let slowest = assert_served(&attempts, Duration::from_secs(2));
    let mut later = attempts.iter().filter(|attempt| attempt.begun > drained);
    assert!(later.all(|attempt| attempt.ended != Ok(master.port())));
    println!("500: moved after {moved:?}, 0 of 60 streams cut, slowest connection {slowest:?}");

    master.tell("readyz 200");
    until_state(&balancer, &master, BackendState::Up);
    assert_eq!(streams.ended(), 0);
}

#[test]
fn a_slow_master_keeps_its_streams() {
    let pki = Pki::new();
    let ([mut master, _two, _three], balancer) = three(&pki);
    let streams = Streams::open(balancer.addr, &Trust::of(&pki.ca()), 60);
    master.tell("delay 5000");
    until_state(&balancer, &master, BackendState::Suspect);
    std::thread::sleep(Duration::from_secs(5));
    until_state(&balancer, &master, BackendState::Suspect);
    assert_eq!(streams.ended(), 0);
    println!("slow: SUSPECT, 0 of 60 streams cut");
    master.tell("delay 0");
    until_state(&balancer, &master, BackendState::Up);
    assert_eq!(streams.ended(), 0);
}

#[test]
fn a_master_that_may_not_say_whether_it_is_ready_serves() {
    let pki = Pki::new();
    for conduct in [["readyz 401", "healthz 401"], ["readyz 403", "healthz 403"]] {
        let mut master = Master::new(&pki);
        conduct.iter().for_each(|what| master.tell(what));
        let balancer = Setup::backends(&[master.addr]).cluster_ca(&pki.ca()).start();
        let answered = Trust::of(&pki.ca()).ask(balancer.addr).unwrap();
        assert_eq!(answered, master.port());
        let warnings = balancer.log().matches("does not tell us whether it is ready").count();
        assert_eq!(warnings, 1, "{}", balancer.log());
    }
}

#[test]
fn a_master_without_readyz_is_asked_for_healthz() {
    let pki = Pki::new();
    let (mut old, other) = (Master::new(&pki), Master::new(&pki));
    old.tell("readyz 404");
    let balancer = Setup::backends(&[old.addr, other.addr]).cluster_ca(&pki.ca()).start();
    let row = balancer.row(old.addr).unwrap();
    assert_eq!(row.why, "it answered that it is ready");
    old.tell("healthz 500");
    until_state(&balancer, &old, BackendState::Drain);
}

#[test]
fn a_master_of_another_cluster_gets_no_connection() {
    let (pki, other) = (Pki::new(), Pki::new());
    let (ours, theirs) = (Master::new(&pki), Master::new(&other));
    let setup = Setup::backends(&[ours.addr, theirs.addr]).down(&[theirs.addr]);
    let balancer = setup.cluster_ca(&pki.ca()).start();
    until_state(&balancer, &theirs, BackendState::Dead);
    let why = balancer.row(theirs.addr).unwrap().why;
    assert!(why.contains("its certificate is not of this cluster"), "{why}");
    let trust = Trust::of(&pki.ca());
    for _ in 0..20 {
        assert_eq!(trust.ask(balancer.addr).unwrap(), ours.port());
    }
    assert_eq!(balancer.row(theirs.addr).unwrap().connections_total, 0);
}

/// Behind an address translation an apiserver's certificate does not know the address that we dial.
#[test]
fn any_apiserver_of_the_cluster_is_known_by_its_name() {
    let (apiserver, kubelet) = (Pki::only_for("kubernetes"), Pki::only_for("worker-1"));
    for (pki, state) in [(apiserver, BackendState::Up), (kubelet, BackendState::Dead)] {
        let master = Master::new(&pki);
        let setup = Setup::backends(&[master.addr]).down(&[master.addr]);
        let balancer = setup.cluster_ca(&pki.ca()).start();
        until_state(&balancer, &master, state);
    }
}

/// Or one that will be valid: it may be our clock that is wrong.
#[test]
fn a_certificate_that_is_not_valid_now_keeps_its_streams_and_serves_if_nobody_else_does() {
    let [good, ended] = Pki::good_and_ended();
    let (mut other, mut master) = (Master::new(&good), Master::new(&good));
    let balancer = Setup::backends(&[other.addr, master.addr]).cluster_ca(&good.ca()).start();
    master.crash();
    master.start(&ended);
    until_state(&balancer, &master, BackendState::Drain);
    let why = balancer.row(master.addr).unwrap().why;
    assert!(why.contains("not valid yet, by our clock"), "{why}");
    let trust = Trust::of(&good.ca());
    for _ in 0..20 {
        assert_eq!(trust.ask(balancer.addr).unwrap(), other.port());
    }
    other.crash();
    other.start(&ended);
    until_state(&balancer, &other, BackendState::Drain);
    let reached = || -> u64 {
        let rows = [master.addr, other.addr].map(|addr| balancer.row(addr).unwrap());
        rows.iter().map(|row| row.connections_total).sum()
    };
    let before = reached();
    // Clients whose clock is right refuse such a master; they reach it all the same.
    assert!(trust.ask(balancer.addr).is_err());
    assert!(reached() > before);
}

#[test]
fn a_master_that_comes_back_as_another_clusters_is_found_out_before_its_next_probe() {
    let (pki, other) = (Pki::new(), Pki::new());
    let ([mut master, _two, _three], balancer) = three(&pki);
    let streams = Streams::open(balancer.addr, &Trust::of(&pki.ca()), 60);
    let gone = Instant::now();
    master.crash();
    master.start(&other);
    until_state(&balancer, &master, BackendState::Dead);
    let found_out = gone.elapsed();
    assert!(found_out < Duration::from_secs(2), "{found_out:?}");
    streams.until_cut(master.port(), gone, Duration::from_secs(5));
    println!("another cluster's certificate: found out after {found_out:?}");
}

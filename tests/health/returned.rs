//! A master that comes back while the others hold many connections is not flooded.

use std::time::Duration;

use common::status::BackendState;

use crate::clients::{Load, Streams, Trust, assert_served};
use crate::master::{Master, until_state};
use crate::pki::Pki;
use crate::support::Setup;

/// Part of new connections that is an equal share of three.
const SHARE: f64 = 1.0 / 3.0;

#[test]
fn a_returned_master_never_gets_twice_its_share() {
    let pki = Pki::new();
    let mut back = Master::down();
    let others = [Master::new(&pki), Master::new(&pki)];
    let addrs = [back.addr, others[0].addr, others[1].addr];
    let setup = Setup::backends(&addrs).down(&[back.addr]).cluster_ca(&pki.ca());
    let balancer = setup.start();
    let trust = Trust::of(&pki.ca());
    let _streams = Streams::open(balancer.addr, &trust, 200);
    back.start(&pki);
    until_state(&balancer, &back, BackendState::Up);
    let load = Load::start(balancer.addr, &trust, 60);
    std::thread::sleep(Duration::from_secs(20));
    let mut attempts = load.stop();
    assert_served(&attempts, Duration::from_secs(2));
    attempts.sort_by_key(|attempt| attempt.begun);
    // In windows of about four seconds.
    let parts: Vec<f64> = attempts
        .chunks_exact(240)
        .map(|window| {
            let own = window.iter().filter(|attempt| attempt.ended == Ok(back.port())).count();
            own as f64 / window.len() as f64
        })
        .collect();
    println!("returned: its part of new connections {parts:.2?}");
    assert!(parts.iter().all(|part| *part < 2.0 * SHARE), "{parts:?}");
    assert!(parts[0] < SHARE, "flooded at first: {parts:?}");
    assert!(parts[parts.len() - 1] > parts[0], "it does not grow: {parts:?}");
}

//! Thousands of sessions that say nothing: what each costs, and that all of them live.

use std::net::SocketAddr;

use crate::support::{Backend, Behaviour, Client, Setup, process, skipped};

/// Both sides of 5 000 sessions are descriptors of this process.
const DESCRIPTORS: u64 = 12_000;

/// What an idle session may add to the resident memory.
const SESSION_BYTES_MAX: u64 = 2048;

fn established(addr: SocketAddr, count: usize) -> Vec<Client> {
    let client = |_| Client::established(addr).unwrap();
    (0..count).map(client).collect()
}

#[test]
fn an_idle_session_costs_two_descriptors_and_two_kib() {
    if !process::raise_descriptors(DESCRIPTORS) {
        return skipped("idle sessions: the hard limit of open files is below 12000");
    }
    let backends = [Behaviour::Echo; 3].map(Backend::new);
    let balancer = Setup::backends(&backends.each_ref().map(|b| b.addr)).start();
    let pid = balancer.pid();
    // The scratch buffers, the first pages of the allocator: not the cost of a session.
    let _warm = established(balancer.addr, 100);
    balancer.status();
    let descriptors = process::descriptors(pid);
    let resident = process::resident(pid);

    let _idle = established(balancer.addr, 4_000);
    let grown = process::resident(pid).saturating_sub(resident);
    assert_eq!(process::descriptors(pid) - descriptors, 8_000);
    let each = grown / 4_000;
    println!("an idle session adds {each} bytes");
    assert!(each <= SESSION_BYTES_MAX, "{each} bytes a session");
}

#[test]
fn five_thousand_idle_sessions_stay_open() {
    if !process::raise_descriptors(DESCRIPTORS) {
        return skipped("idle sessions: the hard limit of open files is below 12000");
    }
    let backends = [Behaviour::Echo; 3].map(Backend::new);
    let balancer = Setup::backends(&backends.each_ref().map(|b| b.addr)).start();
    let mut idle = established(balancer.addr, 5_000);
    assert_eq!(balancer.status().connections.open, 5_000);
    for client in &mut idle {
        client.echo(b"x").unwrap();
    }
    assert_eq!(balancer.status().connections.open, 5_000);
    assert!(balancer.status().connections.closed_total.is_empty());
}

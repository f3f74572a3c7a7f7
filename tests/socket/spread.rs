//! Where connections go: around a dead backend, and evenly.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::support::{Backend, Behaviour, Client, Refusing, Setup, until};

const ECHO: Behaviour = Behaviour::Echo;

/// Runs `act` `count` times on `threads` threads.
fn concurrently(threads: u64, count: u64, act: impl Fn() + Sync) {
    let left = AtomicU64::new(count);
    let take = || {
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        taken.is_ok()
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while take() {
                    act();
                }
            });
        }
    });
}

#[test]
fn no_connection_fails_when_one_of_three_backends_is_dead() {
    let alive = [Backend::new(ECHO), Backend::new(ECHO)];
    let dead = Refusing::new();
    let addrs = [alive[0].addr, dead.addr, alive[1].addr];
    let balancer = Setup::backends(&addrs).down(&[dead.addr]).start();
    let failed = Mutex::new(Vec::new());
    concurrently(64, 10_000, || {
        if let Err(error) = Client::established(balancer.addr) {
            failed.lock().push(error);
        }
    });
    let failed = failed.into_inner();
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed[0]);

    until("every session has ended", || balancer.status().connections.open == 0);
    let status = balancer.status();
    assert_eq!(status.connections.accepted_total, 10_000);
    assert_eq!(status.connections.closed_total["client_ended"], 10_000);
    let total = |addr| balancer.row(addr).unwrap().connections_total;
    assert_eq!(total(alive[0].addr) + total(alive[1].addr), 10_000);
    for backend in &alive {
        assert_eq!(total(backend.addr), backend.accepted());
        assert!(backend.accepted() > 3_000, "uneven: {}", backend.accepted());
    }
    let row = balancer.row(dead.addr).unwrap();
    assert_eq!((row.connections_total, row.dial_failures_total), (0, 0));
}

/// Connections open on each backend differ by at most one, by their count and by ours.
fn assert_even(backends: &[Backend], count: u64, shown: impl Fn(SocketAddr) -> u64) {
    let open: Vec<u64> = backends.iter().map(Backend::open).collect();
    assert_eq!(open.iter().sum::<u64>(), count);
    let spread = open.iter().max().unwrap() - open.iter().min().unwrap();
    assert!(spread <= 1, "{open:?}");
    let shown: Vec<u64> = backends.iter().map(|b| shown(b.addr)).collect();
    assert_eq!(shown, open);
}

#[test]
fn held_connections_spread_evenly_over_equal_backends() {
    let backends = [ECHO; 3].map(Backend::new);
    let balancer = Setup::backends(&backends.each_ref().map(|b| b.addr)).start();
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(Client::established(balancer.addr).unwrap());
    }
    assert_even(&backends, 300, |addr| balancer.row(addr).unwrap().connections);
    assert!(backends.iter().all(|backend| backend.open() == 100));
}

#[test]
fn connections_of_a_burst_spread_evenly_over_equal_backends() {
    let backends = [ECHO; 3].map(Backend::new);
    let balancer = Setup::backends(&backends.each_ref().map(|b| b.addr)).start();
    let held = Mutex::new(Vec::new());
    concurrently(50, 300, || {
        let client = Client::established(balancer.addr).unwrap();
        held.lock().push(client);
    });
    assert_even(&backends, 300, |addr| balancer.row(addr).unwrap().connections);
}

//! SIGTERM: the port closes, sessions go on for a while, then what is left is reset.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::drain::StopPhase;
use rustix::process::Signal;

use crate::support::{Backend, Balancer, Behaviour, Client, Ending, Setup, until};

fn start(backend: SocketAddr, stop: &str) -> Balancer {
    let config = format!("[stop]\n{stop}\n");
    Setup::backends(&[backend]).config(config).start()
}

#[test]
fn a_stop_under_load_lets_sessions_go_on_until_the_drain_timeout() {
    let backend = Backend::new(Behaviour::Echo);
    let mut balancer = start(backend.addr, "drain_timeout = '6s'");
    let established = |_| Client::established(balancer.addr).unwrap();
    let mut streams: Vec<Client> = (0..50).map(established).collect();
    let (addr, stopping) = (balancer.addr, AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            // Until it is refused; in the queue of a port that closes, connections are reset.
            scope.spawn(|| {
                while Client::established(addr).is_ok() {}
                assert!(stopping.load(Ordering::Relaxed), "failed before the stop");
            });
        }
        until("load", || backend.accepted() > 500);
        stopping.store(true, Ordering::Relaxed);
        balancer.signal(Signal::TERM);
    });
    let begun = Instant::now();
    until("the port is closed", || balancer.refuses());
    while begun.elapsed() < Duration::from_secs(2) {
        for stream in &mut streams {
            stream.echo(b"go on").unwrap();
        }
    }
    assert_eq!(balancer.status().phase, StopPhase::Draining);
    assert_eq!(balancer.ask("GET", "/readyz").body, "not ready: stopping\n");
    for stream in &mut streams {
        assert_eq!(stream.ending(), Ending::Reset);
    }
    assert!(begun.elapsed() > Duration::from_secs(3), "cut too early");
    assert_eq!(balancer.exit().code(), Some(0));
    until("the backend saw the resets", || backend.resets() == 50);
    assert!(!balancer.admin.exists(), "the admin socket is left behind");
}

#[test]
fn a_second_signal_cuts_the_sessions() {
    let backend = Backend::new(Behaviour::Echo);
    let mut balancer = start(backend.addr, "drain_timeout = '10m'");
    let mut stream = Client::established(balancer.addr).unwrap();
    balancer.signal(Signal::TERM);
    until("draining", || balancer.status().phase == StopPhase::Draining);
    stream.echo(b"go on").unwrap();
    balancer.signal(Signal::INT);
    assert_eq!(stream.ending(), Ending::Reset);
    assert_eq!(balancer.exit().code(), Some(0));
}

#[test]
fn a_stop_ends_early_when_the_last_session_does() {
    let backend = Backend::new(Behaviour::Echo);
    let mut balancer = start(backend.addr, "drain_timeout = '10m'");
    let mut stream = Client::established(balancer.addr).unwrap();
    balancer.signal(Signal::TERM);
    until("the port is closed", || balancer.refuses());
    stream.echo(b"go on").unwrap();
    assert!(!balancer.has_exited());
    stream.end();
    assert_eq!(stream.ending(), Ending::Eof);
    assert_eq!(balancer.exit().code(), Some(0));
}

#[test]
fn a_lame_duck_is_not_ready_and_still_accepts() {
    let backend = Backend::new(Behaviour::Echo);
    let mut balancer = start(backend.addr, "lame_duck = '10m'");
    balancer.signal(Signal::TERM);
    until("not ready", || balancer.ask("GET", "/readyz").status == 503);
    assert_eq!(balancer.status().phase, StopPhase::LameDuck);
    Client::established(balancer.addr).unwrap();
    balancer.signal(Signal::TERM);
    until("the port is closed", || balancer.has_exited() || balancer.refuses());
    assert_eq!(balancer.exit().code(), Some(0));
}

#[test]
fn a_stop_without_a_backend_ends_at_once() {
    let mut balancer = Setup::default().config("").start();
    balancer.signal(Signal::INT);
    assert_eq!(balancer.exit().code(), Some(0));
}

#[test]
fn a_client_whose_backend_is_still_sought_is_reset_by_a_stop() {
    let mut dark = Backend::new(Behaviour::Echo);
    let config = "[timeouts]\nconnect = '5m'\ndial = '5m'\n[stop]\ndrain_timeout = '0s'\n";
    let mut balancer = Setup::backends(&[dark.addr]).config(config).start();
    let _hole = dark.go_dark();
    let mut client = Client::connect(balancer.addr).unwrap();
    until("it is accepted", || balancer.status().connections.open == 1);
    balancer.signal(Signal::TERM);
    assert_eq!(client.ending(), Ending::Reset);
    assert_eq!(balancer.exit().code(), Some(0));
}

#[test]
fn a_session_that_is_established_while_all_are_cut_is_reset() {
    let backend = Backend::new(Behaviour::SendThenReceive(1 << 40));
    let mut balancer = start(backend.addr, "drain_timeout = '10m'");
    let mut client = Client::connect(balancer.addr).unwrap();
    until("it is accepted", || balancer.status().connections.open == 1);
    balancer.signal(Signal::TERM);
    until("draining", || balancer.status().phase == StopPhase::Draining);
    balancer.signal(Signal::TERM);
    until("cutting", || balancer.status().phase == StopPhase::Cutting);
    client.0.write_all(b"a long answer, please").unwrap();
    assert_eq!(client.ending(), Ending::Reset, "half an answer passes for a whole one");
    assert_eq!(balancer.exit().code(), Some(0));
}

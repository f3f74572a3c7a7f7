//! One of the two processes is killed at any moment of a hand-over: the other one has every session
//! and goes on, or it is as in any crash. Never has each a part.
//!
//! `MAINSTAY_KILLS` says how often each is killed, `MAINSTAY_SEED` repeats a run.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::giver::{ask, ended, hand_over};
use crate::support::{Backend, Balancer, Behaviour, Client, Setup, eventually, until};

/// Enough that they stand still for a while.
const SESSIONS: usize = 100;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// The process that another one has started.
fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn kill(pid: u32) {
    // It may have ended by itself.
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).ok();
}

fn began() -> (Backend, Balancer, Vec<Client>) {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).start();
    let established = |_| Client::established(balancer.addr).unwrap();
    let clients = (0..SESSIONS).map(established).collect();
    (backend, balancer, clients)
}

/// How long a hand-over takes when nobody dies.
fn usual_length() -> Duration {
    let (_backend, balancer, _clients) = began();
    let begun = Instant::now();
    hand_over(&balancer);
    begun.elapsed()
}

/// How many of the sessions still pass bytes.
fn alive(clients: &mut [Client]) -> usize {
    clients.iter_mut().filter_map(|client| client.echo(b"still here").ok()).count()
}

/// The process that serves when all is over, of these two; none if both have ended.
fn survivor(balancer: &Balancer, old: u32, new: Option<u32>) -> Option<u32> {
    eventually("one process, or none", || {
        let left: Vec<u32> =
            [Some(old), new].into_iter().flatten().filter(|pid| !ended(*pid)).collect();
        match left[..] {
            [] => Some(None),
            [pid] => (Client::established(balancer.addr).is_ok()).then_some(Some(pid)),
            _ => None,
        }
    })
}

/// Kills one of the two after each of these times and checks what is left.
fn play(what: &str, old_dies: bool) {
    let (trials, seed) = (number("MAINSTAY_KILLS", 6), number("MAINSTAY_SEED", fastrand::u64(..)));
    let length = usual_length();
    eprintln!("{what}: a hand-over takes {length:?}, MAINSTAY_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..trials {
        let (backend, balancer, mut clients) = began();
        let old = ask(&balancer).pid;
        let new = eventually("a new process", || child_of(old));
        let delay = length.mul_f64(rng.f64());
        std::thread::sleep(delay);
        kill(if old_dies { old } else { new });
        let left = survivor(&balancer, old, Some(new));
        let alive = alive(&mut clients);
        eprintln!("{what} after {delay:?}: {left:?} of {old} and {new} is left, {alive} sessions");
        let all_or_none = if left.is_some() { &[0, SESSIONS][..] } else { &[0] };
        assert!(all_or_none.contains(&alive), "{alive} sessions");
        if left == Some(new) {
            assert_eq!(alive, SESSIONS, "whoever takes over has everything");
        }
        drop(clients);
        drop(balancer);
        until("no session is left at the backend", || backend.open() == 0);
    }
}

#[test]
fn the_old_process_is_killed() {
    play("old one killed", true);
}

#[test]
fn the_new_process_is_killed() {
    play("new one killed", false);
}

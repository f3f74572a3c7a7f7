//! A balancer under lasting work: sessions that live, connections that come and go in every manner,
//! hostile ones among them. What it holds must stay flat.
//!
//! Short in `make test`. `make soak` runs it for `MAINSTAY_SOAK_SECONDS` with `MAINSTAY_SOAK_SESSIONS`
//! sessions, by default half an hour and 5 000, on the build that `MAINSTAY_PROGRAM` names.

// Helpers of a test may fail as tests do; clippy's own exception covers `#[test]` functions only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

// This target uses a part of the harness that others use more of.
#[allow(dead_code, unused_imports)]
#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use support::refusing::bound;
use support::{Backend, Behaviour, Client, Network, Setup, process, skipped, until};

/// Time between two connections of the churn: half of what one backend may get new.
const CHURN_STEP: Duration = Duration::from_millis(10);

/// Connections of one flood.
const FLOOD: u8 = 50;

/// Clients that speak a byte at a time.
const CRAWLERS: usize = 20;

/// Longest time until clients that vanished are found out: 15 s of silence and three questions 5 s
/// apart, and what a busy machine may add.
const VANISHED_MAX: Duration = Duration::from_secs(45);

/// Growth of the resident memory over the second half that is no leak, as a part: the allocator
/// breathes.
const GROWTH_MAX: f64 = 0.02;

/// The same in bytes: what a short run may vary by.
const GROWTH_BYTES_MAX: f64 = 2.0 * 1024.0 * 1024.0;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// One connection that does not stay, in the manner of its number.
fn come_and_go(addr: SocketAddr, number: u64, seen: &Seen) {
    let Ok(mut client) = Client::connect(addr) else {
        seen.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let spoke = match number % 12 {
        // Ends in order.
        0..=2 => client.echo(b"request"),
        // Half-closes and reads to the end.
        3 => client.echo(b"request").map(|()| {
            client.end();
            client.ending();
        }),
        // Says nothing and goes.
        4 => Ok(()),
        // Resets before it has said anything, or in the middle of a message.
        5 => return client.reset(),
        6 => {
            client.0.write_all(b"half a mess").ok();
            return client.reset();
        }
        // Resets after each number of bytes in turn.
        7 => {
            client.0.write_all(&[b'x'; 64][..number as usize / 12 % 64]).ok();
            return client.reset();
        }
        // Ends its half and never reads, or reads only a part and goes.
        8 => {
            client.0.write_all(&[b'x'; 4096]).ok();
            client.end();
            Ok(())
        }
        9 => client.0.write_all(&[b'x'; 64 * 1024]).map(|()| drop(client.0.read(&mut [0; 100]))),
        10 if number.is_multiple_of(5) => return flood(addr, number),
        // Pretends to begin a TLS hello that never ends.
        _ => client.0.write_all(b"\x16\x03\x01\x3f\xff\x01\x00").map(drop),
    };
    if spoke.is_err() {
        seen.cut.fetch_add(1, Ordering::Relaxed);
    }
}

/// Many at once that say nothing, from one source or each from its own. What becomes of them is their
/// affair.
fn flood(addr: SocketAddr, number: u64) {
    let sources = if number % 120 == 10 { 1 } else { FLOOD };
    let connect = |index: u8| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let source = [127, 0, 1, 1 + index % sources];
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        // In progress is all that can be had.
        socket.connect(&addr.into()).ok();
        socket
    };
    drop((0..FLOOD).map(connect).collect::<Vec<_>>());
}

/// Clients that send a byte now and then and read as slowly; they do nothing wrong.
fn crawl(addr: SocketAddr, seen: &Seen) {
    let mut clients: Vec<_> = (0..CRAWLERS).map(|_| Client::established(addr).unwrap()).collect();
    while !seen.stop.load(Ordering::Relaxed) {
        for client in &mut clients {
            if client.echo(b"x").is_err() {
                seen.cut.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(CHURN_STEP);
        }
    }
}

/// What went wrong for clients that did nothing wrong.
#[derive(Default)]
struct Seen {
    refused: AtomicU64,
    cut: AtomicU64,
    stop: AtomicBool,
}

/// Memory, descriptors and threads at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    resident: u64,
    descriptors: usize,
    threads: usize,
}

fn sample(pid: u32) -> Sample {
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    Sample { resident: process::resident(pid), descriptors: count("fd"), threads: count("task") }
}

/// The median of each.
fn median(samples: &[Sample]) -> Sample {
    fn middle<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
        let mut values: Vec<T> = values.collect();
        values.sort_unstable();
        values[values.len() / 2]
    }
    Sample {
        resident: middle(samples.iter().map(|sample| sample.resident)),
        descriptors: middle(samples.iter().map(|sample| sample.descriptors)),
        threads: middle(samples.iter().map(|sample| sample.threads)),
    }
}

#[test]
fn what_it_holds_stays_flat() {
    let seconds = number("MAINSTAY_SOAK_SECONDS", 16);
    let sessions = number("MAINSTAY_SOAK_SESSIONS", 200);
    if !process::raise_descriptors(sessions * 2 + 500) {
        skipped(format!("{sessions} sessions need more open files than this process may have"));
        return;
    }
    let backends = [(); 3].map(|()| Backend::new(Behaviour::Echo));
    let addrs: Vec<_> = backends.iter().map(|backend| backend.addr).collect();
    let mut setup = Setup::backends(&addrs);
    if let Some(program) = std::env::var_os("MAINSTAY_PROGRAM") {
        setup = setup.program(program.into());
    }
    let balancer = setup.start();
    let (pid, addr) = (balancer.pid(), balancer.addr);
    let bare = sample(pid);
    // One accepts for each address and one sweeps, on each worker.
    let tasks = || balancer.metric("mainstay_worker_tasks");
    let idle_tasks = tasks();
    let mut held: Vec<_> = (0..sessions).map(|_| Client::established(addr).unwrap()).collect();
    let seen = Seen::default();
    let mut samples = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| crawl(addr, &seen));
        scope.spawn(|| {
            for number in 0.. {
                if seen.stop.load(Ordering::Relaxed) {
                    return;
                }
                come_and_go(addr, number, &seen);
                std::thread::sleep(CHURN_STEP);
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            let some = (samples.len() * 50) % held.len().max(1);
            held.iter_mut().skip(some).take(50).for_each(|client| client.echo(b"beat").unwrap());
            std::thread::sleep(Duration::from_millis(250));
            samples.push(sample(pid));
        }
        seen.stop.store(true, Ordering::Relaxed);
    });
    // The first quarter fills what stays: caches, the list of sessions, the clients that are silent.
    let quarter = samples.len() / 4;
    let (second, fourth) =
        (median(&samples[quarter..2 * quarter]), median(&samples[3 * quarter..]));
    eprintln!(
        "{sessions} sessions, {seconds} s: {second:?} in the second quarter, {fourth:?} in the last"
    );
    let growth = fourth.resident as f64 - second.resident as f64;
    let allowed = (second.resident as f64 * GROWTH_MAX).max(GROWTH_BYTES_MAX);
    assert!(growth <= allowed, "memory grew by {growth} bytes: {second:?} {fourth:?}");
    assert_eq!(seen.refused.into_inner(), 0, "connections that were refused");
    assert_eq!(seen.cut.into_inner(), 0, "sound connections that were cut");
    held.iter_mut().for_each(|client| client.echo(b"still here").unwrap());

    drop(held);
    until("nothing is open any more", || balancer.status().connections.open == 0);
    until("no descriptor is left behind", || {
        let pipes_kept_and_probes = 16;
        sample(pid).descriptors <= bare.descriptors + pipes_kept_and_probes
    });
    until("no task is left behind", || tasks() == idle_tasks);
    // Those that wait for a disk come and go.
    assert!(sample(pid).threads <= bare.threads, "{:?}", sample(pid));
    assert_eq!(balancer.metric("mainstay_panics_total"), 0.0, "{}", balancer.log());
}

/// Half-open: their host is gone and nobody is told. Keepalive finds it out.
#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let Some(network) = Network::new() else { return };
    let [lb, master, near, far] = [("lb", 2), ("master", 11), ("near", 40), ("far", 41)]
        .map(|(name, last)| network.host(name, last));
    let backend = master.inside(|| Backend::on(bound(master.addr(7000)), Behaviour::Echo));
    let balancer = Setup::backends(&[backend.addr]).on(&lb, 6443).start();
    let some = |count| {
        let established = move |_| Client::established(balancer.addr).unwrap();
        (0..count).map(established).collect::<Vec<_>>()
    };
    let mut here = near.inside(|| some(10));
    let gone = far.inside(|| some(50));
    // Until they have the options of sessions that last.
    std::thread::sleep(Duration::from_secs(2));
    far.cut();
    let begun = Instant::now();
    while balancer.closed("client_lost") < 50.0 {
        here.iter_mut().for_each(|client| client.echo(b"beat").unwrap());
        assert!(begun.elapsed() < VANISHED_MAX, "{} found", balancer.closed("client_lost"));
        std::thread::sleep(Duration::from_millis(250));
    }
    println!("50 half-open sessions were ended after {:?}", begun.elapsed());
    assert_eq!(balancer.status().connections.open, 10);
    until("the backend has the others only", || backend.open() == 10);
    drop(gone);
}

//! Thousands of sessions that say nothing: what each costs, and that all of them live.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

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

/// Longer than the 30 s after which the kernel gives up a peer that takes nothing.
const PAUSE: Duration = Duration::from_secs(45);

/// What is sent back to a reader that takes nothing: more than its window, less than the kernel keeps
/// for it.
const TAIL: usize = 200_000;

/// A client with hardly any room for what it does not read.
fn narrow(addr: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    let mut client = Client(socket.into());
    client.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.echo(b"ping").unwrap();
    client
}

/// As `kubectl logs | less`, or a client under Ctrl-Z: it reads nothing for longer than a peer may
/// take that is gone. `trickle` is what goes on to be sent to it every 3 s.
fn pauses(addr: SocketAddr, trickle: usize) {
    let mut client = narrow(addr);
    client.0.write_all(&[b'x'; TAIL]).unwrap();
    let (begun, mut sent) = (Instant::now(), TAIL);
    while begun.elapsed() < PAUSE {
        std::thread::sleep(Duration::from_secs(3));
        client.0.write_all(&vec![b'x'; trickle]).unwrap();
        sent += trickle;
    }
    let mut back = vec![0; sent];
    std::io::Read::read_exact(&mut client.0, &mut back).unwrap();
    assert!(back.iter().all(|byte| *byte == b'x'));
    client.echo(b"goes on").unwrap();
}

#[test]
fn a_reader_may_pause() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).start();
    std::thread::scope(|scope| {
        for trickle in [0, 100] {
            let addr = balancer.addr;
            scope.spawn(move || pauses(addr, trickle));
        }
    });
    assert!(!balancer.status().connections.closed_total.contains_key("client_lost"));
}

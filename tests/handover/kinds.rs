//! Sessions of every kind go on: idle, bulk, half-closed, stalled, not yet established.

use std::io::Write;

use crate::giver::{ended, hand_over, upgrade_of};
use crate::support::{Backend, Behaviour, Client, Ending, Pattern, Setup, until};

const MIB: u64 = 1 << 20;

#[test]
fn idle_sessions_and_counts_go_on() {
    let backends = [Backend::new(Behaviour::Echo), Backend::new(Behaviour::Echo)];
    let mut balancer = Setup::backends(&[backends[0].addr, backends[1].addr]).start();
    let first = balancer.pid();
    let mut clients: Vec<_> =
        (0..20).map(|_| Client::established(balancer.addr).unwrap()).collect();
    let row = balancer.row(backends[0].addr).unwrap();
    until("the bytes are counted", || {
        balancer.row(backends[0].addr).is_some_and(|row| row.sent_bytes > 0)
    });
    let accepted = balancer.metric("mainstay_connections_accepted_total");
    let name = format!("{{backend=\"{}\"}}", backends[0].addr);
    let sent = balancer.metric(&format!("mainstay_backend_sent_bytes_total{name}"));

    for _ in 0..3 {
        let took_over = hand_over(&balancer);
        assert_eq!(took_over.sessions, 20);
        clients.iter_mut().for_each(|client| client.echo(b"pong").unwrap());
    }
    assert!(ended(first) && balancer.exit().success(), "the first process ends in order");

    let status = balancer.status();
    assert!(status.ready && status.listening);
    assert_eq!(status.connections.open, 20);
    let now = balancer.row(backends[0].addr).unwrap();
    assert_eq!(now.connections, row.connections);
    assert_eq!(now.state, row.state);
    assert!(balancer.metric("mainstay_connections_accepted_total") >= accepted);
    assert!(balancer.metric(&format!("mainstay_backend_sent_bytes_total{name}")) >= sent);
    assert_eq!(balancer.metric("mainstay_handovers_total{result=\"done\"}"), 3.0);

    Client::established(balancer.addr).unwrap();
    drop(clients);
    until("every session is over", || balancer.status().connections.open == 0);
    assert_eq!(backends.iter().map(Backend::resets).sum::<u64>(), 0);
}

#[test]
fn bulk_both_ways_loses_no_byte() {
    const LENGTH: u64 = 192 * MIB;
    let backend = Backend::new(Behaviour::SendAndReceive(LENGTH));
    let balancer = Setup::backends(&[backend.addr]).start();
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Client::connect(balancer.addr).unwrap();
            let mut sender = Client(client.0.try_clone().unwrap());
            let sending = std::thread::spawn(move || {
                sender.send(LENGTH).unwrap();
                sender.end();
            });
            let receiving = std::thread::spawn(move || {
                let mut pattern = Pattern::new();
                client.receive(&mut pattern, LENGTH + 1, |_| ());
                pattern.passed
            });
            (sending, receiving)
        })
        .collect();
    until("all streams run", || backend.open() == 4 && backend.received() > MIB);
    let mut moved = 0;
    while streams.iter().any(|(_, receiving)| !receiving.is_finished()) {
        moved += hand_over(&balancer).sessions;
    }
    for (sending, receiving) in streams {
        sending.join().unwrap();
        assert_eq!(receiving.join().unwrap(), LENGTH);
    }
    until("the backend has read to the end", || backend.ended() == 4);
    assert_eq!((backend.received(), backend.faults()), (4 * LENGTH, 0));
    assert!(moved >= 4, "sessions that were handed over: {moved}");
    until("the bytes are counted", || {
        let row = balancer.row(backend.addr).unwrap();
        (row.received_bytes, row.sent_bytes) == (4 * LENGTH, 4 * LENGTH)
    });
}

#[test]
fn half_closed_sessions_stay_half_closed() {
    let backend = Backend::new(Behaviour::SendThenReceive(64 * 1024));
    let balancer = Setup::backends(&[backend.addr]).start();
    let mut client = Client::connect(balancer.addr).unwrap();
    client.0.write_all(Pattern::new().next(100)).unwrap();
    let mut pattern = Pattern::new();
    client.receive(&mut pattern, 64 * 1024 + 1, |_| ());
    assert_eq!(pattern.passed, 64 * 1024, "the backend has ended its stream");
    assert_eq!(hand_over(&balancer).sessions, 1);

    let mut rest = Pattern::new();
    rest.pass(100);
    client.0.write_all(rest.next(1000)).unwrap();
    assert_eq!(hand_over(&balancer).sessions, 1);
    client.end();
    until("the backend has read to the end", || backend.ended() == 1);
    assert_eq!((backend.received(), backend.faults()), (1100, 0));
    until("the end is counted", || balancer.closed("backend_ended") == 1.0);
}

#[test]
fn the_end_of_a_client_is_not_forgotten_while_the_backend_still_sends() {
    const LENGTH: u64 = 48 * MIB;
    let backend = Backend::new(Behaviour::ReceiveThenSend(LENGTH));
    let balancer = Setup::backends(&[backend.addr]).start();
    let mut client = Client::connect(balancer.addr).unwrap();
    client.send(10_000).unwrap();
    client.end();
    let mut pattern = Pattern::new();
    for _ in 0..3 {
        client.receive(&mut pattern, LENGTH / 4, |_| ());
        assert_eq!(hand_over(&balancer).sessions, 1);
    }
    client.receive(&mut pattern, LENGTH, |_| ());
    assert_eq!(pattern.passed, LENGTH);
    assert_eq!(client.ending(), Ending::Eof);
    until("the backend has read to the end", || backend.ended() == 1);
    assert_eq!((backend.received(), backend.faults()), (10_000, 0));
}

/// More stalled streams than there are pipes, so that bytes are held in pipes and in memory.
#[test]
fn bytes_that_a_slow_reader_has_not_taken_are_not_lost() {
    const LENGTH: u64 = 16 * MIB;
    const STREAMS: usize = 24;
    let backend = Backend::new(Behaviour::SendThenReceive(LENGTH));
    let balancer = Setup::backends(&[backend.addr]).descriptors(256).start();
    let mut clients: Vec<_> =
        (0..STREAMS).map(|_| Client::connect(balancer.addr).unwrap()).collect();
    let (mut sent, mut same) = (0, 0);
    until("every stream is stopped by full buffers", || {
        let now = backend.sent();
        same = if now == sent && backend.open() == STREAMS as u64 { same + 1 } else { 0 };
        sent = now;
        same > 20
    });
    assert!(balancer.metric("mainstay_pipes_denied_total") > 0.0, "some are copied");
    assert!(balancer.metric("mainstay_pipes") > 0.0, "some are in pipes");
    for _ in 0..3 {
        assert_eq!(hand_over(&balancer).sessions, STREAMS as u64);
    }
    for client in &mut clients {
        let mut pattern = Pattern::new();
        client.receive(&mut pattern, LENGTH, |_| ());
        assert_eq!(pattern.passed, LENGTH);
        assert_eq!(client.ending(), Ending::Eof);
    }
    drop(clients);
    until("every session is over", || balancer.status().connections.open == 0);
    assert_eq!(balancer.metric("mainstay_pipes"), 0.0, "no pipe is left behind");
}

#[test]
fn a_client_that_has_not_spoken_yet_follows() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).start();
    let first = balancer.pid();
    let mut known = Client::established(balancer.addr).unwrap();
    let mut silent = Client::connect(balancer.addr).unwrap();
    until("both are accepted", || balancer.status().connections.open == 2);
    crate::giver::ask(&balancer);
    until("another process answers", || upgrade_of(&balancer).pid != first);
    known.echo(b"goes on").unwrap();
    Client::established(balancer.addr).unwrap();
    silent.echo(b"now").unwrap();
    until("the old process has nothing left", || ended(first));
    silent.echo(b"also in the new process").unwrap();
    let accepted = balancer.metric("mainstay_connections_accepted_total");
    assert_eq!(accepted, 3.0, "each is counted once");
}

#[test]
fn the_ports_stay_where_they_are_for_everyone() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).start();
    let addr = balancer.addr;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let mut connected = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                Client::established(addr).unwrap();
                connected += 1;
            }
            connected
        });
        for _ in 0..5 {
            hand_over(&balancer);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(connecting.join().unwrap() > 0, "every connection was served");
    });
    assert_eq!(backend.resets(), 0);
}

//! Much data: byte-exact whatever the speed, and never more of it in our memory than a buffer.

use std::time::Duration;

use crate::support::{
    Backend, Balancer, Behaviour, Client, Ending, Pattern, Setup, process, until,
};

const MIB: u64 = 1 << 20;

/// How much a bulk transfer may add to the resident memory: scratch buffers and what is held, far
/// below the data.
const GROWTH_MAX: u64 = 8 * MIB;

fn growth(balancer: &Balancer, before: u64) -> u64 {
    process::resident(balancer.pid()).saturating_sub(before)
}

#[test]
fn a_slow_reader_gets_every_byte_and_costs_no_memory() {
    const LENGTH: u64 = 100 * MIB;
    let backend = Backend::new(Behaviour::SendThenReceive(LENGTH));
    let balancer = Setup::backends(&[backend.addr]).start();
    let before = process::resident(balancer.pid());
    let mut client = Client::connect(balancer.addr).unwrap();

    // Nothing is read until every buffer on the way is full.
    let mut sent = 0;
    let mut same = 0;
    until("the backend is stopped by full buffers", || {
        let now = backend.sent();
        same = if now == sent && now > 0 { same + 1 } else { 0 };
        sent = now;
        same > 50
    });
    assert!(sent < LENGTH, "{sent} bytes are on the way");
    assert!(growth(&balancer, before) < GROWTH_MAX);

    let mut pattern = Pattern::new();
    let mut most = 0;
    let mut pause_at = MIB;
    client.receive(&mut pattern, LENGTH, |passed| {
        if passed >= pause_at {
            pause_at += MIB;
            most = most.max(growth(&balancer, before));
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(pattern.passed, LENGTH);
    assert_eq!(client.ending(), Ending::Eof);
    assert!(most < GROWTH_MAX, "grew by {most} bytes");
}

#[test]
fn bulk_both_ways_at_once_is_byte_exact() {
    const LENGTH: u64 = 64 * MIB;
    let backend = Backend::new(Behaviour::SendAndReceive(LENGTH));
    let balancer = Setup::backends(&[backend.addr]).start();
    let mut client = Client::connect(balancer.addr).unwrap();
    let mut sender = Client(client.0.try_clone().unwrap());
    let sending = std::thread::spawn(move || {
        sender.send(LENGTH).unwrap();
        sender.end();
    });
    let mut pattern = Pattern::new();
    client.receive(&mut pattern, LENGTH + 1, |_| ());
    assert_eq!(pattern.passed, LENGTH);
    sending.join().unwrap();
    until("the backend has read to the end", || backend.ended() == 1);
    assert_eq!((backend.received(), backend.faults()), (LENGTH, 0));
    until("the bytes are counted", || {
        let row = balancer.row(backend.addr).unwrap();
        (row.received_bytes, row.sent_bytes) == (LENGTH, LENGTH)
    });
}

#[test]
fn many_small_and_large_messages_in_turn_come_back_unchanged() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).start();
    let mut client = Client::connect(balancer.addr).unwrap();
    for length in [1, 64, 1 << 20, 1, 40_000, 3 << 20, 7, 65_536, 1 << 20, 2] {
        let mut sender = Client(client.0.try_clone().unwrap());
        let sending = std::thread::spawn(move || sender.send(length).unwrap());
        let mut pattern = Pattern::new();
        client.receive(&mut pattern, length, |_| ());
        assert_eq!(pattern.passed, length);
        sending.join().unwrap();
    }
}

//! How sessions end: what one side does reaches the other, and silence has its limits.

use std::io::Write;

use crate::support::{Backend, Behaviour, Client, Ending, Pattern, Setup, until};

const MIB: u64 = 1 << 20;

#[test]
fn a_reset_by_the_backend_reaches_the_client() {
    let backend = Backend::new(Behaviour::ResetAfterByte);
    let balancer = Setup::backends(&[backend.addr]).start();
    let mut client = Client::connect(balancer.addr).unwrap();
    client.0.write_all(b"x").unwrap();
    assert_eq!(client.ending(), Ending::Reset);
    until("the reset is counted", || balancer.closed("backend_reset") == 1.0);
}

#[test]
fn a_reset_by_the_client_reaches_the_backend() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).start();
    Client::established(balancer.addr).unwrap().reset();
    until("the backend saw the reset", || backend.resets() == 1);
    assert_eq!(backend.ended(), 0);
    until("the reset is counted", || balancer.closed("client_reset") == 1.0);
}

#[test]
fn a_reset_in_the_middle_of_bulk_reaches_the_backend() {
    let backend = Backend::new(Behaviour::SendThenReceive(u64::MAX));
    let balancer = Setup::backends(&[backend.addr]).start();
    let mut client = Client::connect(balancer.addr).unwrap();
    let mut pattern = Pattern::new();
    client.receive(&mut pattern, 20 * MIB, |_| ());
    client.reset();
    until("the backend saw the reset", || backend.resets() == 1);
    until("nothing is left of the session", || {
        let pipes = balancer.metric("mainstay_pipes");
        pipes == 0.0 && balancer.status().connections.open == 0
    });
}

#[test]
fn a_reset_by_the_client_reaches_a_backend_that_does_not_read() {
    let backend = Backend::new(Behaviour::Deaf);
    let balancer = Setup::backends(&[backend.addr]).start();
    let client = Client::connect(balancer.addr).unwrap();
    client.0.set_nonblocking(true).unwrap();
    // Until every buffer on the way is full, and stays so.
    let mut full = 0;
    until("no more bytes fit", || {
        full = match (&client.0).write(&[0; 65_536]) {
            Ok(_) => 0,
            Err(_) => full + 1,
        };
        full > 20
    });
    client.reset();
    until("the backend saw the reset", || backend.resets() == 1);
    until("the reason is counted", || balancer.closed("client_reset") == 1.0);
}

#[test]
fn a_client_that_ends_first_still_receives_everything() {
    let backend = Backend::new(Behaviour::ReceiveThenSend(10 * MIB));
    let balancer = Setup::backends(&[backend.addr]).start();
    let mut client = Client::connect(balancer.addr).unwrap();
    client.send(3 * MIB).unwrap();
    client.end();
    let mut pattern = Pattern::new();
    client.receive(&mut pattern, u64::MAX / 2, |_| ());
    assert_eq!(pattern.passed, 10 * MIB);
    assert_eq!((backend.received(), backend.faults()), (3 * MIB, 0));
    until("the session has ended", || balancer.status().connections.open == 0);
    let closed = balancer.status().connections.closed_total;
    assert_eq!(closed.get("client_ended"), Some(&1), "{closed:?}");
}

#[test]
fn a_backend_that_ends_first_still_receives_everything() {
    let backend = Backend::new(Behaviour::SendThenReceive(3 * MIB));
    let balancer = Setup::backends(&[backend.addr]).start();
    let mut client = Client::connect(balancer.addr).unwrap();
    let mut pattern = Pattern::new();
    client.receive(&mut pattern, u64::MAX / 2, |_| ());
    assert_eq!(pattern.passed, 3 * MIB);
    client.send(10 * MIB).unwrap();
    client.end();
    until("the backend has read to the end", || backend.ended() == 1);
    assert_eq!((backend.received(), backend.faults()), (10 * MIB, 0));
    until("the session has ended", || balancer.status().connections.open == 0);
    let closed = balancer.status().connections.closed_total;
    assert_eq!(closed.get("backend_ended"), Some(&1), "{closed:?}");
}

#[test]
fn a_half_closed_session_that_stays_silent_is_closed() {
    let backend = Backend::new(Behaviour::Silent);
    let config = "[timeouts]\nhalf_close = '1s'\n";
    let balancer = Setup::backends(&[backend.addr]).config(config).start();
    let mut client = Client::connect(balancer.addr).unwrap();
    client.0.write_all(b"x").unwrap();
    client.end();
    assert_eq!(client.ending(), Ending::Reset);
    until("the backend saw it too", || backend.resets() == 1);
    until("the reason is counted", || balancer.closed("half_closed") == 1.0);
}

#[test]
fn an_idle_session_is_closed_and_a_busy_one_is_not() {
    let backend = Backend::new(Behaviour::Echo);
    let config = "[timeouts]\nidle = '2s'\n";
    let balancer = Setup::backends(&[backend.addr]).config(config).start();
    let mut busy = Client::established(balancer.addr).unwrap();
    let mut idle = Client::established(balancer.addr).unwrap();
    until("the idle one is closed", || {
        busy.echo(b"still here").unwrap();
        balancer.closed("idle") > 0.0
    });
    assert_eq!(idle.ending(), Ending::Reset);
    busy.echo(b"still here").unwrap();
    until("the reason is counted", || balancer.closed("idle") == 1.0);
}

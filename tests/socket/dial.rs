//! Backends that do not serve: another one is found, or the client is reset, never left hanging.

use std::time::Instant;

use crate::support::{
    Backend, Behaviour, BlackHole, Client, DEADLINE, Ending, Refusing, Setup, eventually, until,
};

const ECHO: Behaviour = Behaviour::Echo;

#[test]
fn a_refusing_backend_costs_no_client_its_connection() {
    let dead = [Refusing::new(), Refusing::new()];
    let alive = Backend::new(ECHO);
    let balancer = Setup::backends(&[dead[0].addr, alive.addr, dead[1].addr]).start();
    for _ in 0..100 {
        Client::established(balancer.addr).unwrap();
    }
    assert_eq!(alive.accepted(), 100);
    for refusing in &dead {
        let row = balancer.row(refusing.addr).unwrap();
        assert_eq!(row.connections_total, 0);
    }
}

#[test]
fn a_black_holed_backend_delays_few_clients_and_fails_none() {
    let hole = BlackHole::new();
    let alive = Backend::new(ECHO);
    let config = "[timeouts]\nconnect = '1s'\n";
    let balancer = Setup::backends(&[hole.addr, alive.addr]).config(config).start();
    // Held, so that the black hole is the one with the fewest connections from then on.
    let mut held = vec![Client::established(balancer.addr).unwrap()];
    let series = format!(
        "mainstay_backend_dial_failures_total{{backend=\"{}\",failure=\"timed_out\"}}",
        hole.addr
    );
    until("the black hole was tried", || {
        held.push(Client::established(balancer.addr).unwrap());
        balancer.metric(&series) > 0.0
    });
    let failures = balancer.metric(&series);
    let begun = Instant::now();
    for _ in 0..200 {
        held.push(Client::established(balancer.addr).unwrap());
    }
    // One trial a back-off at most, each a second long.
    let tried = balancer.metric(&series) - failures;
    let seconds = begun.elapsed().as_secs_f64();
    assert!(tried <= 2.0 + seconds, "{tried} trials in {seconds} s");
    assert_eq!(alive.open(), held.len() as u64);
}

#[test]
fn when_all_refuse_every_one_is_tried_and_the_client_is_reset() {
    let dead = [(); 3].map(|()| Refusing::new());
    let balancer = Setup::backends(&dead.each_ref().map(|d| d.addr)).start();
    for round in 1..=3 {
        assert_eq!(Client::ending_at(balancer.addr), Ending::Reset);
        for refusing in &dead {
            let series = format!(
                "mainstay_backend_dial_failures_total{{backend=\"{}\",failure=\"refused\"}}",
                refusing.addr
            );
            assert_eq!(balancer.metric(&series), f64::from(round));
        }
    }
    until("the reason is counted", || balancer.closed("no_backend") == 3.0);
    let ready = balancer.ask("GET", "/readyz");
    assert_eq!(ready.status, 503, "{}", ready.body);
    until("nothing is left", || balancer.status().connections.open == 0);
}

#[test]
fn when_all_are_black_holes_the_client_is_reset_in_time() {
    let holes = [BlackHole::new(), BlackHole::new()];
    let config = "[timeouts]\nconnect = '1s'\ndial = '1s'\n";
    let addrs = holes.each_ref().map(|hole| hole.addr);
    let balancer = Setup::backends(&addrs).config(config).start();
    assert_eq!(Client::ending_at(balancer.addr), Ending::Reset);
    until("the reason is counted", || balancer.closed("dial_timeout") == 1.0);
}

#[test]
fn a_backend_that_comes_back_gets_connections_again() {
    let dead = Refusing::new();
    let alive = Backend::new(ECHO);
    let balancer = Setup::backends(&[dead.addr, alive.addr]).start();
    let mut held = Vec::new();
    let skipped = eventually("the refusing backend is skipped", || {
        held.push(Client::established(balancer.addr).unwrap());
        let row = balancer.row(dead.addr).unwrap();
        (row.dial_failures_total > 1).then_some(row)
    });
    assert!(skipped.why.contains("failed dials in a row"), "{skipped:?}");

    let begun = Instant::now();
    let back = dead.revive(ECHO);
    until("the backend gets connections again", || {
        held.push(Client::established(balancer.addr).unwrap());
        back.accepted() > 0
    });
    assert!(begun.elapsed() < DEADLINE / 2, "longer than its back-off");
    let row = balancer.row(back.addr).unwrap();
    assert_eq!(row.why, "no failed dial since the last success");
}

//! Backends that do not serve: another one is found, or the client is refused or reset, never left
//! hanging.

use std::time::{Duration, Instant};

use common::status::BackendState;

use crate::support::{Backend, Behaviour, BlackHole, Client, Ending, Refusing, Setup, until};

const ECHO: Behaviour = Behaviour::Echo;

/// Longest a connection may take while a backend does not answer: one race, and a busy machine.
const RACED: Duration = Duration::from_secs(1);

#[test]
fn a_backend_that_never_served_gets_no_connection() {
    let dead = [Refusing::new(), Refusing::new()];
    let hole = BlackHole::new();
    let alive = Backend::new(ECHO);
    let down = [dead[0].addr, dead[1].addr, hole.addr];
    let backends = [down[0], down[1], alive.addr, down[2]];
    let balancer = Setup::backends(&backends).down(&down).start();
    for _ in 0..100 {
        Client::established(balancer.addr).unwrap();
    }
    assert_eq!(alive.accepted(), 100);
    for addr in down {
        let row = balancer.row(addr).unwrap();
        assert_eq!(row.state, BackendState::Pending);
        assert_eq!((row.connections_total, row.dial_failures_total), (0, 0));
    }
}

#[test]
fn a_backend_that_dies_costs_no_client_its_connection() {
    let (dying, alive) = (Backend::new(ECHO), Backend::new(ECHO));
    let balancer = Setup::backends(&[dying.addr, alive.addr]).start();
    let mut held: Vec<Client> =
        (0..20).map(|_| Client::established(balancer.addr).unwrap()).collect();
    let dead = dying.die();
    until("the dead one is found out", || {
        held.push(Client::established(balancer.addr).unwrap());
        balancer.row(dead.addr).unwrap().state == BackendState::Dead
    });
    let failures = balancer.row(dead.addr).unwrap().dial_failures_total;
    for _ in 0..100 {
        held.push(Client::established(balancer.addr).unwrap());
    }
    assert_eq!(balancer.row(dead.addr).unwrap().dial_failures_total, failures);
    assert_eq!(alive.open(), balancer.status().connections.open);
}

#[test]
fn a_backend_that_becomes_a_black_hole_delays_few_clients_and_fails_none() {
    let (mut dark, alive) = (Backend::new(ECHO), Backend::new(ECHO));
    let balancer = Setup::backends(&[dark.addr, alive.addr]).start();
    let established = |_| Client::established(balancer.addr).unwrap();
    // So many that the black hole is the one with the fewest connections from then on.
    let mut held: Vec<Client> = (0..20).map(established).collect();
    let begun = Instant::now();
    let hole = dark.go_dark();
    let (mut slow, mut slowest) = (0, Duration::ZERO);
    until("the black hole is found out", || {
        let (began, mut client) = (Instant::now(), Client::connect(balancer.addr).unwrap());
        client.echo(b"ping").unwrap();
        slow += u32::from(began.elapsed() > Duration::from_millis(250));
        slowest = slowest.max(began.elapsed());
        held.push(client);
        balancer.row(hole.addr).unwrap().state == BackendState::Dead
    });
    assert!(slowest < RACED, "{slowest:?}");
    // One trial a back-off at most.
    let seconds = begun.elapsed().as_secs_f64();
    assert!(f64::from(slow) <= 2.0 + seconds, "{slow} waited in {seconds} s");
    assert!(seconds < 16.0, "{seconds} s until it was dead");
    let dead = balancer.row(hole.addr).unwrap();
    assert!(dead.why.contains("did not connect in time"), "{}", dead.why);
    until("its sessions are cut", || balancer.closed("backend_dead") == 10.0);
    assert_eq!(alive.open(), held.len() as u64 - 10);
}

#[test]
fn when_nobody_serves_the_port_is_closed() {
    let (dead, dying) = (Refusing::new(), [Backend::new(ECHO), Backend::new(ECHO)]);
    let addrs = [dead.addr, dying[0].addr, dying[1].addr];
    let balancer = Setup::backends(&addrs).down(&[dead.addr]).start();
    Client::established(balancer.addr).unwrap();
    let begun = Instant::now();
    let dead = dying.map(Backend::die);
    until("clients are refused", || balancer.refuses());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    let ready = balancer.ask("GET", "/readyz");
    assert_eq!(ready.status, 503, "{}", ready.body);
    until("nothing is left", || balancer.status().connections.open == 0);

    let [first, _second] = dead;
    let begun = Instant::now();
    let back = first.revive(ECHO);
    until("clients are served again", || Client::established(balancer.addr).is_ok());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(back.accepted(), 1);
}

#[test]
fn when_nobody_serves_an_open_port_resets_its_clients() {
    let dead = [(); 2].map(|()| Refusing::new());
    let addrs = dead.each_ref().map(|dead| dead.addr);
    let setup = Setup::backends(&addrs).down(&addrs).flag("--listen-when-empty");
    let balancer = setup.start();
    until("the port is open", || balancer.status().listening);
    for _ in 0..3 {
        assert_eq!(Client::ending_at(balancer.addr), Ending::Reset);
    }
    until("the reason is counted", || balancer.closed("no_backend") == 3.0);
    let ready = balancer.ask("GET", "/readyz");
    assert_eq!(ready.status, 503, "{}", ready.body);
}

#[test]
fn when_all_refuse_every_one_is_tried_and_the_client_is_reset() {
    let dying = [(); 3].map(|()| Backend::new(ECHO));
    let balancer = Setup::backends(&dying.each_ref().map(|b| b.addr)).start();
    let dead = dying.map(Backend::die);
    // At once, while the probes have not yet told.
    assert_eq!(Client::ending_at(balancer.addr), Ending::Reset);
    for refusing in &dead {
        let series = format!(
            "mainstay_backend_dial_failures_total{{backend=\"{}\",failure=\"refused\"}}",
            refusing.addr
        );
        assert_eq!(balancer.metric(&series), 1.0);
    }
    until("the reason is counted", || balancer.closed("no_backend") == 1.0);
}

#[test]
fn when_all_are_black_holes_the_client_is_reset_in_time() {
    let mut dark = [Backend::new(ECHO), Backend::new(ECHO)];
    let config = "[timeouts]\nconnect = '1s'\ndial = '1s'\n";
    let addrs = dark.each_ref().map(|backend| backend.addr);
    let balancer = Setup::backends(&addrs).config(config).start();
    let _holes = dark.each_mut().map(Backend::go_dark);
    assert_eq!(Client::ending_at(balancer.addr), Ending::Reset);
    until("the reason is counted", || balancer.closed("dial_timeout") == 1.0);
}

#[test]
fn a_backend_that_comes_back_gets_connections_again() {
    let (dying, alive) = (Backend::new(ECHO), Backend::new(ECHO));
    let balancer = Setup::backends(&[dying.addr, alive.addr]).start();
    let mut held = vec![Client::established(balancer.addr).unwrap()];
    let dead = dying.die();
    balancer.until_state(dead.addr, BackendState::Dead);
    held.push(Client::established(balancer.addr).unwrap());

    let back = dead.revive(ECHO);
    balancer.until_state(back.addr, BackendState::Up);
    until("the backend gets connections again", || {
        held.push(Client::established(balancer.addr).unwrap());
        back.accepted() > 0
    });
    let row = balancer.row(back.addr).unwrap();
    assert_eq!(row.why, "it answered that it is ready");
}

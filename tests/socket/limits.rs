//! Limits: of connections and of descriptors. What does not fit waits, and is served later.

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::admin::{AdminConnection, metric_in};
use crate::support::{Backend, Balancer, Behaviour, Client, Setup, eventually, process, until};

#[test]
fn at_the_connection_limit_the_next_client_waits_and_is_served() {
    let backend = Backend::new(Behaviour::Echo);
    let config = "[limits]\nmax_connections = 5\n";
    let balancer = Setup::backends(&[backend.addr]).config(config).start();
    let established = |_| Client::established(balancer.addr).unwrap();
    let mut held: Vec<Client> = (0..5).map(established).collect();
    let addr = balancer.addr;
    let (done, waits) = std::sync::mpsc::channel();
    let sixth = std::thread::spawn(move || done.send(Client::established(addr)).unwrap());
    // The others live on meanwhile, and the sixth is not accepted.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        held.iter_mut().for_each(|client| client.echo(b"x").unwrap());
        assert_eq!(balancer.status().connections.open, 5);
        assert_eq!(balancer.status().connections.accepted_total, 5);
    }
    assert!(waits.try_recv().is_err(), "the sixth was served");
    held.pop();
    sixth.join().unwrap();
    let mut sixth = waits.recv().unwrap().unwrap();
    sixth.echo(b"served").unwrap();
    assert_eq!(balancer.status().connections.accepted_total, 6);
}

#[test]
fn a_limit_below_the_number_of_workers_is_kept() {
    let backend = Backend::new(Behaviour::Echo);
    let config = "workers = 4\n[limits]\nmax_connections = 1\n";
    let balancer = Setup::backends(&[backend.addr]).config(config).start();
    // One after the other, whichever worker each wakes.
    for _ in 0..50 {
        Client::established(balancer.addr).unwrap();
    }
}

#[test]
fn silent_clients_do_not_keep_the_places_while_others_wait() {
    let backend = Backend::new(Behaviour::Echo);
    let config = "[limits]\nmax_connections = 20\n";
    let balancer = Setup::backends(&[backend.addr]).config(config).start();
    // The places are taken twice over by clients that never say anything. They come one by one, or
    // all of them have been silent for too long at the same moment.
    let silent = (0..40).map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        Client::connect(balancer.addr).unwrap()
    });
    let silent: Vec<_> = silent.collect();
    until("every place is taken", || balancer.status().connections.open == 20);
    let begun = Instant::now();
    let mut client = Client::established(balancer.addr).unwrap();
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}, and each may be silent for 10 s");
    client.echo(b"served").unwrap();
    let ended = r#"mainstay_connections_closed_total{reason="client_silent"}"#;
    let mut admin = AdminConnection::open(&balancer.admin).unwrap();
    until("everybody has had a place", || metric(&mut admin, ended) > 20.0);
    // With nobody behind them the rest may go on being silent.
    std::thread::sleep(Duration::from_secs(1));
    assert!(metric(&mut admin, ended) < 40.0);
    drop(silent);
}

#[test]
fn a_silent_client_in_the_last_place_may_be_silent_while_nobody_waits() {
    let backend = Backend::new(Behaviour::Echo);
    let config = "workers = 2\n[limits]\nmax_connections = 3\n";
    let balancer = Setup::backends(&[backend.addr]).config(config).start();
    let held: Vec<_> = (0..2).map(|_| Client::established(balancer.addr).unwrap()).collect();
    let mut silent = Client::connect(balancer.addr).unwrap();
    until("every place is taken", || balancer.status().connections.open == 3);
    // Four times as long as it could be if another one waited.
    std::thread::sleep(Duration::from_secs(2));
    silent.echo(b"late").unwrap();
    drop(held);
}

/// The metrics, over a connection that was opened while there still were descriptors.
fn metric(admin: &mut AdminConnection, series: &str) -> f64 {
    metric_in(&admin.ask("GET", "/metrics").unwrap().body, series)
}

/// A balancer whose descriptors end before its places do.
fn short_of_descriptors(backend: &Backend, workers: usize, descriptors: u32) -> Balancer {
    let config = format!("workers = {workers}\n[limits]\nmax_connections = 1000\n");
    Setup::backends(&[backend.addr]).config(&config).descriptors(descriptors).start()
}

/// Opens clients and sends a byte on each until accepting fails.
fn exhaust(balancer: &Balancer, admin: &mut AdminConnection) -> Vec<Client> {
    let mut clients = Vec::new();
    let mut fillers = Vec::new();
    eventually("accepting fails", || {
        // Connecting and writing fail for one that was accepted with the last descriptor and reset
        // for want of another one toward the backend. Admin connections take one each, and so leave
        // none over.
        if let Ok(mut client) = Client::connect(balancer.addr) {
            client.0.write_all(b"x").ok();
            clients.push(client);
        }
        if clients.len() > 60 && fillers.len() < 100 {
            fillers.push(AdminConnection::open(&balancer.admin).unwrap());
        }
        (metric(admin, "mainstay_accept_errors_total") > 0.0).then_some(())
    });
    clients
}

#[test]
fn out_of_descriptors_it_pauses_without_spinning_and_recovers() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = short_of_descriptors(&backend, 1, 96);
    let mut admin = AdminConnection::open(&balancer.admin).unwrap();
    let mut survivor = Client::established(balancer.addr).unwrap();
    let clients = exhaust(&balancer, &mut admin);
    let alive = backend.open();
    assert!(alive >= 20, "only {alive} sessions");

    // Exhausted: it neither spins nor forgets the sessions it has.
    let (cpu, begun) = (process::cpu_time(balancer.pid()), Instant::now());
    while begun.elapsed() < Duration::from_secs(2) {
        survivor.echo(b"still served").unwrap();
        metric(&mut admin, "mainstay_accept_errors_total");
        std::thread::sleep(Duration::from_millis(50));
    }
    let used = process::cpu_time(balancer.pid()) - cpu;
    assert!(used < begun.elapsed() / 4, "used {used:?}");

    drop(clients);
    until("connections are served again", || Client::established(balancer.addr).is_ok());
    for _ in 0..10 {
        Client::established(balancer.addr).unwrap();
    }
    survivor.echo(b"still served").unwrap();
    assert!(balancer.log().contains("cannot accept; pausing"));
}

/// Each client is accepted with a descriptor for its backend in hand, whichever worker serves it.
#[test]
fn nobody_is_accepted_to_be_reset_for_want_of_descriptors() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = short_of_descriptors(&backend, 4, 128);
    let mut admin = AdminConnection::open(&balancer.admin).unwrap();
    let mut clients = VecDeque::from(exhaust(&balancer, &mut admin));
    let more_wait = |clients: &mut VecDeque<Client>, count| {
        let waiting = (0..count).map(|_| Client::connect(balancer.addr).unwrap());
        clients.extend(waiting.inspect(|client| (&client.0).write_all(b"x").unwrap()));
    };
    more_wait(&mut clients, 60);
    let mut count = |series: &str| metric(&mut admin, &format!("mainstay_connections_{series}"));
    let lost = "closed_total{reason=\"local_limit\"}";
    let before = (count("accepted_total"), count(lost));
    // Places become free by ones, twos and threes.
    for round in 0..20 {
        clients.drain(..=round % 3);
        more_wait(&mut clients, 3);
        std::thread::sleep(Duration::from_millis(250));
        // An admin client that is silent has to give way.
        count("accepted_total");
    }
    let accepted = count("accepted_total") - before.0;
    let lost = count(lost) - before.1;
    // The admin endpoint and the probes may take the descriptor in between.
    assert!(accepted >= 20.0 && lost <= accepted / 20.0, "{lost} of {accepted} lost");
}

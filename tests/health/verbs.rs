//! `drain`, `undrain` and `why`: over the unix socket, over TCP with the token, and not without.

use std::path::Path;

use common::status::BackendState;

use crate::support::command::{Outcome, mainstay};
use crate::support::on_tcp::start_on_tcp;
use crate::support::{Backend, Balancer, Behaviour, Client, Setup, until};

fn verb(balancer: &Balancer, verb: &str, name: &str) -> Outcome {
    let admin = format!("unix:{}", balancer.admin.display());
    mainstay(Path::new("/"), &[verb, name, "--admin", &admin])
}

#[test]
fn a_drained_backend_keeps_what_it_has_and_gets_nothing_new() {
    let backends = [Behaviour::Echo; 2].map(Backend::new);
    let names = backends.each_ref().map(|backend| backend.addr.to_string());
    let config = format!("backends = {names:?}\n");
    let balancer = Setup::default().config(&config).start();
    let mut held: Vec<Client> =
        (0..10).map(|_| Client::established(balancer.addr).unwrap()).collect();
    let (drained, name) = (&backends[0], &names[0]);

    let outcome = verb(&balancer, "drain", name);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert_eq!(outcome.out, format!("{name} is DRAIN, 5 connections\n"));
    let only_the_other = || {
        for _ in 0..10 {
            Client::established(balancer.addr).unwrap();
        }
        assert_eq!(drained.accepted(), 5);
    };
    only_the_other();
    held.iter_mut().for_each(|client| client.echo(b"goes on").unwrap());
    let why = verb(&balancer, "why", name).out;
    assert!(why.contains("because     the operator drains it\n"), "{why}");
    assert!(why.contains("ends with   `mainstay undrain`\n"), "{why}");

    balancer.reload(&config, "applied");
    assert_eq!(balancer.row(drained.addr).unwrap().state, BackendState::Drain);
    only_the_other();

    let outcome = verb(&balancer, "undrain", name);
    assert_eq!(outcome.out, format!("{name} is UP, 5 connections\n"));
    until("it gets connections again, slowly at first", || {
        held.push(Client::established(balancer.addr).unwrap());
        drained.accepted() > 5
    });
}

#[test]
fn names_that_are_not_there_are_told_apart_from_those_that_are() {
    let backend = Backend::new(Behaviour::Echo);
    let down = "[::1]:1".parse().unwrap();
    let balancer = Setup::backends(&[backend.addr, down]).down(&[down]).start();
    let outcome = verb(&balancer, "drain", "master9");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("`mainstay status` lists the names"), "{}", outcome.err);
    let outcome = verb(&balancer, "why", "[::1]:1");
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(outcome.out.starts_with("[::1]:1 ([::1]:1) is PENDING"), "{}", outcome.out);
    let outcome = verb(&balancer, "drain", "[::1]:1");
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
}

#[test]
fn over_tcp_a_verb_needs_the_token_of_the_state_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (state, empty) = (dir.path().join("state"), dir.path().join("empty"));
    let (_balancer, admin) = start_on_tcp(&state);
    let run = |verb, state: &Path| {
        let state = state.to_str().unwrap();
        mainstay(dir.path(), &[verb, "master1", "--admin", &admin, "--state-dir", state])
    };
    let refused = run("drain", &empty);
    assert_eq!(refused.code, Some(77), "{}", refused.err);
    assert!(refused.err.contains("401"), "{}", refused.err);
    let why = run("why", &empty);
    assert_eq!(why.code, Some(0), "to look needs no token: {}", why.err);

    std::fs::create_dir(&empty).unwrap();
    std::fs::write(empty.join("admin-token"), "0".repeat(64)).unwrap();
    let refused = run("undrain", &empty);
    assert_eq!(refused.code, Some(77), "{}", refused.err);

    let outcome = run("drain", &state);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let why = run("why", &state).out;
    assert!(why.contains("ends with   `mainstay undrain`\n"), "{why}");
}

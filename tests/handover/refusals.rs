//! Whatever is wrong with the new process: the old one goes on, its sessions do not notice, one line
//! says why, and the next try may do better.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::giver::{ask, fail, hand_over, upgrade_of};
use crate::support::balancer::{CONFIG, PROGRAM};
use crate::support::command::{MAINSTAY, install, install_script, mainstay};
use crate::support::{Backend, Balancer, Behaviour, Client, Setup, until};

/// Puts a shell script in the place of the program, as an upgrade puts a newer one there.
pub(crate) fn replace_by_script(balancer: &Balancer, script: &str) {
    let new = balancer.dir().join("new");
    install_script(script, &new);
    fs::rename(new, balancer.dir().join(PROGRAM)).unwrap();
}

fn replace_by_program(balancer: &Balancer) {
    let new = balancer.dir().join("new");
    install(Path::new(MAINSTAY), &new);
    fs::rename(new, balancer.dir().join(PROGRAM)).unwrap();
}

/// A shell command that says something on the channel: a packet that is the last of its message.
pub(crate) fn says(text: &str) -> String {
    let length = text.len() as u32;
    let head: String = length.to_le_bytes().iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("printf '\\001{head}{text}' >&0")
}

#[test]
fn a_new_process_that_is_no_good_changes_nothing() {
    let hello = says("{\"hello\":{\"format\":1,\"version\":\"test\"}}");
    let ready = says("\"ready\"");
    let cases = [
        ("crashes at once", "exit 3".to_owned(), "ended"),
        (
            "speaks another version of the format",
            says("{\"hello\":{\"format\":99,\"version\":\"9.9\"}}") + "\nsleep 60",
            "version 99 of the format",
        ),
        ("speaks something else", says("hello, world") + "\nsleep 60", "another format"),
        ("refuses", says("{\"refuse\":{\"reason\":\"not on a Wednesday\"}}"), "not on a Wednesday"),
        ("crashes when it knows what there is", format!("{hello}\nsleep 1\nexit 1"), "ended"),
        ("crashes while the sessions stand still", format!("{hello}\n{ready}\nsleep 1"), "ended"),
        (
            "stalls while the sessions stand still",
            format!("{hello}\n{ready}\nsleep 60"),
            "too long",
        ),
        (
            "stalls when it says that it holds everything",
            format!("{hello}\n{ready}\n{}\nsleep 60", says("{\"holding\":{\"sessions\":2}}")),
            "too long",
        ),
    ];
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).own_copy().start();
    let mut clients = [(); 2].map(|()| Client::established(balancer.addr).unwrap());
    for (number, (what, script, reason)) in cases.iter().enumerate() {
        replace_by_script(&balancer, script);
        let said = fail(&balancer);
        assert!(said.contains(reason), "{what}: {said}");
        clients.iter_mut().for_each(|client| client.echo(b"nothing happened").unwrap());
        Client::established(balancer.addr).unwrap();
        // Lines are written by a thread of their own.
        let lines = || balancer.log().matches("hand-over given up").count();
        until(&format!("{what}: a line"), || lines() > number);
        assert_eq!(lines(), number + 1, "{what}: one line");
        assert!(balancer.status().ready, "{what}");
    }
    let given_up = balancer.metric("mainstay_handovers_total{result=\"given_up\"}");
    assert_eq!(given_up, cases.len() as f64);
    replace_by_program(&balancer);
    assert_eq!(hand_over(&balancer).sessions, 2);
    clients.iter_mut().for_each(|client| client.echo(b"and now it works").unwrap());
    assert_eq!(balancer.metric("mainstay_handovers_total{result=\"given_up\"}"), given_up);
    assert_eq!(backend.resets(), 0);
}

/// More than the channel holds, so that the old process is still sending when the time is over.
#[test]
fn a_new_process_that_takes_only_a_part_of_the_sessions_changes_nothing() {
    const SESSIONS: usize = 1_500;
    let hello = says("{\"hello\":{\"format\":1,\"version\":\"test\"}}");
    let script = format!("{hello}\n{}\nsleep 60", says("\"ready\""));
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).own_copy().start();
    let established = |_| Client::established(balancer.addr).unwrap();
    let mut clients: Vec<_> = (0..SESSIONS).map(established).collect();
    replace_by_script(&balancer, &script);
    let said = fail(&balancer);
    assert!(said.contains("did not take the sessions within 5s"), "{said}");
    clients.iter_mut().for_each(|client| client.echo(b"nothing happened").unwrap());
    replace_by_program(&balancer);
    assert_eq!(hand_over(&balancer).sessions, SESSIONS as u64);
    clients.iter_mut().for_each(|client| client.echo(b"and now it works").unwrap());
    assert_eq!(backend.resets(), 0);
}

#[test]
fn a_wrong_configuration_is_refused_with_its_sentence() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).config("").start();
    let mut client = Client::established(balancer.addr).unwrap();
    fs::write(balancer.dir().join(CONFIG), "nonsense = 1\n").unwrap();
    let said = fail(&balancer);
    assert!(said.contains("nonsense"), "{said}");
    fs::write(balancer.dir().join(CONFIG), "workers = 3\n").unwrap();
    let said = fail(&balancer);
    assert!(said.contains("`workers` can only be changed by a restart"), "{said}");
    fs::write(balancer.dir().join(CONFIG), "[timeouts]\nidle = \"1h\"\n").unwrap();
    assert_eq!(hand_over(&balancer).sessions, 1);
    client.echo(b"goes on").unwrap();
}

#[test]
fn a_drained_backend_stays_drained() {
    let backends = [Backend::new(Behaviour::Echo), Backend::new(Behaviour::Echo)];
    let balancer = Setup::backends(&[backends[0].addr, backends[1].addr]).start();
    let clients: Vec<_> = (0..6).map(|_| Client::established(balancer.addr).unwrap()).collect();
    balancer.ask("POST", &format!("/v1/members/{}/drain", backends[0].addr));
    assert_eq!(hand_over(&balancer).sessions, 6);
    let state = balancer.row(backends[0].addr).unwrap().state;
    assert_eq!(state, common::status::BackendState::Drain);
    let before = backends[0].accepted();
    let _more: Vec<_> = (0..6).map(|_| Client::established(balancer.addr).unwrap()).collect();
    assert_eq!(backends[0].accepted(), before);
    drop(clients);
}

#[test]
fn a_balancer_that_stops_hands_nothing_over() {
    let backend = Backend::new(Behaviour::Echo);
    let mut balancer = Setup::backends(&[backend.addr]).start();
    let mut client = Client::established(balancer.addr).unwrap();
    balancer.signal(Signal::TERM);
    until("it stops", || balancer.refuses());
    let answer = balancer.ask("POST", "/v1/upgrade");
    assert_eq!((answer.status, answer.body.as_str()), (409, "the balancer stops\n"));
    balancer.signal(Signal::USR2);
    client.echo(b"still drains").unwrap();
    drop(client);
    assert!(balancer.exit().success());
    assert!(!balancer.log().contains("hand-over"));
}

#[test]
fn two_requests_at_once_are_one_hand_over() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).own_copy().start();
    let mut client = Client::established(balancer.addr).unwrap();
    replace_by_script(&balancer, &format!("sleep 2\nexec {MAINSTAY} \"$@\""));
    let first = upgrade_of(&balancer).pid;
    assert_eq!(balancer.ask("POST", "/v1/upgrade").status, 200);
    assert_eq!(balancer.ask("POST", "/v1/upgrade").status, 409);
    ask(&balancer);
    until("another process answers", || upgrade_of(&balancer).pid != first);
    client.echo(b"goes on").unwrap();
    assert_eq!(balancer.metric("mainstay_handovers_total{result=\"done\"}"), 1.0);
    assert_eq!(balancer.log().matches("new process started").count(), 1);
}

#[test]
fn the_command_asks_and_tells() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).own_copy().start();
    let mut client = Client::established(balancer.addr).unwrap();
    let admin = format!("unix:{}", balancer.admin.display());
    let upgraded = mainstay(balancer.dir(), &["upgrade", "--admin", &admin]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    assert!(upgraded.out.contains("took over 1 session from"), "{upgraded:?}");
    client.echo(b"goes on").unwrap();
    replace_by_script(&balancer, "exit 3");
    let refused = mainstay(balancer.dir(), &["upgrade", "--admin", &admin]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("the new process ended"), "{refused:?}");
    client.echo(b"goes on").unwrap();
}

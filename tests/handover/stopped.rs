//! A stop that is asked for around a hand-over is neither lost nor late: whoever serves in the end
//! stops, and its sessions are drained.

use std::time::{Duration, Instant};

use common::drain::StopPhase;
use rustix::process::{Pid, Signal, kill_process};

use crate::giver::{ask, ended, upgrade_of};
use crate::refusals::{replace_by_script, says};
use crate::support::command::mainstay;
use crate::support::{Backend, Balancer, Behaviour, Client, Ending, Setup, until};

/// A client that says nothing keeps the old process for longer than any test waits.
const PATIENT: &str = "[timeouts]\nfirst_byte = '10m'\n[stop]\ndrain_timeout = '10m'\n";

fn terminate(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::TERM).unwrap();
}

/// A balancer after a hand-over whose old process has not ended yet, with the ids of both and a client
/// that keeps it.
fn in_between(backend: &Backend) -> (Balancer, u32, u32, Client) {
    let balancer = Setup::backends(&[backend.addr]).config(PATIENT).start();
    let silent = Client::connect(balancer.addr).unwrap();
    until("it is accepted", || balancer.status().connections.open == 1);
    let old = ask(&balancer).pid;
    until("another process answers", || upgrade_of(&balancer).pid != old);
    let new = upgrade_of(&balancer).pid;
    assert!(!ended(old));
    (balancer, old, new, silent)
}

#[test]
fn a_stop_of_the_old_process_stops_the_new_one() {
    let backend = Backend::new(Behaviour::Echo);
    let (balancer, old, new, mut silent) = in_between(&backend);
    let mut client = Client::established(balancer.addr).unwrap();
    terminate(old);
    until("the port is closed", || balancer.refuses());
    assert_eq!(silent.ending(), Ending::Reset);
    until("the old process has ended", || ended(old));
    assert_eq!(balancer.status().phase, StopPhase::Draining);
    client.echo(b"is drained, not cut").unwrap();
    drop(client);
    until("the new process has ended", || ended(new));
}

#[test]
fn a_stop_of_both_is_one_stop() {
    let backend = Backend::new(Behaviour::Echo);
    let (balancer, old, new, _silent) = in_between(&backend);
    let mut client = Client::established(balancer.addr).unwrap();
    terminate(new);
    until("draining", || balancer.status().phase == StopPhase::Draining);
    terminate(old);
    until("the old process has ended", || ended(old));
    until("the new one knows", || balancer.log().contains("the old process was asked to stop"));
    client.echo(b"is drained, not cut").unwrap();
    assert_eq!(balancer.status().phase, StopPhase::Draining);
    drop(client);
    until("the new process has ended", || ended(new));
}

#[test]
fn a_stop_while_the_process_before_has_not_ended_is_not_late() {
    let backend = Backend::new(Behaviour::Echo);
    let (balancer, _, new, _silent) = in_between(&backend);
    ask(&balancer);
    until("a hand-over waits", || upgrade_of(&balancer).stage.is_some());
    let begun = Instant::now();
    terminate(new);
    until("the port is closed", || balancer.refuses());
    until("the new process has ended", || ended(new));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn the_command_does_not_wait_for_a_balancer_that_has_stopped() {
    let backend = Backend::new(Behaviour::Echo);
    let mut balancer = Setup::backends(&[backend.addr]).own_copy().start();
    replace_by_script(&balancer, "exec sleep 20");
    let admin = format!("unix:{}", balancer.admin.display());
    let dir = balancer.dir().to_owned();
    let asked = std::thread::spawn(move || mainstay(&dir, &["upgrade", "--admin", &admin]));
    until("a hand-over begins", || {
        upgrade_of(&balancer).stage.as_deref() == Some("new process started")
    });
    let begun = Instant::now();
    balancer.signal(Signal::KILL);
    balancer.exit();
    let outcome = asked.join().unwrap();
    assert_eq!(outcome.code, Some(69), "{outcome:?}");
    assert!(outcome.err.contains("nobody has answered"), "{outcome:?}");
    assert!(begun.elapsed() > Duration::from_secs(9), "a moment of silence is no end");
}

/// The new process is a script that takes its time, so that the stop comes while it is not decided
/// who goes on.
#[test]
fn a_stop_while_the_sessions_move_is_handed_on() {
    let backend = Backend::new(Behaviour::Echo);
    let mut balancer = Setup::backends(&[backend.addr]).own_copy().start();
    let heard = balancer.dir().join("heard");
    let script = [
        says("{\"hello\":{\"format\":1,\"version\":\"test\"}}"),
        says("\"ready\""),
        "sleep 1".to_owned(),
        says("{\"holding\":{\"sessions\":0}}"),
        says("\"taken\""),
        format!("cat > {}", heard.display()),
    ];
    replace_by_script(&balancer, &script.join("\n"));
    ask(&balancer);
    let moves = || upgrade_of(&balancer).stage.as_deref() == Some("sessions move");
    until("sessions move", moves);
    balancer.signal(Signal::TERM);
    assert!(balancer.exit().success());
    let bye = || {
        std::fs::read(&heard)
            .is_ok_and(|said| String::from_utf8_lossy(&said).contains("\"stop\":true"))
    };
    until("it is told to stop", bye);
}

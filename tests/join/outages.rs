//! What goes away and comes back by itself, with nobody there to help.

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::status::BackendState;
use rustix::process::Signal;

use crate::https;
use crate::machine::Machine;
use crate::story::Beginning;
use crate::support::until;

const VERSION: &str = "v1.20.2";

/// Longer than the pause between two probes.
const WHILE: Duration = Duration::from_secs(5);

#[test]
fn everything_down_and_up_again_needs_nobody() {
    let begun = Beginning::of(VERSION);
    let coordinator = &begun.coordinator;
    let next = ["master1", "master2"].map(|name| begun.machine(name, VERSION));
    let mut agents = Vec::new();
    for machine in &next {
        machine.run("join", &begun.ticket);
        agents.push(machine.start("agent", &[]));
    }
    coordinator.until_up(3);
    let masters: Vec<&Machine> = next.iter().chain([&begun.first]).collect();

    // The power fails.
    for agent in agents.iter().chain([&begun.agent]) {
        agent.signal(Signal::KILL);
    }
    drop(agents);
    coordinator.kill();
    masters.iter().for_each(|master| master.serve(false));

    // The balancer is back first and knows whom to wait for, however long.
    coordinator.run();
    let states = || {
        let backends = coordinator.try_status().map(|status| status.backends).unwrap_or_default();
        backends.iter().map(|backend| backend.state).collect::<Vec<_>>()
    };
    until("it asks for all three", || states().len() == 3);
    std::thread::sleep(WHILE);
    assert!(states().iter().all(|state| *state != BackendState::Up), "{:?}", states());
    assert_eq!(states().len(), 3);

    masters.iter().for_each(|master| master.serve(true));
    coordinator.until_up(3);
    let agents: Vec<_> = masters.iter().map(|master| master.start("agent", &[])).collect();
    until("the agents are heard", || {
        coordinator.metric("mainstay_registered_missing") == Some(0.0)
    });
    // And it goes on as if nothing had been.
    begun.machine("master3", VERSION).run("join", &coordinator.ticket());
    coordinator.until_up(4);
    drop(agents);
}

#[test]
fn etcd_that_grows_cuts_and_ejects_nobody() {
    let begun = Beginning::of(VERSION);
    let coordinator = &begun.coordinator;
    // A client whose connection stays, as a watch does.
    let ca = std::fs::read_to_string(begun.first.path("kubernetes/pki/ca.crt")).unwrap();
    let mut client = https::connect(coordinator.endpoint, Some(&ca)).unwrap();
    let mut asks = || https::ask_on(&mut client, None, ("GET", "/healthz"), None).map(|it| it.0);
    assert_eq!(asks(), Some(200));
    begun.etcd.leaderless.store(true, Ordering::Relaxed);
    let joining = begun.machine("master1", VERSION);
    let running = joining.start("join", &begun.ticket);
    std::thread::sleep(WHILE);
    assert_eq!(coordinator.state("master0"), Some(BackendState::Drain), "it says so itself");
    assert_ne!(coordinator.state("master1"), Some(BackendState::Up), "not ready yet");
    assert_eq!(asks(), Some(200), "the connection is cut");
    // With nobody else to serve, new clients are let through too: kubeadm is one.
    let new = https::ask(coordinator.endpoint, Some(&ca), None, ("GET", "/healthz"), None);
    assert_eq!(new.map(|it| it.0), Some(200));
    begun.etcd.leaderless.store(false, Ordering::Relaxed);
    let (status, said) = running.end();
    assert!(status.success(), "{said}");
    coordinator.until_up(2);
    assert_eq!(asks(), Some(200), "the connection is cut");
    let said = coordinator.said();
    assert!(!said.contains("member removed"), "{said}");
}

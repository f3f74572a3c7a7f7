//! What a master hands to its coordinator: the CA of its cluster, and a kubeconfig to watch it with.
//! The balancer uses both, and has them again after a restart.

use std::net::SocketAddr;

use common::Source;
use common::status::{BackendState, BackendStatus};
use rustix::process::Signal;

use crate::authority;
use crate::balancer::Coordinator;
use crate::machine::Machine;
use crate::story::Beginning;
use crate::support::until;

const VERSION: &str = "v1.20.2";

/// Makes a machine a master without Mainstay's knowledge.
fn by_hand(machine: &Machine, pki_of: Option<&Machine>) {
    let pki = machine.path("kubernetes/pki");
    match pki_of {
        Some(first) => {
            for file in ["ca.crt", "ca.key"] {
                let content = std::fs::read_to_string(first.path("kubernetes/pki").join(file));
                authority::write(&pki.join(file), &content.unwrap());
            }
        }
        None => authority::create(&pki),
    }
    authority::serve(&pki, &[machine.addr().ip()]);
    authority::write(&machine.path("kubernetes/manifests/kube-apiserver.yaml"), "a pod\n");
}

fn row(coordinator: &Coordinator, addr: SocketAddr) -> Option<BackendStatus> {
    let backends = coordinator.try_status()?.backends;
    backends.into_iter().find(|row| row.addr == addr.to_string())
}

fn is(coordinator: &Coordinator, machine: &Machine, state: BackendState) {
    until(&format!("{} is {}", machine.name, state.name()), || {
        row(coordinator, machine.addr()).is_some_and(|row| row.state == state)
    });
}

/// Waits until the cluster is watched and lists these machines.
fn watched(coordinator: &Coordinator, machines: &[&Machine]) {
    let mut wanted: Vec<String> =
        machines.iter().map(|machine| machine.addr().to_string()).collect();
    wanted.sort();
    until("the cluster is watched", || {
        let Some(status) = coordinator.try_status() else { return false };
        let mut listed = status.kubernetes.listed;
        listed.sort();
        status.kubernetes.connected && listed == wanted
    });
}

#[test]
fn the_cluster_that_a_master_hands_over_is_watched_and_verified() {
    let begun = Beginning::of(VERSION);
    let coordinator = &begun.coordinator;
    let [friend, late, stranger] =
        ["friend", "late", "stranger"].map(|name| begun.machine(name, VERSION));
    by_hand(&friend, Some(&begun.first));
    by_hand(&late, Some(&begun.first));
    by_hand(&stranger, None);
    let list = |machines: &[&Machine]| {
        *begun.etcd.listed.lock() = machines.iter().map(|machine| machine.addr()).collect();
    };

    // The kubeconfig reaches the source: it finds masters that nobody has registered. The CA reaches
    // the probes: they tell a master of the cluster from another one.
    list(&[&begun.first, &friend, &stranger]);
    watched(coordinator, &[&begun.first, &friend, &stranger]);
    is(coordinator, &friend, BackendState::Up);
    is(coordinator, &stranger, BackendState::Dead);
    assert_eq!(row(coordinator, friend.addr()).unwrap().source, Source::Kubernetes);
    assert_eq!(coordinator.metric("mainstay_cluster_identified"), Some(1.0));

    // The agent is gone, so that nobody hands over anything to the next process.
    begun.agent.signal(Signal::KILL);
    coordinator.kill();
    coordinator.run();
    list(&[&begun.first, &friend, &stranger, &late]);
    watched(coordinator, &[&begun.first, &friend, &stranger, &late]);
    is(coordinator, &late, BackendState::Up);
    is(coordinator, &friend, BackendState::Up);
    is(coordinator, &stranger, BackendState::Dead);
    assert_eq!(coordinator.metric("mainstay_cluster_identified"), Some(1.0));
    let said = coordinator.said();
    assert!(!said.contains("client-key-data"), "a secret in the log");
}

#[test]
fn a_new_ca_beside_the_old_one_is_handed_over_too() {
    let begun = Beginning::of(VERSION);
    let coordinator = &begun.coordinator;
    let [old, new] = ["old", "new"].map(|name| begun.machine(name, VERSION));
    by_hand(&old, Some(&begun.first));
    by_hand(&new, None);
    *begun.etcd.listed.lock() = [&begun.first, &old, &new].map(Machine::addr).to_vec();
    is(coordinator, &old, BackendState::Up);
    is(coordinator, &new, BackendState::Dead);

    let ca = begun.first.path("kubernetes/pki/ca.crt");
    let of = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let both = of(&ca) + &of(&new.path("kubernetes/pki/ca.crt"));
    authority::write(&ca, &both);
    is(coordinator, &new, BackendState::Up);
    is(coordinator, &old, BackendState::Up);
    is(coordinator, &begun.first, BackendState::Up);
}

#[test]
fn a_reload_changes_the_cluster_that_masters_are_held_to() {
    let begun = Beginning::of(VERSION);
    let coordinator = &begun.coordinator;
    let [friend, stranger] = ["friend", "stranger"].map(|name| begun.machine(name, VERSION));
    by_hand(&friend, Some(&begun.first));
    by_hand(&stranger, None);
    let ca_of = |machine: &Machine| {
        let file = machine.path("kubernetes/pki/ca.crt");
        coordinator.configure(&format!("[cluster]\nca = \"{}\"\n", file.display()));
    };
    coordinator.kill();
    ca_of(&stranger);
    coordinator.run();
    let (status, said) = friend.start("register", &begun.ticket).end();
    assert_eq!(status.code(), Some(77), "{said}");
    assert!(said.contains("belongs to another cluster"), "{said}");
    ca_of(&begun.first);
    coordinator.reload();
    friend.run("register", &begun.ticket);
    is(coordinator, &friend, BackendState::Up);
    let (status, said) = stranger.start("register", &begun.ticket).end();
    assert_eq!(status.code(), Some(77), "{said}");
}

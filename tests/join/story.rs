//! The story as it should go: from nothing to three masters, and one leaves.

use std::sync::Arc;

use common::status::BackendState;

use crate::apiserver::Etcd;
use crate::balancer::Coordinator;
use crate::machine::{Machine, Running};
use crate::support::until;

/// A cluster of one master with its agent, and a ticket for more.
pub(crate) struct Beginning {
    pub(crate) etcd: Arc<Etcd>,
    pub(crate) coordinator: Coordinator,
    pub(crate) ticket: Vec<String>,
    pub(crate) first: Machine,
    pub(crate) agent: Running,
}

impl Beginning {
    pub(crate) fn of(version: &str) -> Self {
        let (etcd, coordinator) = (Arc::<Etcd>::default(), Coordinator::start());
        let ticket = coordinator.ticket();
        let first = Machine::new("master0", version, &etcd);
        let said = first.run("init", &ticket);
        assert!(said.contains("In rotation"), "{said}");
        let agent = first.start("agent", &[]);
        Self { etcd, coordinator, ticket, first, agent }
    }

    pub(crate) fn machine(&self, name: &str, version: &str) -> Machine {
        Machine::new(name, version, &self.etcd)
    }

    /// The public half of the ticket's token.
    pub(crate) fn ticket_id(&self) -> &str {
        let token = self.ticket.iter().position(|it| it == "--token").unwrap() + 1;
        self.ticket[token].split_once('.').unwrap().0
    }

    /// Name of the bootstrap token that was made for a joiner.
    pub(crate) fn token_for(&self, joiner: &str) -> String {
        let description = format!("Made by mainstay for the join of {joiner}");
        let encoded = data_encoding::BASE64.encode(description.as_bytes());
        let store = self.etcd.store.lock();
        let mut secrets = store.objects.values().filter(|object| object["kind"] == "Secret");
        let token = secrets.find(|secret| secret["data"]["description"] == encoded.as_str());
        token.unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
    }

    /// Waits until no credentials of a join are left in the cluster.
    pub(crate) fn until_revoked(&self) {
        until("the credentials are deleted", || self.etcd.secrets().is_empty());
    }
}

#[test]
fn three_masters_with_three_commands_and_one_ticket() {
    let begun = Beginning::of("v1.20.2");
    assert!(begun.coordinator.state("master0") == Some(BackendState::Up));
    let (one, two) = (begun.machine("master1", "v1.20.2"), begun.machine("master2", "v1.20.2"));
    // Both at once: one waits for the other.
    let first = one.start("join", &begun.ticket);
    let second = two.start("join", &begun.ticket);
    for (machine, running) in [(&one, first), (&two, second)] {
        let (status, said) = running.end();
        assert!(status.success(), "{}: {said}", machine.name);
        assert!(said.contains("It is our turn") && said.contains("In rotation"), "{said}");
        let left = machine.path("state/kubeadm-join.yaml");
        assert!(!left.exists(), "the secrets are still there");
        let told = machine.told();
        assert!(told.starts_with("join --config ") && told.contains("joined as"), "{told}");
    }
    begun.coordinator.until_up(3);
    begun.until_revoked();
    // A run once more has nothing to do.
    let said = one.run("join", &[]);
    assert!(said.contains("In rotation"), "{said}");
    assert_eq!(one.told().matches("join --config").count(), 1);
}

#[test]
fn the_oldest_and_the_newest_kubeadm() {
    for version in ["v1.14.10", "v1.36.2"] {
        let begun = Beginning::of(version);
        let next = begun.machine("master1", version);
        next.run("join", &begun.ticket);
        begun.coordinator.until_up(2);
        begun.until_revoked();
    }
}

/// The runtime's socket and the patches, given after the `--`: in the file, or where it has no place
/// for them, as flags.
#[test]
fn runtimes_and_patches_reach_every_kubeadm() {
    for (version, expected) in [
        ("v1.20.2", "patches /p\ncriSocket /s"),
        ("v1.22.17", "criSocket /s\ndirectory /p"),
        ("v1.36.2", "criSocket /s\ndirectory /p"),
    ] {
        let flags = ["--", "--cri-socket", "/s", "--patches=/p"].map(str::to_owned);
        let coordinator = Coordinator::start();
        let machine = Machine::new("master0", version, &Arc::default());
        machine.wish("fail control-plane");
        let ticket = coordinator.ticket();
        let (status, said) = machine.start("init", &[ticket, flags.to_vec()].concat()).end();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(machine.told().contains(expected), "{version}: {}", machine.told());
        machine.wish("");
        machine.run("init", &[vec!["--reset".to_owned()], flags.to_vec()].concat());
        let told = machine.told();
        assert!(told.contains("reset --force --cri-socket /s\n"), "{version}: {told}");
    }
}

#[test]
fn a_master_leaves() {
    let begun = Beginning::of("v1.20.2");
    let next = begun.machine("master1", "v1.20.2");
    next.run("join", &begun.ticket);
    let agent = next.start("agent", &[]);
    begun.coordinator.until_up(2);
    agent.until_said("attending a coordinator");
    let said = next.run("leave", &[]);
    assert!(said.contains("it drains this master"), "{said}");
    let (status, said) = agent.end();
    assert!(status.success() && said.contains("this machine has left"), "{said}");
    until("it is out", || {
        begun.coordinator.state("master1").is_none_or(|state| state == BackendState::Removed)
    });
    assert!(next.run("leave", &[]).contains("nothing to leave"));
}

#[test]
fn only_a_registration() {
    let begun = Beginning::of("v1.20.2");
    let next = begun.machine("master1", "v1.20.2");
    let said = next.run("register", &begun.ticket);
    assert!(said.contains("The balancer probes 127.0.0.1:"), "{said}");
    assert_eq!(next.told(), "", "kubeadm is its operator's");
    // A registered machine may not begin a second cluster.
    let (status, said) = next.start("init", &[]).end();
    assert_eq!(status.code(), Some(77), "{said}");
    assert!(said.contains("has a master already"), "{said}");
    assert_eq!(next.told(), "");
    assert!(begun.coordinator.state("master1").is_none_or(|state| state != BackendState::Up));
}

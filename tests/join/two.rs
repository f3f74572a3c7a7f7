//! Two balancers, each with its coordinator, behind one address that moves, and one ticket that names
//! both.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::apiserver::Etcd;
use crate::balancer::{Coordinator, kept};
use crate::kills::within_long;
use crate::machine::{Machine, Running};
use crate::support::until;

const VERSION: &str = "v1.20.2";

/// The token of the ticket, the same at both coordinators.
const TOKEN: &str = "abcdef.0123456789abcdef";

/// One address for two balancers: whoever takes a connection gets it.
struct MovingAddress(SocketAddr);

impl MovingAddress {
    fn over(balancers: [SocketAddr; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let limit = Duration::from_secs(1);
                let taken =
                    balancers.iter().find_map(|at| TcpStream::connect_timeout(at, limit).ok());
                let Some(balancer) = taken else { continue };
                let ways = [
                    (client.try_clone().unwrap(), balancer.try_clone().unwrap()),
                    (balancer, client),
                ];
                for (mut from, mut to) in ways {
                    std::thread::spawn(move || {
                        // Whichever side breaks, the other is told.
                        io::copy(&mut from, &mut to).ok();
                        to.shutdown(Shutdown::Write).ok();
                    });
                }
            }
        });
        Self(addr)
    }
}

/// Two coordinators, and a cluster of one master that has registered with both.
struct Pair {
    etcd: Arc<Etcd>,
    address: MovingAddress,
    coordinators: [Coordinator; 2],
    ticket: Vec<String>,
    agents: Vec<Running>,
    masters: Vec<Machine>,
}

impl Pair {
    fn of_one_master() -> Self {
        let mut pair = Self::of_nobody();
        pair.first_master();
        pair.until_up(1);
        pair
    }

    /// Two coordinators that know nobody.
    fn of_nobody() -> Self {
        let coordinators = [Coordinator::start(), Coordinator::start()];
        let ticket = ticket(&coordinators);
        Self {
            etcd: Arc::default(),
            address: MovingAddress::over(coordinators.each_ref().map(|it| it.endpoint)),
            coordinators,
            ticket,
            agents: Vec::new(),
            masters: Vec::new(),
        }
    }

    fn first_master(&mut self) {
        let first = self.machine("master0");
        let mut init = self.ticket.clone();
        init.extend(["--endpoint".to_owned(), self.address.0.to_string()]);
        first.run("init", &init);
        self.stays(first);
    }

    fn machine(&self, name: &str) -> Machine {
        Machine::new(name, VERSION, &self.etcd)
    }

    /// The machine is a master now, and its agent runs.
    fn stays(&mut self, machine: Machine) {
        self.agents.push(machine.start("agent", &[]));
        self.masters.push(machine);
    }

    /// Waits until both have so many in rotation.
    fn until_up(&self, count: usize) {
        for coordinator in &self.coordinators {
            coordinator.until_up(count);
        }
    }
}

/// The same ticket at both, as one.
fn ticket(coordinators: &[Coordinator; 2]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let tickets = coordinators
        .each_ref()
        .map(|it| it.ticket_with(&["--token-file", &file.display().to_string()]));
    let [first, second] = tickets;
    let mut both = vec![first[0].clone(), second[0].clone()];
    both.extend_from_slice(&first[1..]);
    let pin = second.iter().position(|it| it == "--ca-cert-hash").unwrap();
    both.extend_from_slice(&second[pin..]);
    both
}

#[test]
fn one_ticket_for_two_coordinators_of_which_one_may_be_away() {
    let mut pair = Pair::of_one_master();
    let (one, two) = (pair.machine("master1"), pair.machine("master2"));
    let joining = [one.start("join", &pair.ticket), two.start("join", &pair.ticket)];
    for running in joining {
        let (status, said) = running.end();
        assert!(status.success(), "{said}");
        assert_eq!(said.matches("Registered with").count(), 2, "{said}");
    }
    pair.stays(one);
    pair.stays(two);
    pair.until_up(3);

    // A new machine joins by the coordinator that is there.
    let away = &pair.coordinators[0];
    away.kill();
    let next = pair.machine("master3");
    let said = next.run("join", &pair.ticket);
    assert!(said.contains("Not registered") && said.contains("In rotation"), "{said}");
    pair.stays(next);
    pair.coordinators[1].until_up(4);
    // The other one learns it when it is back.
    pair.coordinators[0].run();
    pair.until_up(4);

    // A machine that both know joins by the one that is there.
    let next = pair.machine("master4");
    next.run("register", &pair.ticket);
    pair.coordinators[1].kill();
    let said = next.run("join", &[]);
    assert!(said.contains("In rotation"), "{said}");
    let members = kept(&pair.coordinators[0])["members"].as_array().unwrap().clone();
    let record = members.iter().find(|record| record["name"] == "master4").unwrap();
    assert_eq!(record["intent"], "join", "it was registered for something else before");
    pair.stays(next);
    pair.coordinators[1].run();
    pair.until_up(5);
    until("the credentials are deleted", || pair.etcd.secrets().is_empty());
}

/// It was away when the cluster was made: the agents tell it everything, in whatever order.
#[test]
fn a_coordinator_that_was_away_from_the_beginning_learns_it_all() {
    let mut pair = Pair::of_nobody();
    pair.coordinators[0].kill();
    pair.first_master();
    let next = pair.machine("master1");
    next.run("join", &pair.ticket);
    pair.stays(next);
    pair.coordinators[1].until_up(2);
    pair.coordinators[0].run();
    pair.until_up(2);
    until("it knows the cluster's CA", || {
        pair.coordinators[0].metric("mainstay_cluster_identified") == Some(1.0)
    });
    // Nobody else becomes a first master, though one of the two is asked first.
    let other = pair.machine("master2");
    let (status, said) = other.start("init", &pair.ticket).end();
    assert_eq!(status.code(), Some(77), "{said}");
    assert_eq!(other.told(), "", "kubeadm never ran");
}

/// A machine is in the middle of kubeadm when one of the two dies: the next one waits for it all the
/// same, as it holds the turn at both.
fn one_at_a_time(dies: usize) {
    let mut pair = Pair::of_one_master();
    let (one, two) = (pair.machine("master1"), pair.machine("master2"));
    one.wish("hang download-certs");
    let joining = one.start("join", &pair.ticket);
    one.until_at("download-certs");
    let certs = certs_of(&pair.etcd);
    pair.coordinators[dies].kill();
    let waiting = two.start("join", &pair.ticket);
    waiting.until_said("master1 has the turn");
    assert_eq!(certs_of(&pair.etcd), certs, "its certificates are still there");
    one.wish("");
    for (machine, running) in [(one, joining), (two, waiting)] {
        let name = machine.name.clone();
        let (status, said) = running.end();
        assert!(status.success(), "{name}: {said}");
        pair.stays(machine);
    }
    pair.coordinators[1 - dies].until_up(3);
    pair.coordinators[dies].run();
    pair.until_up(3);
    // The turn that the one that died remembers ends after a minute, as nobody asks for it.
    within_long("the credentials are deleted", || {
        let left = pair.etcd.secrets();
        left.is_empty().then_some(()).ok_or_else(|| format!("{left:?}"))
    });
}

/// The uploaded certificates.
fn certs_of(etcd: &Etcd) -> serde_json::Value {
    let store = etcd.store.lock();
    let path = "/api/v1/namespaces/kube-system/secrets/kubeadm-certs";
    store.objects.get(path).unwrap()["metadata"]["uid"].clone()
}

#[test]
fn one_at_a_time_though_the_first_coordinator_dies() {
    one_at_a_time(0);
}

#[test]
fn one_at_a_time_though_the_second_coordinator_dies() {
    one_at_a_time(1);
}

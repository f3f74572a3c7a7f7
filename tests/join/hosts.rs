//! The story on hosts of its own, each with its own address and the usual ports, as network
//! namespaces on one switch: nobody says where anybody is.

use std::sync::Arc;

use crate::apiserver::Etcd;
use crate::balancer::Coordinator;
use crate::https;
use crate::machine::Machine;
use crate::support::{Host, Network};

const VERSION: &str = "v1.20.2";

/// A host as one in a data centre: it has a way out, and one more address than it needs.
fn host(network: &Network, name: &str, last: u8) -> Host {
    let host = network.host(name, last);
    host.configure(&["route", "add", "default", "dev", "eth0"]);
    let further = Network::address(last + 100);
    host.configure(&["address", "add", &format!("{further}/24"), "dev", "eth0"]);
    host
}

/// Names and addresses that the coordinator has registered.
fn registered(coordinator: &Coordinator) -> Vec<(String, String)> {
    let members = coordinator.try_status().unwrap().coordinator.unwrap().members;
    members.into_iter().map(|member| (member.name, member.addr)).collect()
}

#[test]
fn three_hosts_with_three_commands_and_one_ticket() {
    let Some(network) = Network::new() else { return };
    let balancer = host(&network, "balancer", 2);
    let hosts = [11, 12, 13].map(|last| host(&network, &format!("master{}", last - 11), last));
    let client = host(&network, "client", 40);
    let etcd = Arc::<Etcd>::default();
    let coordinator = Coordinator::on(&balancer);
    let ticket = coordinator.ticket();
    assert_eq!(ticket[0], balancer.addr(6445).to_string(), "the address that leads out");

    let machines: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(index, host)| Machine::on(host, &format!("master{index}"), VERSION, &etcd))
        .collect();
    let said = machines[0].run("init", &ticket);
    assert!(said.contains(&format!("reach it through {}", balancer.addr(6443))), "{said}");
    let _agent = machines[0].start("agent", &[]);
    // Both at once.
    let joining: Vec<_> =
        machines[1..].iter().map(|machine| machine.start("join", &ticket)).collect();
    for running in joining {
        let (status, said) = running.end();
        assert!(status.success() && said.contains("In rotation"), "{said}");
    }
    coordinator.until_up(3);
    let expected: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(index, host)| (format!("master{index}"), host.addr(6443).to_string()))
        .collect();
    assert_eq!(registered(&coordinator), expected);

    // A client that knows nothing but the balancer.
    let ca = std::fs::read_to_string(machines[0].path("kubernetes/pki/ca.crt")).unwrap();
    for _ in 0..6 {
        let asked = || https::ask(balancer.addr(6443), Some(&ca), None, ("GET", "/readyz"), None);
        assert_eq!(client.inside(asked).unwrap().0, 200);
    }

    // A machine that is cut off says nothing; its apiserver is gone too.
    hosts[2].cut();
    coordinator.until_up(2);
    hosts[2].mend();
    coordinator.until_up(3);
}

//! A command that dies together with its kubeadm, as they do with the machine. The files that are left
//! are the same whether kubeadm was at its end or not; the cluster knows better.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bootstrap::registry::turns::ISSUE_PAUSE;
use rustix::process::Signal;

use crate::machine::Machine;
use crate::story::Beginning;
use crate::trouble::{fails_at, refused_without_reset, reset};

const VERSION: &str = "v1.20.2";

fn dies_at(machine: &Machine, verb: &str, flags: &[String], point: &str) {
    machine.wish(&format!("hang {point}"));
    let killed = machine.start(verb, flags);
    machine.until_at(point);
    killed.signal(Signal::KILL);
    machine.kill_kubeadm();
    killed.end();
    machine.wish("");
}

#[test]
fn the_cluster_says_whether_a_lost_init_came_to_its_end() {
    let etcd = std::sync::Arc::default();
    let coordinator = crate::balancer::Coordinator::start();
    let machine = Machine::new("master0", VERSION, &etcd);
    dies_at(&machine, "init", &coordinator.ticket(), "mark-control-plane");
    let (status, said) = machine.start("init", &[]).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("no ConfigMap cluster-info") && said.contains("--reset"), "{said}");
    refused_without_reset(&machine, "init");
    // Nobody could join: what they read first is there, and not the permission.
    dies_at(&machine, "init", &reset(), "cluster-info");
    let (status, said) = machine.start("init", &[]).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("no RoleBinding kubeadm:bootstrap-signer-clusterinfo in kube-public"),
        "{said}"
    );
    dies_at(&machine, "init", &reset(), "bootstrap-token");
    let said = machine.run("init", &[]);
    assert!(said.contains("The cluster confirms"), "{said}");
    assert!(said.contains("It has no coredns and no kube-proxy; "), "{said}");
    assert!(
        said.contains("addon all --config /") && said.contains("/kubeadm-config.yaml`"),
        "{said}"
    );
    assert_eq!(machine.told().matches("init --config").count(), 3);
    coordinator.until_up(1);
    // It is not asked twice.
    assert!(!machine.run("init", &[]).contains("The cluster confirms"));
}

#[test]
fn the_cluster_says_whether_a_lost_join_came_to_its_end() {
    let begun = Beginning::of(VERSION);
    let machine = begun.machine("master1", VERSION);
    dies_at(&machine, "join", &begun.ticket, "etcd");
    // Who cannot ask says so, and decides nothing.
    let admin = machine.path("kubernetes/admin.conf");
    let kept = std::fs::read_to_string(&admin).unwrap();
    crate::authority::write(&admin, "no kubeconfig");
    let (status, said) = machine.start("join", &[]).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the cluster cannot be asked") && said.contains("--reset"), "{said}");
    crate::authority::write(&admin, &kept);
    // An apiserver that has just started refuses everybody; it is asked again.
    begun.etcd.unruly.store(2, Ordering::Relaxed);
    let (status, said) = machine.start("join", &[]).end();
    assert_eq!(begun.etcd.unruly.load(Ordering::Relaxed), 0, "{said}");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the node master1 is not marked"), "{said}");
    refused_without_reset(&machine, "join");
    machine.run("join", &reset());
    begun.coordinator.until_up(2);
}

/// The Node of a machine outlives `kubeadm reset`, and so does its label.
#[test]
fn the_label_of_an_earlier_join_is_not_the_end_of_a_lost_one() {
    let begun = Beginning::of(VERSION);
    let machine = begun.machine("master1", VERSION);
    fails_at(&machine, "join", &begun.ticket, "end");
    dies_at(&machine, "join", &reset(), "kubelet-start");
    let (status, said) = machine.start("join", &[]).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("from before") && said.contains("etcd.yaml is not there"), "{said}");
    refused_without_reset(&machine, "join");
    machine.run("join", &reset());
    begun.coordinator.until_up(2);
    // What has come to its end is not reset, and that is said.
    let runs = machine.told().lines().count();
    for flags in [reset(), vec!["--reset".to_owned(), "--dry-run".to_owned()]] {
        let (status, said) = machine.start("join", &flags).end();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("came to its end on this machine"), "{said}");
    }
    assert_eq!(machine.told().lines().count(), runs, "kubeadm ran");
    machine.run("join", &[]);
}

/// `kubeadm reset` stops the kubelet, and the cluster takes a while to notice.
#[test]
fn a_reset_machine_joins_when_its_node_is_not_ready_any_more() {
    let begun = Beginning::of(VERSION);
    let machine = begun.machine("master1", VERSION);
    fails_at(&machine, "join", &begun.ticket, "etcd");
    begun.etcd.set_ready("master1", "True");
    let running = machine.start("join", &reset());
    running.until_said("the Node master1 is still Ready from before");
    // Longer than the three attempts of a master that cannot make credentials.
    std::thread::sleep(3 * ISSUE_PAUSE + Duration::from_secs(3));
    assert!(begun.etcd.secrets().is_empty(), "nothing is made for it yet");
    begun.etcd.set_ready("master1", "Unknown");
    let (status, said) = running.end();
    assert!(status.success(), "{said}");
    assert_eq!(said.matches("is still Ready").count(), 1, "{said}");
    begun.coordinator.until_up(2);
}

/// A reset finds the member of etcd by the Node, and that by `kubelet.conf`.
#[test]
fn a_reset_that_would_leave_a_member_in_etcd_is_refused() {
    let begun = Beginning::of(VERSION);
    let fails = |name, version| {
        let machine = begun.machine(name, version);
        fails_at(&machine, "join", &begun.ticket, "etcd");
        machine
    };
    let refused = |machine: &Machine, why: &str| {
        let (status, said) = machine.start("join", &reset()).end();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(why) && said.contains("member remove ID"), "{said}");
        assert!(!machine.told().contains("reset"), "{}", machine.told());
    };
    let machine = fails("master1", VERSION);
    let node = "/api/v1/nodes/master1";
    let kept = begun.etcd.store.lock().objects.remove(node).unwrap();
    refused(&machine, "no Node master1, so");
    begun.etcd.store.lock().objects.insert(node.to_owned(), kept);
    machine.run("join", &reset());
    begun.coordinator.until_up(2);
    // From 1.33 on etcd has the member before there is a Node or a `kubelet.conf`.
    let machine = fails("master2", "v1.35.0");
    refused(&machine, "kubelet.conf, so");
    // As a reset by hand leaves it.
    std::fs::remove_dir_all(machine.path("kubernetes")).unwrap();
    std::fs::create_dir(machine.path("kubernetes")).unwrap();
    machine.run("join", &[]);
    begun.coordinator.until_up(3);
}

/// What kubeadm writes first, certificates, is in the way of the next run too.
#[test]
fn a_reset_is_run_for_certificates_alone() {
    let begun = Beginning::of(VERSION);
    let machine = begun.machine("master1", VERSION);
    fails_at(&machine, "join", &begun.ticket, "download-certs");
    machine.run("join", &reset());
    assert_eq!(machine.told().matches("reset --force").count(), 1, "{}", machine.told());
    begun.coordinator.until_up(2);
}

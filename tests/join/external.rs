//! CAs that kubeadm did not make: the operator's, and those whose keys are elsewhere, of which kubeadm
//! finds what they signed and can upload nothing.

use std::fs;
use std::sync::Arc;

use crate::apiserver::{ADMIN, kubeconfig};
use crate::authority;
use crate::balancer::Coordinator;
use crate::machine::Machine;
use crate::trouble::fails_at;

const VERSION: &str = "v1.31.4";

/// Puts there what the operator's CA has signed, and takes its key away.
fn signed_elsewhere(machine: &Machine, coordinator: &Coordinator) {
    let pki = machine.path("kubernetes/pki");
    authority::create(&pki);
    authority::serve(&pki, &[machine.addr().ip(), coordinator.endpoint.ip()]);
    fs::remove_file(pki.join("ca.key")).unwrap();
    for name in ["admin.conf", "kubelet.conf"] {
        let content = kubeconfig(&pki.join("ca.crt"), coordinator.endpoint, ADMIN);
        authority::write(&machine.path("kubernetes").join(name), &content);
    }
}

#[test]
fn the_first_master_of_an_external_ca() {
    let (coordinator, etcd) = (Coordinator::start(), Arc::default());
    let machine = Machine::new("master0", VERSION, &etcd);
    signed_elsewhere(&machine, &coordinator);
    machine.run("init", &coordinator.ticket());
    coordinator.until_up(1);
    assert!(!machine.told().contains("--upload-certs"), "{}", machine.told());
    assert_eq!(
        coordinator.metric("mainstay_cluster_identified"),
        Some(1.0),
        "its CA is handed over"
    );
}

/// A reset would delete what cannot be made again here.
#[test]
fn what_an_external_ca_signed_is_not_reset() {
    let (coordinator, etcd) = (Coordinator::start(), Arc::default());
    let machine = Machine::new("master0", VERSION, &etcd);
    signed_elsewhere(&machine, &coordinator);
    fails_at(&machine, "init", &coordinator.ticket(), "upload-config");
    for flags in [&[][..], &["--reset".to_owned()][..]] {
        let (status, said) = machine.start("init", flags).end();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("ca.crt is elsewhere") && said.contains("aside"), "{said}");
        assert!(!machine.told().contains("reset"), "{}", machine.told());
    }
    assert!(machine.path("kubernetes/admin.conf").exists());
}

/// A CA of the operator's, with its key, is no loss to kubeadm, which makes another.
#[test]
fn a_ca_that_was_there_before_is_not_reset() {
    let (coordinator, etcd) = (Coordinator::start(), Arc::default());
    let machine = Machine::new("master0", VERSION, &etcd);
    let pki = machine.path("kubernetes/pki");
    authority::create(&pki);
    let key = fs::read(pki.join("ca.key")).unwrap();
    let mut flags = coordinator.ticket();
    // The second run finds a CA too, and it is still the operator's.
    for _ in 0..2 {
        let said = fails_at(&machine, "init", &flags, "preflight");
        assert!(said.contains("kubeadm init ended with"), "{said}");
        flags.clear();
    }
    let (status, said) = machine.start("init", &["--reset".to_owned()]).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("put `pki` aside"), "{said}");
    assert!(!machine.told().contains("reset"), "{}", machine.told());
    assert_eq!(fs::read(pki.join("ca.key")).unwrap(), key);
}

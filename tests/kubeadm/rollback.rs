//! `certs upload` that fails: what is taken back, what is told, and what reaches no cluster.

use std::time::Duration;

use serde_json::json;

use crate::apiserver::{Apiserver, SILENCE, captured};
use crate::lab::{CLUSTERS, Lab};
use crate::store::failure;
use crate::upload::{FRESH, upload};

const ROLLBACK: &str = "DELETE ~/bootstrap-token-ID";

/// Every step fails in every way; the owner token is gone afterwards, and so will be the Secret.
#[test]
fn a_failed_step_takes_the_owner_token_back() {
    let forbidden = captured("kubeadm-1.20/secret-anonymous-403.http");
    let broken = failure(500, "InternalError", "etcdserver: request timed out");
    let invalid = failure(422, "Invalid", "it is invalid");
    let steps =
        ["Secret kubeadm-certs", "Role kubeadm:kubeadm-certs", "RoleBinding kubeadm:kubeadm-certs"];
    for (call, step) in (2..).zip(steps) {
        for (answer, code, says) in [
            (&forbidden, 77, "is forbidden"),
            (&broken, 75, "; try again"),
            (&invalid, 1, "it is invalid"),
        ] {
            let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
            server.fail(call, answer.clone());
            let ran = upload(&server, &lab, CLUSTERS[0]);
            assert!(ran.stderr.starts_with(&format!("mainstay: cannot write {step}: ")), "{ran:?}");
            assert!(ran.stderr.contains(says), "{ran:?}");
            assert_eq!((ran.code, ran.stdout.as_str()), (code, ""));
            let mut expected = FRESH[..=call].to_vec();
            expected.push(ROLLBACK);
            assert_eq!(server.calls(), expected);
            // Only the very token that was made.
            let options = server.body(call + 1);
            assert_eq!(options["preconditions"]["uid"], "00000000-0000-4000-8000-000000000001");
            assert!(!server.secrets().keys().any(|name| name.starts_with("bootstrap-token")));
        }
    }
}

#[test]
fn ctrl_c_takes_the_owner_token_back() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    server.fail(2, (SILENCE, json!({})));
    let started = server
        .mainstay(&lab, "certs upload --print-key --certificate-dir")
        .arg(lab.pki(CLUSTERS[0]))
        .start();
    while server.calls().len() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    started.interrupt();
    started.end().refused(1, "interrupted; nothing is uploaded");
    assert_eq!(server.calls(), [FRESH[0], FRESH[1], FRESH[2], ROLLBACK]);
    assert!(server.secrets().is_empty());
}

#[test]
fn without_an_owner_token_nothing_is_written() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    server.fail(1, captured("kubeadm-1.20/secret-anonymous-403.http"));
    let ran = upload(&server, &lab, CLUSTERS[0]);
    ran.refused(
        77,
        "cannot create the owner token of the upload: secrets \"kubeadm-certs\" is forbidden: User \
         \"system:anonymous\" cannot get resource \"secrets\" in API group \"\" in the namespace \
         \"kube-system\"; use the kubeconfig of an administrator, such as \
         /etc/kubernetes/admin.conf of a master",
    );
    assert_eq!(server.calls(), FRESH[..2]);
    assert!(server.secrets().is_empty());
}

#[test]
fn a_rollback_that_fails_is_told() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    server.fail(2, failure(422, "Invalid", "it is invalid"));
    server.fail(3, failure(403, "Forbidden", "not you"));
    let ran = upload(&server, &lab, CLUSTERS[0]);
    let owner = server.secrets().keys().next().unwrap().clone();
    let said = format!(
        "it is invalid; the owner token {owner} could not be deleted again and ends by itself at 20"
    );
    assert!(ran.stderr.contains(&said), "{ran:?}");
    assert_eq!(ran.code, 1);
}

#[test]
fn a_rollback_that_may_work_later_is_tried_again() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    server.fail(2, failure(422, "Invalid", "it is invalid"));
    server.fail(3, failure(500, "InternalError", "not now"));
    let ran = upload(&server, &lab, CLUSTERS[0]);
    assert!(!ran.stderr.contains("could not be deleted"), "{ran:?}");
    assert!(server.secrets().is_empty(), "{:?}", server.calls());
}

#[test]
fn an_owner_without_uid_is_no_owner() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    let nameless = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bootstrap-token-abcdef"}});
    server.fail(1, (201, nameless));
    upload(&server, &lab, CLUSTERS[0])
        .refused(1, "the owner token has no UID, so it is not the one that the API server stored");
    assert_eq!(server.calls(), [FRESH[0], "POST ~", ROLLBACK]);
}

#[test]
fn a_taken_id_is_drawn_again() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    server.fail(1, failure(409, "AlreadyExists", "secrets \"x\" already exists"));
    assert_eq!(upload(&server, &lab, CLUSTERS[0]).code, 0);
    assert_eq!(server.calls()[..3], [FRESH[0], "POST ~", "POST ~"]);
    assert_ne!(server.body(1)["metadata"]["name"], server.body(2)["metadata"]["name"]);
}

/// The earlier upload is collected between our POST and our PUT.
#[test]
fn a_secret_that_vanishes_meanwhile_is_created_again() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    server.fail(2, failure(409, "AlreadyExists", "secrets \"kubeadm-certs\" already exists"));
    assert_eq!(upload(&server, &lab, CLUSTERS[0]).code, 0);
    assert_eq!(server.calls()[2..5], ["POST ~", "PUT ~/kubeadm-certs", "POST ~"]);
}

#[test]
fn a_conflict_that_stays_is_told() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    server.put_fixture("kubeadm-1.20/kubeadm-certs.secret.json");
    for call in [3, 5, 7] {
        server.fail(call, failure(409, "Conflict", "Operation cannot be fulfilled"));
    }
    upload(&server, &lab, CLUSTERS[0]).refused(
        75,
        "cannot write Secret kubeadm-certs: Operation cannot be fulfilled; somebody else changed \
         it at the same time, try again",
    );
    assert_eq!(server.calls().len(), 9);
    assert_eq!(server.calls()[8], ROLLBACK);
}

#[test]
fn another_role_of_the_binding_is_told() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    server.put_fixture("kubeadm-1.20/kubeadm-certs.rbac.json");
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings/kubeadm:kubeadm-certs";
    let mut binding = server.object(path).unwrap();
    binding["roleRef"]["name"] = "another".into();
    server.put(binding);
    let ran = upload(&server, &lab, CLUSTERS[0]);
    assert!(ran.stderr.contains("cannot change roleRef"), "{ran:?}");
    assert_eq!(server.calls().last().unwrap(), ROLLBACK);
}

/// A file, how it is spoilt, and what is said about it.
type Spoilt = (&'static str, fn(&std::path::Path), &'static str);

#[test]
fn bad_certificates_reach_no_cluster() {
    let table: [Spoilt; 3] = [
        (
            "absent",
            |pki| std::fs::remove_file(pki.join("ca.key")).unwrap(),
            "the certificates are not fit for a join: ca.key is absent; a join needs it (with an external CA the certificates must be copied by hand)",
        ),
        (
            "swapped",
            |pki| {
                std::fs::copy(pki.join("sa.key"), pki.join("ca.key")).unwrap();
            },
            "the certificates are not fit for a join: ca.key does not belong to ca.crt",
        ),
        (
            "not PEM",
            |pki| std::fs::write(pki.join("ca.crt"), "hello").unwrap(),
            "the certificates are not fit for a join: ca.crt is not PEM",
        ),
    ];
    for (_, spoil, sentence) in table {
        let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
        let pki = lab.pki(CLUSTERS[0]);
        spoil(&pki);
        server
            .mainstay(&lab, "certs upload --print-key --certificate-dir")
            .arg(&pki)
            .run()
            .refused(1, sentence);
        assert_eq!(server.calls(), FRESH[..1]);
    }
}

#[test]
fn no_master_no_certificates() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    let empty = lab.path("empty");
    server.mainstay(&lab, "certs upload --print-key --certificate-dir").arg(&empty).run().refused(
        1,
        &format!(
            "there are no certificates (no {}); run this on a master, or give --certificate-dir",
            empty.join("ca.crt").display()
        ),
    );
}

#[test]
fn wrong_input_makes_no_call() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    let short = lab.file("short.key", "00112233445566778899aabbccddeeff");
    let short = format!("--certificate-key-file {}", short.display());
    let table = [
        (
            "",
            "nobody would know the new certificate key; add --print-key, or make one with `mainstay certs key > FILE` and give --certificate-key-file FILE",
        ),
        (
            &short,
            "a certificate key shorter than 32 bytes only opens what is sealed already; make a new one with `mainstay certs key`",
        ),
        (
            "--print-key --ttl 0",
            "certificates are not uploaded without an end; give a lifetime such as 1h",
        ),
        (
            "--print-key --ttl 500ms",
            "certificates are not uploaded without an end; give a lifetime such as 1h",
        ),
    ];
    for (arguments, sentence) in table {
        server.mainstay(&lab, &format!("certs upload {arguments}")).run().refused(64, sentence);
    }
    assert!(server.calls().is_empty());
}

//! `certs show` of the Secret in a cluster: who owns it, and for how long.

use serde_json::{Value, json};

use crate::apiserver::{Apiserver, captured};
use crate::lab::{CLUSTERS, Lab, Ran};
use crate::store::failure;

const OWNER: &str = "bootstrap-token-x10gwq";

/// The UID in the owner reference of the captured Secret.
const OWNER_UID: &str = "8ea70b0f-4dcd-486b-968c-62856474ab21";

fn cluster() -> Apiserver {
    let server = Apiserver::of(CLUSTERS[0]);
    server.put_fixture("kubeadm-1.20/kubeadm-certs.secret.json");
    server
}

fn owner(uid: &str, expiration: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": OWNER, "namespace": "kube-system", "uid": uid},
        "type": "bootstrap.kubernetes.io/token",
        "data": {"expiration": data_encoding::BASE64.encode(expiration.as_bytes())},
    })
}

fn show(server: &Apiserver) -> Ran {
    let lab = Lab::new();
    server.mainstay(&lab, "certs show --certificate-key-file").arg(lab.key(CLUSTERS[0])).run()
}

fn owner_line(ran: &Ran) -> &str {
    ran.stdout.lines().nth(1).unwrap()
}

#[test]
fn a_captured_upload_is_shown_in_three_calls() {
    let server = cluster();
    server.put(owner(OWNER_UID, "2099-01-02T03:04:05Z"));
    let ran = show(&server);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout.matches("  good\n").count(), 8);
    assert_eq!(
        server.calls(),
        [
            "GET ~/kubeadm-certs",
            "GET ~/bootstrap-token-ID",
            "GET /api/v1/namespaces/kube-system/configmaps/kubeadm-config",
        ]
    );
}

#[test]
fn each_state_of_the_owner() {
    let doomed = "; the Secret is about to be collected";
    let table = [
        (
            Some(owner(OWNER_UID, "2026-11-22T22:11:17+01:00")),
            format!("expired at 2026-11-22T22:11:17+01:00{doomed}"),
        ),
        (Some(owner(OWNER_UID, "")), "never expires".to_owned()),
        (Some(owner(OWNER_UID, "soon")), format!("has an unreadable expiration{doomed}")),
        (
            Some(owner("another", "2099-01-02T03:04:05Z")),
            format!("gone, another object has its name (other UID){doomed}"),
        ),
        (None, format!("missing{doomed}")),
    ];
    for (owner, state) in table {
        let server = cluster();
        owner.into_iter().for_each(|owner| server.put(owner));
        assert_eq!(owner_line(&show(&server)), format!("Owner {OWNER}: {state}"));
    }
    let server = cluster();
    server.put(owner(OWNER_UID, "2099-01-02T03:04:05Z"));
    let line = show(&server);
    let line = owner_line(&line);
    assert!(
        line.starts_with("Owner bootstrap-token-x10gwq: lives until 2099-01-02T03:04:05Z ("),
        "{line}"
    );
    assert!(line.ends_with("y), then the Secret is collected"), "{line}");
}

#[test]
fn no_right_to_see_the_owner() {
    let server = cluster();
    server.fail(1, captured("kubeadm-1.20/secret-anonymous-403.http"));
    let ran = show(&server);
    assert_eq!(owner_line(&ran), format!("Owner {OWNER}: not known (no right to look at it)"));
    assert_eq!(ran.code, 0);
}

#[test]
fn another_topology_is_warned_about() {
    let server = cluster();
    let config =
        "apiVersion: kubeadm.k8s.io/v1beta2\nkubernetesVersion: v1.20.2\netcd: {external: {}}\n";
    server.put(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubeadm-config", "namespace": "kube-system"},
        "data": {"ClusterConfiguration": config},
    }));
    let ran = show(&server);
    assert_eq!(
        ran.stderr,
        "mainstay: warning: the Secret is of a cluster with stacked etcd, but kubeadm-config says \
         external etcd; a join would fail, so upload again\n"
    );
}

#[test]
fn nothing_uploaded() {
    let ran = show(&Apiserver::of(CLUSTERS[0]));
    ran.refused(
        1,
        "Secret \"kubeadm-certs\" was not found in the \"kube-system\" Namespace; it has expired \
         or was never uploaded, so run `mainstay certs upload` on a master",
    );
}

#[test]
fn a_failing_apiserver_is_no_missing_owner() {
    let server = cluster();
    server.fail(1, failure(503, "ServiceUnavailable", "not now"));
    let ran = show(&server);
    assert_eq!((ran.code, ran.stdout.as_str()), (75, ""), "{ran:?}");
}

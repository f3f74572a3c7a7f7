//! `certs upload`: which calls, in which order, with which bodies.

use bootstrap::kubeadm::{CertificateKey, Expiration, SealedCerts, Secret};
use serde_json::{Value, json};

use crate::apiserver::Apiserver;
use crate::lab::{CLUSTERS, Lab, Ran, TRANSFERRED, fixture, fixture_text};

/// The calls of an upload into an empty cluster.
pub(crate) const FRESH: [&str; 5] = [
    "GET /api/v1/namespaces/kube-system/configmaps/kubeadm-config",
    "POST ~",
    "POST ~",
    "POST rbac/roles",
    "POST rbac/rolebindings",
];

pub(crate) fn upload(server: &Apiserver, lab: &Lab, cluster: &str) -> Ran {
    server
        .mainstay(lab, "certs upload --ttl 30m")
        .arg("--certificate-key-file")
        .arg(lab.key(cluster))
        .arg("--certificate-dir")
        .arg(lab.pki(cluster))
        .run()
}

fn stored_certs(server: &Apiserver) -> Secret {
    Secret::parse(&server.secrets()["kubeadm-certs"].to_string()).unwrap()
}

fn key(cluster: &str) -> CertificateKey {
    let text = fixture_text(&format!("{cluster}/kubeadm-certs.key"));
    text.trim().parse().unwrap()
}

/// The object as its writer sent it.
fn as_sent(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["creationTimestamp", "resourceVersion", "uid"] {
        metadata.remove(field);
    }
    object
}

fn text(base64: &Value) -> String {
    let bytes = data_encoding::BASE64.decode(base64.as_str().unwrap().as_bytes());
    String::from_utf8(bytes.unwrap()).unwrap()
}

#[test]
fn an_upload_in_kubeadms_order() {
    for cluster in CLUSTERS {
        let (lab, server) = (Lab::new(), Apiserver::of(cluster));
        let ran = upload(&server, &lab, cluster);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
        assert!(ran.stderr.starts_with(
            "Uploaded the certificates to Secret \"kubeadm-certs\" in the \"kube-system\" \
             Namespace until 20"
        ));
        ran.hides(&key(cluster).to_hex());
        assert_eq!(server.calls(), FRESH);
    }
}

#[test]
fn the_owner_token_is_kubeadms() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    upload(&server, &lab, CLUSTERS[0]);
    let owner = server.body(1);
    let data = owner["data"].as_object().unwrap();
    let names: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(names, ["description", "expiration", "token-id", "token-secret"]);
    assert_eq!(text(&data["description"]), "Proxy for managing TTL for the kubeadm-certs secret");
    let end: Expiration = text(&data["expiration"]).parse().unwrap();
    let left = end.at().duration_since(jiff::Timestamp::now()).as_secs();
    assert!((1790..=1800).contains(&left), "{left}");
    let id = text(&data["token-id"]);
    let metadata = json!({"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"});
    assert_eq!(owner["metadata"], metadata);
    assert_eq!(owner["type"], "bootstrap.kubernetes.io/token");
}

#[test]
fn the_secret_opens_and_names_its_owner() {
    for cluster in CLUSTERS {
        let (lab, server) = (Lab::new(), Apiserver::of(cluster));
        upload(&server, &lab, cluster);
        let sent = server.body(2);
        let owner = server.body(1)["metadata"]["name"].clone();
        let stored_owner = &server.secrets()[owner.as_str().unwrap()];
        let captured: Value =
            serde_json::from_str(&fixture_text(&format!("{cluster}/kubeadm-certs.secret.json")))
                .unwrap();
        let mut expected = as_sent(captured);
        expected["data"] = sent["data"].clone();
        expected["metadata"]["ownerReferences"][0]["name"] = owner.clone();
        expected["metadata"]["ownerReferences"][0]["uid"] = stored_owner["metadata"]["uid"].clone();
        // The server fills in the type, as it does for kubeadm.
        expected.as_object_mut().unwrap().remove("type");
        assert_eq!(sent, expected);

        let sealed = SealedCerts::from_secret(&stored_certs(&server)).unwrap();
        let opened = sealed.open(&key(cluster)).unwrap();
        for ((entry, file), name) in opened.entries().zip(TRANSFERRED) {
            let theirs = std::fs::read(fixture(cluster).join("pki-master0").join(name)).unwrap();
            assert!(file == Some(theirs.as_slice()), "{cluster} {entry}");
        }
    }
}

#[test]
fn the_rights_of_joiners_are_kubeadms() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    upload(&server, &lab, CLUSTERS[0]);
    let captured: Value =
        serde_json::from_str(&fixture_text("kubeadm-1.20/kubeadm-certs.rbac.json")).unwrap();
    for (call, object) in [(3, &captured["items"][0]), (4, &captured["items"][1])] {
        assert_eq!(server.body(call), as_sent(object.clone()));
    }
}

#[test]
fn a_second_upload_replaces_the_first() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    upload(&server, &lab, CLUSTERS[0]);
    let first = stored_certs(&server);
    let ran = server
        .mainstay(&lab, "certs upload --print-key --certificate-dir")
        .arg(lab.pki(CLUSTERS[0]))
        .run();
    assert!(ran.stderr.contains("; an earlier upload was replaced, its key is worth nothing now"));
    assert_eq!(
        server.calls()[5..],
        [
            FRESH[0],
            "POST ~",
            "POST ~",
            "PUT ~/kubeadm-certs",
            "POST rbac/roles",
            "PUT rbac/roles/kubeadm:kubeadm-certs",
            "POST rbac/rolebindings",
            "PUT rbac/rolebindings/kubeadm:kubeadm-certs",
        ]
    );
    let second = stored_certs(&server);
    assert_eq!(second.metadata.uid, first.metadata.uid);
    assert_ne!(second.metadata.owner_references, first.metadata.owner_references);
    let sealed = SealedCerts::from_secret(&second).unwrap();
    assert!(sealed.open(&key(CLUSTERS[0])).is_err());
    assert!(sealed.open(&ran.stdout.trim_end().parse().unwrap()).is_ok());
    assert_eq!(ran.stdout.len(), 65);
    ran_hides_on_stderr(&ran);
}

fn ran_hides_on_stderr(ran: &Ran) {
    assert!(!ran.stderr.contains(ran.stdout.trim_end()));
}

/// Without kubeadm-config etcd is taken to be stacked; with an external one there are nine entries,
/// and those without a file are empty.
#[test]
fn the_topology_is_the_clusters() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    assert_eq!(upload(&server, &lab, CLUSTERS[0]).code, 0);
    assert_eq!(server.calls(), FRESH);

    let config = "apiVersion: kubeadm.k8s.io/v1beta2\nkubernetesVersion: v1.20.2\netcd:\n  external:\n    endpoints: [\"http://10.0.0.9:2379\"]\n";
    server.put(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubeadm-config", "namespace": "kube-system"},
        "data": {"ClusterConfiguration": config},
    }));
    assert_eq!(upload(&server, &lab, CLUSTERS[0]).code, 0);
    let secret = stored_certs(&server);
    assert_eq!(secret.data.0.len(), 9);
    assert_eq!(secret.data.bytes("external-etcd.key"), Some([].as_slice()));
}

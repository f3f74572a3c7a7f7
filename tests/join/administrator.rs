//! What the stand-in of kubeadm writes to the cluster as its administrator. Like the real one it asks
//! again when no answer comes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::apiserver::ADMIN;
use crate::https;
use crate::kubeadm::CONTROL_PLANE;

const NODES: &str = "/api/v1/nodes";
const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane";

/// The cluster, as the administrator reaches it: through the balancer.
pub(crate) struct Api<'a> {
    pub(crate) endpoint: SocketAddr,
    pub(crate) ca: &'a str,
}

impl Api<'_> {
    /// Asks until there is an answer, as kubeadm does for these calls.
    fn call(&self, method: &str, path: &str, object: &Value) -> u16 {
        let begun = Instant::now();
        loop {
            let (ca, call) = (Some(self.ca), (method, path));
            match https::ask(self.endpoint, ca, Some(ADMIN), call, Some(object)) {
                Some((code, _)) if code < 500 => return code,
                _ => assert!(begun.elapsed() < CONTROL_PLANE, "no answer to {path}"),
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What is there already is replaced.
    pub(crate) fn create(&self, collection: &str, object: &Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let code = match self.call("POST", collection, object) {
            409 => self.call("PUT", &format!("{collection}/{name}"), object),
            code => code,
        };
        assert!(matches!(code, 200 | 201), "{collection}/{name}: {code}");
    }

    /// The Node, which the kubelet makes. One of its name that is there already keeps its labels.
    pub(crate) fn register(&self, name: &str) {
        let code = self.call("POST", NODES, &node(name, &[]));
        assert!(matches!(code, 201 | 409), "{NODES}/{name}: {code}");
    }

    /// The last thing but one that a master gets.
    pub(crate) fn mark(&self, name: &str, minor: u32) {
        let labels = match minor {
            ..20 => &["node-role.kubernetes.io/master"][..],
            20..24 => &["node-role.kubernetes.io/master", CONTROL_PLANE_LABEL],
            24.. => &[CONTROL_PLANE_LABEL],
        };
        self.create(NODES, &node(name, labels));
    }
}

fn node(name: &str, labels: &[&str]) -> Value {
    let labels: BTreeMap<_, _> = labels.iter().map(|label| (*label, "")).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
    })
}

pub(crate) fn config_map(namespace: &str, name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    })
}

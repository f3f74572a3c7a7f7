//! What a kubeadm leaves in the cluster. When it came to its end: the files on its machine are there
//! long before, so that only the cluster can tell of a kubeadm whose end nobody saw. And what is in
//! the way of the next one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client::Cluster;
use super::config::{ConfigCallError, kubeadm_config};
use super::error::ApiError;
use crate::kubeadm::{CLUSTER_INFO_NAME, Etcd, PUBLIC_NAMESPACE, is_dns_subdomain};

/// The labels of a master: one up to 1.19, both from 1.20 to 1.23, the other since.
const MASTER_LABELS: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

const NODES: &str = "/api/v1/nodes";

/// What `kubeadm init` makes last but for the addons, in its order: what joiners read, and that they
/// may.
const MADE_BY_INIT: [(&str, &str, &str); 2] = [
    ("/api/v1", "ConfigMap", CLUSTER_INFO_NAME),
    ("/apis/rbac.authorization.k8s.io/v1", "RoleBinding", "kubeadm:bootstrap-signer-clusterinfo"),
];

/// The addons of `kubeadm init`, in `kube-system`.
const ADDONS: [(&str, &str); 2] = [("deployments", "coredns"), ("daemonsets", "kube-proxy")];

/// What a `kubeadm init` had still to make in `kube-public`, or `None` if it came to the addons.
///
/// # Errors
/// [`ApiError`]
pub async fn missing_of_init(cluster: &Cluster) -> Result<Option<String>, ApiError> {
    for (api, kind, name) in MADE_BY_INIT {
        let plural = kind.to_lowercase() + "s";
        if !exists(cluster, &format!("{api}/namespaces/{PUBLIC_NAMESPACE}/{plural}/{name}")).await?
        {
            return Ok(Some(format!("{kind} {name}")));
        }
    }
    Ok(None)
}

/// The addons that the cluster does not have, some perhaps on purpose.
///
/// # Errors
/// [`ApiError`]
pub async fn missing_addons(cluster: &Cluster) -> Result<Vec<&'static str>, ApiError> {
    let mut missing = Vec::new();
    for (plural, name) in ADDONS {
        let path = format!("/apis/apps/v1/namespaces/kube-system/{plural}/{name}");
        if !exists(cluster, &path).await? {
            missing.push(name);
        }
    }
    Ok(missing)
}

/// Whether the cluster has a Node of this name, which `kubeadm reset` needs to find the etcd member
/// of its machine.
///
/// # Errors
/// [`ApiError`]
pub async fn has_node(cluster: &Cluster, node: &str) -> Result<bool, ApiError> {
    exists(cluster, &format!("{NODES}/{node}")).await
}

async fn exists(cluster: &Cluster, path: &str) -> Result<bool, ApiError> {
    Ok(cluster.get::<IgnoredAny>(path).await?.is_some())
}

/// What `kubeadm join` had still to do when it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// To mark the node as a master, which it does last.
    Mark,
    /// To make a member of etcd: the mark is that of an earlier join, `kubeadm reset` leaves it there.
    Etcd,
}

/// What a `kubeadm join` on this node had still to do, or `None` if it came to its end.
/// `etcd_manifest`: the machine has the manifest of etcd, which a join writes after the cluster has
/// the new member.
///
/// # Errors
/// [`ConfigCallError`]
pub async fn missing_of_join(
    cluster: &Cluster,
    node: &str,
    etcd_manifest: bool,
) -> Result<Option<Missing>, ConfigCallError> {
    let node = look_at(cluster, node).await?;
    let marked = node.is_some_and(|node| node.is_marked());
    let external = if marked && !etcd_manifest {
        let config = kubeadm_config(cluster).await?;
        config.is_some_and(|config| matches!(config.etcd, Etcd::External(_)))
    } else {
        false
    };
    Ok(missing(marked, etcd_manifest, external))
}

/// `external`: etcd runs on machines of its own, so that no master has a manifest of it.
fn missing(marked: bool, etcd_manifest: bool, external: bool) -> Option<Missing> {
    match (marked, etcd_manifest || external) {
        (false, _) => Some(Missing::Mark),
        (true, false) => Some(Missing::Etcd),
        (true, true) => None,
    }
}

/// Whether the cluster believes that this node runs. `kubeadm join` refuses such a name from 1.18 on,
/// and `kubeadm reset` leaves the Node as it is: it is Ready until the node monitor misses it. Who may
/// not look lets kubeadm find out.
///
/// # Errors
/// [`ApiError`]
pub async fn is_ready_node(cluster: &Cluster, node: &str) -> Result<bool, ApiError> {
    // The name comes from afar, and goes into a path.
    if !is_dns_subdomain(node) {
        return Ok(false);
    }
    is_ready(look_at(cluster, node).await)
}

fn is_ready(answer: Result<Option<Node>, ApiError>) -> Result<bool, ApiError> {
    match answer {
        Ok(node) => Ok(node.is_some_and(|node| node.is_ready())),
        Err(ApiError::Status { status, .. }) if matches!(status.code, 403 | 404) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn look_at(cluster: &Cluster, node: &str) -> Result<Option<Node>, ApiError> {
    cluster.get(&format!("{NODES}/{node}")).await
}

/// As much of a Node as is looked at.
#[derive(Deserialize)]
struct Node {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Node {
    fn is_marked(&self) -> bool {
        MASTER_LABELS.iter().any(|label| self.metadata.labels.contains_key(*label))
    }

    fn is_ready(&self) -> bool {
        let mut conditions = self.status.conditions.iter();
        conditions.any(|one| one.kind == "Ready" && one.status == "True")
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::ApiStatus;
    use super::*;

    #[test]
    fn an_old_mark_alone_is_no_end() {
        for (marked, etcd_manifest, external, expected) in [
            (false, false, false, Some(Missing::Mark)),
            (false, false, true, Some(Missing::Mark)),
            (false, true, false, Some(Missing::Mark)),
            (false, true, true, Some(Missing::Mark)),
            (true, false, false, Some(Missing::Etcd)),
            (true, false, true, None),
            (true, true, false, None),
            (true, true, true, None),
        ] {
            let found = missing(marked, etcd_manifest, external);
            assert_eq!(found, expected, "{marked} {etcd_manifest} {external}");
        }
    }

    #[test]
    fn only_a_node_that_is_ready_is_in_the_way() {
        let node = |status: &str| {
            let text = format!(r#"{{"kind": "Node", "metadata": {{"name": "master2"}}{status}}}"#);
            Ok(Some(serde_json::from_str::<Node>(&text).unwrap()))
        };
        let conditions = |ready: &str| {
            format!(
                r#", "status": {{"conditions": [{{"type": "MemoryPressure", "status": "True"}},
                    {{"type": "Ready", "status": "{ready}", "reason": "x"}}]}}"#
            )
        };
        let said = |code| {
            let status = ApiStatus { code, ..ApiStatus::default() };
            Err(ApiError::Status { server: "https://lb:6443".to_owned(), status })
        };
        for (answer, expected) in [
            (node(&conditions("True")), Some(true)),
            (node(&conditions("False")), Some(false)),
            (node(&conditions("Unknown")), Some(false)),
            (node(r#", "status": {}"#), Some(false)),
            (node(""), Some(false)),
            (Ok(None), Some(false)),
            (said(404), Some(false)),
            (said(403), Some(false)),
            (said(401), None),
            (said(500), None),
        ] {
            assert_eq!(is_ready(answer).ok(), expected);
        }
    }

    #[test]
    fn a_master_of_any_version_is_known_by_its_label() {
        let marked = |labels: &str| {
            let text = format!(r#"{{"kind": "Node", "metadata": {{"name": "master2"{labels}}}}}"#);
            serde_json::from_str::<Node>(&text).unwrap().is_marked()
        };
        for name in ["master", "control-plane"] {
            assert!(marked(&format!(r#", "labels": {{"node-role.kubernetes.io/{name}": ""}}"#)));
        }
        assert!(!marked(r#", "labels": {"kubernetes.io/hostname": "master2"}"#));
        assert!(!marked(""));
    }
}

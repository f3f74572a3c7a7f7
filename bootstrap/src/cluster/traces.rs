//! What a kubeadm leaves in the cluster when it comes to its end. The files on its machine are there
//! long before, so that only the cluster can tell of a kubeadm whose end nobody saw.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client::Cluster;
use super::error::ApiError;
use crate::kubeadm::{CLUSTER_INFO_NAME, PUBLIC_NAMESPACE};

/// The labels of a master: one up to 1.19, both from 1.20 to 1.23, the other since.
const MASTER_LABELS: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// Whether `kubeadm init` has made `cluster-info`. Only the addons come after it.
///
/// # Errors
/// [`ApiError`]
pub async fn has_cluster_info(cluster: &Cluster) -> Result<bool, ApiError> {
    let path = format!("/api/v1/namespaces/{PUBLIC_NAMESPACE}/configmaps/{CLUSTER_INFO_NAME}");
    Ok(cluster.get::<IgnoredAny>(&path).await?.is_some())
}

/// Whether kubeadm has marked this node as a master, the last that a join does.
///
/// # Errors
/// [`ApiError`]
pub async fn is_control_plane(cluster: &Cluster, node: &str) -> Result<bool, ApiError> {
    let node: Option<Node> = cluster.get(&format!("/api/v1/nodes/{node}")).await?;
    Ok(node.is_some_and(|node| node.is_marked()))
}

/// As much of a Node as is looked at.
#[derive(Deserialize)]
struct Node {
    metadata: Metadata,
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
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! What the cluster says about itself.

use serde::Deserialize;

use super::client::Cluster;
use super::error::ApiError;
use crate::kubeadm::{
    ClusterConfigError, ClusterConfiguration, ConfigMap, KUBEADM_CONFIG_NAME, KubernetesVersion,
    SYSTEM_NAMESPACE, VersionError,
};

/// The cluster's own configuration, or `None` if kubeadm did not make this cluster.
///
/// # Errors
/// [`ConfigCallError`]
pub async fn kubeadm_config(
    cluster: &Cluster,
) -> Result<Option<ClusterConfiguration>, ConfigCallError> {
    let path = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/configmaps/{KUBEADM_CONFIG_NAME}");
    let map: Option<ConfigMap> = cluster.get(&path).await?;
    let read = |map| ClusterConfiguration::from_config_map(&map);
    Ok(map.map(read).transpose()?)
}

/// The version of the apiserver that answers.
///
/// # Errors
/// [`ConfigCallError`]
pub async fn server_version(cluster: &Cluster) -> Result<KubernetesVersion, ConfigCallError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        git_version: String,
    }
    let version: Option<Version> = cluster.get("/version").await?;
    Ok(version.unwrap_or_default().git_version.parse()?)
}

/// Why the cluster's own data is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigCallError {
    /// The call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// `kubeadm-config` cannot be used.
    #[error("kubeadm-config of the cluster: {0}")]
    Config(#[from] ClusterConfigError),
    /// The version is none.
    #[error("the version of the apiserver: {0}")]
    Version(#[from] VersionError),
}

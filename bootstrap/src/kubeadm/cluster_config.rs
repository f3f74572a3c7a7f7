//! The ConfigMap `kubeadm-config`: what a joiner goes by.

use std::path::PathBuf;

use serde::Deserialize;

use super::endpoint::{ControlPlaneEndpoint, EndpointError};
use super::object::{self, ConfigMap};
use super::version::{ConfigApi, KubernetesVersion, VersionError};

/// Name of the ConfigMap; it is in `kube-system`.
pub const KUBEADM_CONFIG_NAME: &str = "kubeadm-config";

/// Name of the entry.
const ENTRY: &str = "ClusterConfiguration";

/// kubeadm's default of `certificatesDir` in every version.
const CERTIFICATES_DIR: &str = "/etc/kubernetes/pki";

/// The part of a `ClusterConfiguration` that joins, certificates and balancers depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfiguration {
    /// Format it was written in.
    pub api: ConfigApi,
    /// Version of the control plane.
    pub kubernetes_version: KubernetesVersion,
    /// Name of the cluster; `kubernetes` by default.
    pub cluster_name: String,
    /// The common address; without it no further master can join.
    pub control_plane_endpoint: Option<ControlPlaneEndpoint>,
    /// Where the certificates are kept on each master.
    pub certificates_dir: PathBuf,
    /// Names and addresses that every apiserver certificate has besides the usual ones.
    pub cert_sans: Vec<String>,
    /// Where etcd runs.
    pub etcd: Etcd,
    /// Networks of the cluster.
    pub networking: Networking,
}

/// Where etcd runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Etcd {
    /// A member on each master.
    Local,
    /// On machines of its own.
    External(ExternalEtcd),
}

/// How the apiservers reach an external etcd. Without TLS there are no files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalEtcd {
    /// URLs of the members.
    pub endpoints: Vec<String>,
    /// CA of the members.
    #[serde(deserialize_with = "non_empty_path")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate.
    #[serde(deserialize_with = "non_empty_path")]
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    #[serde(deserialize_with = "non_empty_path")]
    pub key_file: Option<PathBuf>,
}

/// Networks of the cluster, as the configuration spells them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Networking {
    /// DNS domain of services.
    pub dns_domain: Option<String>,
    /// Network of pods, one or more CIDRs with commas between.
    pub pod_subnet: Option<String>,
    /// Network of services, likewise.
    pub service_subnet: Option<String>,
}

impl ClusterConfiguration {
    /// Takes the configuration out of the ConfigMap. `ClusterStatus`, which kubeadm up to 1.21
    /// kept beside it, is neither needed nor read: it goes stale when a master dies.
    ///
    /// # Errors
    /// [`ClusterConfigError`]; fields that are not known are passed over.
    pub fn from_config_map(map: &ConfigMap) -> Result<Self, ClusterConfigError> {
        Self::parse(map.data.get(ENTRY).ok_or(ClusterConfigError::NoEntry)?)
    }

    /// Reads one `ClusterConfiguration` document in v1beta1 to v1beta4.
    ///
    /// # Errors
    /// [`ClusterConfigError`] as above.
    pub fn parse(yaml: &str) -> Result<Self, ClusterConfigError> {
        let raw: RawConfiguration = object::yaml(yaml)
            .map_err(|(line, column)| ClusterConfigError::Unreadable { line, column })?;
        raw.checked()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfiguration {
    api_version: String,
    kubernetes_version: Option<String>,
    cluster_name: Option<String>,
    control_plane_endpoint: Option<String>,
    certificates_dir: Option<PathBuf>,
    api_server: Option<RawApiServer>,
    etcd: Option<RawEtcd>,
    networking: Option<Networking>,
}

#[derive(Deserialize)]
struct RawApiServer {
    #[serde(rename = "certSANs")]
    cert_sans: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawEtcd {
    external: Option<ExternalEtcd>,
}

impl RawConfiguration {
    fn checked(self) -> Result<ClusterConfiguration, ClusterConfigError> {
        let api = ConfigApi::from_api_version(&self.api_version);
        let endpoint = self.control_plane_endpoint.filter(|endpoint| !endpoint.is_empty());
        let directory = self.certificates_dir.filter(|path| !path.as_os_str().is_empty());
        Ok(ClusterConfiguration {
            api: api.ok_or(ClusterConfigError::UnknownApi { api_version: self.api_version })?,
            kubernetes_version: self.kubernetes_version.unwrap_or_default().parse()?,
            cluster_name: self.cluster_name.unwrap_or_else(|| "kubernetes".to_owned()),
            control_plane_endpoint: endpoint.map(|endpoint| endpoint.parse()).transpose()?,
            certificates_dir: directory.unwrap_or_else(|| CERTIFICATES_DIR.into()),
            cert_sans: self.api_server.and_then(|server| server.cert_sans).unwrap_or_default(),
            etcd: match self.etcd.and_then(|etcd| etcd.external) {
                Some(external) => Etcd::External(external),
                None => Etcd::Local,
            },
            networking: self.networking.unwrap_or_default(),
        })
    }
}

/// kubeadm writes `""` for a file that is not used.
fn non_empty_path<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    let path = Option::<PathBuf>::deserialize(deserializer)?;
    Ok(path.filter(|path| !path.as_os_str().is_empty()))
}

/// Why `kubeadm-config` cannot be used. Look into the ConfigMap, there is nothing to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterConfigError {
    /// The entry is missing.
    #[error("the ConfigMap kubeadm-config has no ClusterConfiguration")]
    NoEntry,
    /// Not such a document.
    #[error("ClusterConfiguration cannot be read (line {line}, column {column})")]
    Unreadable {
        /// Line, from 1; 0 if not known.
        line: usize,
        /// Column, from 1; 0 if not known.
        column: usize,
    },
    /// A format older or newer than this program knows.
    #[error("ClusterConfiguration is in {api_version:?}; known are v1beta1 to v1beta4")]
    UnknownApi {
        /// Its `apiVersion`.
        api_version: String,
    },
    /// `kubernetesVersion` is absent or malformed.
    #[error("kubernetesVersion of ClusterConfiguration: {0}")]
    Version(#[from] VersionError),
    /// `controlPlaneEndpoint` is malformed.
    #[error("controlPlaneEndpoint of ClusterConfiguration: {0}")]
    Endpoint(#[from] EndpointError),
}

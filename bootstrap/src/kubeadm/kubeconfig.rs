//! From a kubeconfig, just how to reach a cluster and whom to trust: no credentials are read.

use std::path::PathBuf;

use data_encoding::BASE64;
use serde::Deserialize;

use super::object;

/// Longest kubeconfig that is read; usual ones have 6 KiB.
const MAX_BYTES: usize = 1 << 20;

/// A cluster's server and its CA, as a kubeconfig names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterAccess {
    /// URL of the apiserver or of the balancer before it.
    pub server: String,
    /// The CA of that server; `None` if the system's are trusted.
    pub authority: Option<Authority>,
}

/// Where the certificates of a CA are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// A PEM bundle inside the kubeconfig.
    Pem(Vec<u8>),
    /// A file, relative to the directory of the kubeconfig.
    File(PathBuf),
}

impl ClusterAccess {
    /// Reads the cluster of the current context.
    ///
    /// # Errors
    /// [`KubeconfigError`]; no message shows any of the text.
    pub fn current(kubeconfig: &str) -> Result<Self, KubeconfigError> {
        let config = RawKubeconfig::parse(kubeconfig)?;
        let contexts = config.contexts.unwrap_or_default();
        let current = config.current_context.unwrap_or_default();
        let context = contexts.iter().find(|context| context.name == current);
        let name = &context.ok_or(KubeconfigError::NoContext)?.context.cluster;
        let clusters = config.clusters.unwrap_or_default();
        let cluster = clusters.into_iter().find(|cluster| cluster.name == *name);
        cluster.ok_or(KubeconfigError::NoCluster)?.cluster.checked()
    }

    /// Reads the only cluster, whatever its name, as a joiner reads `cluster-info`.
    ///
    /// # Errors
    /// [`KubeconfigError`], also if there is not exactly one cluster.
    pub fn only(kubeconfig: &str) -> Result<Self, KubeconfigError> {
        let clusters = RawKubeconfig::parse(kubeconfig)?.clusters.unwrap_or_default();
        let found = clusters.len();
        let only: [_; 1] = clusters.try_into().map_err(|_| KubeconfigError::NotOne { found })?;
        let [cluster] = only;
        cluster.cluster.checked()
    }

    /// The server as kubeadm puts it on a join command: without `https://`.
    #[must_use]
    pub fn join_address(&self) -> &str {
        self.server.strip_prefix("https://").unwrap_or(&self.server)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawKubeconfig {
    clusters: Option<Vec<RawNamedCluster>>,
    contexts: Option<Vec<RawNamedContext>>,
    current_context: Option<String>,
}

#[derive(Deserialize)]
struct RawNamedCluster {
    #[serde(default)]
    name: String,
    cluster: RawCluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawCluster {
    server: Option<String>,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct RawNamedContext {
    #[serde(default)]
    name: String,
    context: RawContext,
}

#[derive(Deserialize)]
struct RawContext {
    #[serde(default)]
    cluster: String,
}

impl RawKubeconfig {
    fn parse(text: &str) -> Result<Self, KubeconfigError> {
        if text.len() > MAX_BYTES {
            return Err(KubeconfigError::TooLong);
        }
        object::yaml(text).map_err(|(line, column)| KubeconfigError::Unreadable { line, column })
    }
}

impl RawCluster {
    fn checked(self) -> Result<ClusterAccess, KubeconfigError> {
        let server = self.server.filter(|server| !server.is_empty());
        let data = self.certificate_authority_data.filter(|data| !data.is_empty());
        // As in kubectl, data inside wins over a file.
        let authority = match (data, self.certificate_authority) {
            (Some(data), _) => {
                let pem = BASE64.decode(data.trim().as_bytes());
                Some(Authority::Pem(pem.map_err(|_| KubeconfigError::Authority)?))
            }
            (None, file) => file.map(Authority::File),
        };
        Ok(ClusterAccess { server: server.ok_or(KubeconfigError::NoServer)?, authority })
    }
}

/// Why a kubeconfig names no cluster. Give another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// Longer than 1 MiB.
    #[error("the kubeconfig is longer than 1 MiB")]
    TooLong,
    /// Not a kubeconfig.
    #[error("the text is not a kubeconfig (line {line}, column {column})")]
    Unreadable {
        /// Line, from 1; 0 if not known.
        line: usize,
        /// Column, from 1; 0 if not known.
        column: usize,
    },
    /// `current-context` names nothing.
    #[error("the kubeconfig has no context of the name that current-context gives")]
    NoContext,
    /// The context names no cluster.
    #[error("the kubeconfig has no cluster of the name that its context gives")]
    NoCluster,
    /// The cluster names no server.
    #[error("the cluster of the kubeconfig has no server")]
    NoServer,
    /// The CA is not base64.
    #[error("certificate-authority-data of the kubeconfig is not base64")]
    Authority,
    /// A joiner wants exactly one cluster.
    #[error("the kubeconfig has {found} clusters instead of one")]
    NotOne {
        /// How many it has.
        found: usize,
    },
}

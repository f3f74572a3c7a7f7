//! The ConfigMap `cluster-info`, by which a joiner learns the CA and the real address.

use std::collections::BTreeMap;

use super::ca_pin::{CaPin, CaPinError};
use super::jws;
use super::kubeconfig::{Authority, ClusterAccess, KubeconfigError};
use super::object::ConfigMap;
use super::token::{BootstrapToken, TokenId};

/// Name of the ConfigMap.
pub const CLUSTER_INFO_NAME: &str = "cluster-info";

/// Its namespace, which everybody may read.
pub const PUBLIC_NAMESPACE: &str = "kube-public";

/// Name of the entry that is signed.
const KUBECONFIG: &str = "kubeconfig";

/// Start of the names of the signatures; the token id follows.
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

/// The content of `cluster-info`. Until [`ClusterInfo::verify`] has passed, anybody on the way may
/// have written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    /// The kubeconfig as it stands; it is signed byte for byte.
    kubeconfig: String,
    /// What the kubeconfig says.
    access: ClusterAccess,
    /// Signatures by token id.
    signatures: BTreeMap<TokenId, String>,
}

impl ClusterInfo {
    /// Takes the ConfigMap apart. Signatures under impossible token ids are passed over.
    ///
    /// # Errors
    /// [`ClusterInfoError`] if there is no kubeconfig of exactly one cluster.
    pub fn from_config_map(map: &ConfigMap) -> Result<Self, ClusterInfoError> {
        let kubeconfig = map.data.get(KUBECONFIG).ok_or(ClusterInfoError::NoKubeconfig)?.clone();
        let access = ClusterAccess::only(&kubeconfig)?;
        let signature = |(name, value): (&String, &String)| {
            let id = name.strip_prefix(SIGNATURE_PREFIX)?.parse().ok()?;
            Some((id, value.clone()))
        };
        Ok(Self { kubeconfig, access, signatures: map.data.iter().filter_map(signature).collect() })
    }

    /// The server and CA that the cluster gives out: the control plane endpoint.
    #[must_use]
    pub fn access(&self) -> &ClusterAccess {
        &self.access
    }

    /// The pins of the CAs in it.
    ///
    /// # Errors
    /// [`ClusterInfoError`] if there is no CA or it cannot be read.
    pub fn pins(&self) -> Result<Vec<CaPin>, ClusterInfoError> {
        match &self.access.authority {
            Some(Authority::Pem(pem)) => Ok(CaPin::of_bundle(pem)?),
            _ => Err(ClusterInfoError::NoAuthority),
        }
    }

    /// Checks the signature that the cluster made with this token.
    ///
    /// # Errors
    /// [`ClusterInfoError::NotSigned`] is worth a retry: the controller manager signs some seconds
    /// after a token is made. [`ClusterInfoError::BadSignature`] is not.
    pub fn verify(&self, token: &BootstrapToken) -> Result<(), ClusterInfoError> {
        let id = token.id();
        match self.signatures.get(id) {
            None => Err(ClusterInfoError::NotSigned { id: id.clone() }),
            Some(signature) if jws::verify(token, &self.kubeconfig, signature) => Ok(()),
            Some(_) => Err(ClusterInfoError::BadSignature { id: id.clone() }),
        }
    }

    /// Signs a kubeconfig as the cluster's own signer does: name and value of the entry to add.
    #[must_use]
    pub fn sign(token: &BootstrapToken, kubeconfig: &str) -> (String, String) {
        (format!("{SIGNATURE_PREFIX}{}", token.id()), jws::sign(token, kubeconfig))
    }
}

/// Why `cluster-info` cannot be trusted or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterInfoError {
    /// The entry is missing.
    #[error("the ConfigMap cluster-info has no kubeconfig")]
    NoKubeconfig,
    /// The entry cannot be read.
    #[error("cluster-info: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// No CA inside.
    #[error("the kubeconfig in cluster-info holds no CA certificate")]
    NoAuthority,
    /// The CA cannot be pinned.
    #[error("cluster-info: {0}")]
    Pin(#[from] CaPinError),
    /// There is no signature of this token, or not yet.
    #[error(
        "cluster-info is not signed with token {id}: the token is expired, is not for signing, or \
         the controller manager has not signed yet"
    )]
    NotSigned {
        /// The token.
        id: TokenId,
    },
    /// The signature is another one.
    #[error(
        "the signature of cluster-info does not fit token {id}: the secret of the token is wrong, or \
         another server answered"
    )]
    BadSignature {
        /// The token.
        id: TokenId,
    },
}

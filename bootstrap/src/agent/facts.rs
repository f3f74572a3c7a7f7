//! What a master tells its coordinators of the cluster: its CA, and a kubeconfig with which they
//! may watch who the apiservers are and nothing else.

use common::files;
use jiff::Timestamp;
use tracing::warn;
use zeroize::Zeroizing;

use super::Master;
use super::credentials::pki;
use crate::client::{ClientError, JoinClient};
use crate::cluster::{
    Access, AccessError, Cluster, ConfigCallError, ObserverError, kubeadm_config,
    observer_kubeconfig,
};
use crate::protocol::ClusterFacts;

/// Longest CA bundle that is read.
const CA_BYTES_MAX: u64 = 64 * 1024;

/// The cluster's CA, PEM, if this machine has it in full.
#[must_use]
pub fn cluster_ca(master: &Master) -> Option<String> {
    let text = String::from_utf8(files::regular(&master.ca(), CA_BYTES_MAX).ok()?).ok()?;
    // kubeadm may be writing it just now.
    text.trim_end().ends_with("-----END CERTIFICATE-----").then_some(text)
}

/// Tells a coordinator, with the CA as [`cluster_ca`] read it. Without a kubeconfig it learns masters by
/// registration only, so a failure there is a warning. Whether that was all: else there may be a
/// kubeconfig later.
///
/// # Errors
/// [`ClientError`]
pub async fn announce(
    master: &Master,
    ca: Option<String>,
    client: &JoinClient,
) -> Result<bool, ClientError> {
    let (kubeconfig, whole) = match observer(master).await {
        Ok(kubeconfig) => (Some(kubeconfig), true),
        Err(error) => {
            warn!(reason = %error, "no kubeconfig for the coordinator: it will not see masters \
                                    that join without it");
            (None, !error.may_work_later())
        }
    };
    client.announce(&ClusterFacts { ca, kubeconfig }).await?;
    Ok(whole)
}

/// A kubeconfig for a coordinator, and the rights for it.
async fn observer(master: &Master) -> Result<Zeroizing<String>, FactsError> {
    let access = Access::load(&[master.admin_conf()])?;
    let server = access.server().to_owned();
    let cluster = Cluster::connect(access)?;
    let config = kubeadm_config(&cluster).await?;
    let pki = pki(master, config.as_ref());
    Ok(observer_kubeconfig(&cluster, &pki, &server, Timestamp::now()).await?)
}

/// Why there is no kubeconfig for a coordinator.
#[derive(Debug, thiserror::Error)]
enum FactsError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Config(#[from] ConfigCallError),
    #[error(transparent)]
    Observer(#[from] ObserverError),
}

impl FactsError {
    /// Whether there may be one after a while. An apiserver that has just started refuses what it will
    /// allow once it has read its roles.
    fn may_work_later(&self) -> bool {
        match self {
            Self::Config(ConfigCallError::Api(error))
            | Self::Observer(ObserverError::Api { source: error, .. }) => {
                error.may_work_later() || error.is_denied()
            }
            Self::Access(_) | Self::Config(_) | Self::Observer(_) => false,
        }
    }
}

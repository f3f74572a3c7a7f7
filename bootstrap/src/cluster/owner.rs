//! Reading `kubeadm-certs` and what ends its life.

use jiff::Timestamp;

use super::client::Cluster;
use super::error::ApiError;
use super::tokens::secret_path;
use crate::kubeadm::{CERTS_SECRET_NAME, OwnerReference, OwnerState, Secret};

/// How many owners are looked at; kubeadm and we write one.
const OWNERS_MAX: usize = 8;

/// The uploaded Secret, or `None` if it was collected or never uploaded.
///
/// # Errors
/// [`ApiError`]
pub async fn uploaded_certs(cluster: &Cluster) -> Result<Option<Secret>, ApiError> {
    cluster.get(&secret_path(CERTS_SECRET_NAME)).await
}

/// One owner of the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// How long it lives; `None` if we may not look, or it is no Secret.
    pub state: Option<OwnerState>,
}

/// The owners of a Secret and how long they live. Once all are gone, the Secret is collected.
///
/// # Errors
/// [`ApiError`], other than for a lack of rights.
pub async fn owners(
    cluster: &Cluster,
    secret: &Secret,
    now: Timestamp,
) -> Result<Vec<Owner>, ApiError> {
    let mut owners = Vec::new();
    for reference in secret.metadata.owner_references.iter().take(OWNERS_MAX) {
        owners.push(Owner {
            name: reference.name.clone(),
            state: state(cluster, reference, now).await?,
        });
    }
    Ok(owners)
}

async fn state(
    cluster: &Cluster,
    reference: &OwnerReference,
    now: Timestamp,
) -> Result<Option<OwnerState>, ApiError> {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !name.is_empty() && name.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'.'))
    };
    if reference.kind != "Secret" || !is_name(&reference.name) {
        return Ok(None);
    }
    match cluster.get::<Secret>(&secret_path(&reference.name)).await {
        Ok(found) => Ok(Some(OwnerState::of(reference, found.as_ref(), now))),
        Err(error) if error.is_denied() => Ok(None),
        Err(error) => Err(error),
    }
}

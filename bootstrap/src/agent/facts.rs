//! What a master tells its coordinators of the cluster.

use std::fs::File;
use std::io::Read;

use super::Master;
use crate::client::{ClientError, JoinClient};
use crate::protocol::ClusterFacts;

/// Longest CA bundle that is read.
const CA_BYTES_MAX: u64 = 64 * 1024;

/// The cluster's CA, PEM, if this machine has it in full.
#[must_use]
pub fn cluster_ca(master: &Master) -> Option<String> {
    let mut text = String::new();
    File::open(master.ca()).ok()?.take(CA_BYTES_MAX).read_to_string(&mut text).ok()?;
    // kubeadm may be writing it just now.
    text.trim_end().ends_with("-----END CERTIFICATE-----").then_some(text)
}

/// Tells a coordinator.
///
/// # Errors
/// [`ClientError`]
pub async fn announce(master: &Master, client: &JoinClient) -> Result<(), ClientError> {
    client.announce(&ClusterFacts { ca: cluster_ca(master), kubeconfig: None }).await
}

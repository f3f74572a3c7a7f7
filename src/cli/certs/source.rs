//! Where `kubeadm-certs` comes from: the cluster, or a file it was saved to.

use std::path::{Path, PathBuf};

use bootstrap::cluster::{Cluster, uploaded_certs};
use bootstrap::kubeadm::Secret;
use clap::Args;

use super::super::api::{self, ClusterOption};
use crate::exit::Stop;

/// Which Secret.
#[derive(Args, Debug)]
pub(super) struct SecretSource {
    /// A Secret saved as JSON or YAML instead of the one in the cluster; `-` for the standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "kubeconfig")]
    secret_file: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterOption,
}

impl SecretSource {
    /// The file, if it is to be read from one.
    pub(super) fn secret_file(&self) -> Option<&Path> {
        self.secret_file.as_deref()
    }

    /// The cluster; to be called inside a runtime.
    pub(super) fn connect(&self) -> anyhow::Result<Cluster> {
        self.cluster.connect()
    }

    /// The Secret in the cluster.
    pub(super) async fn fetch(cluster: &Cluster) -> anyhow::Result<Secret> {
        let found = uploaded_certs(cluster).await;
        let found = found.map_err(|error| api::failed(&error))?;
        Ok(found.ok_or_else(|| {
            Stop::failed(
                "Secret \"kubeadm-certs\" was not found in the \"kube-system\" Namespace; it has \
                 expired or was never uploaded, so run `mainstay certs upload` on a master",
            )
        })?)
    }
}

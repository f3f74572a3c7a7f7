//! What the subcommands that talk to a cluster share: the kubeconfig, a runtime, lifetimes, and
//! the exit code of a failed call.

use std::path::PathBuf;
use std::time::Duration;

use bootstrap::cluster::{
    ADMIN_CONF, Access, AccessError, ApiError, Cluster, ConfigCallError, KubeconfigFiles,
    UploadError, kubeadm_config,
};
use bootstrap::kubeadm::{ClusterConfiguration, Expiration};
use clap::Args;
use common::duration::{self, DurationError};
use jiff::{SignedDuration, Timestamp};

use crate::exit::{Exit, Stop};

/// Which cluster.
#[derive(Args, Clone, Debug)]
pub(super) struct ClusterOption {
    /// Kubeconfig of the cluster [default: those of KUBECONFIG, else ~/.kube/config, else
    /// /etc/kubernetes/admin.conf].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl ClusterOption {
    /// The way to the cluster.
    pub(super) fn access(&self) -> anyhow::Result<Access> {
        let files = KubeconfigFiles {
            flag: self.kubeconfig.clone(),
            environment: std::env::var_os("KUBECONFIG"),
            home: std::env::home_dir(),
            admin_conf: Some(ADMIN_CONF.into()),
        };
        let access = files.find().and_then(|files| Access::load(&files));
        access.map_err(|error| unusable(&error).into())
    }

    /// The cluster itself; to be called inside [`block_on`].
    pub(super) fn connect(&self) -> anyhow::Result<Cluster> {
        connect(self.access()?)
    }
}

/// The cluster behind an access; to be called inside [`block_on`].
pub(super) fn connect(access: Access) -> anyhow::Result<Cluster> {
    Cluster::connect(access).map_err(|error| unusable(&error).into())
}

/// Runs a command that talks to a cluster.
pub(super) fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}

/// Resolves at Ctrl-C, so that what was begun can be taken back.
pub(super) async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler Ctrl-C ends the process, as ever.
        std::future::pending::<()>().await;
    }
}

/// kubeadm's configuration of the cluster; `None` also if it may not be read.
pub(super) async fn config_if_readable(
    cluster: &Cluster,
) -> anyhow::Result<Option<ClusterConfiguration>> {
    match kubeadm_config(cluster).await {
        Ok(config) => Ok(config),
        Err(ConfigCallError::Api(error)) if error.is_denied() => Ok(None),
        Err(error) => Err(config_failed(&error).into()),
    }
}

/// The end of something for a failed call.
pub(super) fn failed(error: &ApiError) -> Stop {
    Stop::new(exit(error), error)
}

/// As [`failed`], for the cluster's own data.
pub(super) fn config_failed(error: &ConfigCallError) -> Stop {
    let code = match error {
        ConfigCallError::Api(error) => exit(error),
        _ => Exit::Failed,
    };
    Stop::new(code, error)
}

/// As [`failed`], for an upload.
pub(super) fn upload_failed(error: &UploadError) -> Stop {
    Stop::new(error.api().map_or(Exit::Failed, exit), error)
}

/// The code that tells a script whether to try again or to get other credentials.
pub(super) fn exit(error: &ApiError) -> Exit {
    if error.is_denied() {
        Exit::Refused
    } else if error.may_work_later() {
        Exit::TryAgain
    } else {
        Exit::Failed
    }
}

fn unusable(error: &AccessError) -> Stop {
    Stop::usage(error)
}

/// A lifetime as people write it; a bare `0` too, as kubeadm takes it.
pub(super) fn lifetime(text: &str) -> Result<Duration, DurationError> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => duration::parse(text),
    }
}

/// The end of a lifetime that begins now; `None` if it has none.
pub(super) fn end_of(lifetime: Duration, now: Timestamp) -> Option<Expiration> {
    // A lifetime has at most ten years, so the sum stays in the range of moments.
    let left = SignedDuration::try_from(lifetime).ok()?;
    let end = now.checked_add(left).ok()?;
    (!lifetime.is_zero()).then(|| Expiration::utc(end))
}

//! Whether a kubeadm whose end nobody saw came to it. Its files cannot tell, because they are there
//! long before; the cluster can.

use std::time::Duration;

use bootstrap::agent::Master;
use bootstrap::client::Backoff;
use bootstrap::cluster::{
    Access, Cluster, ConfigCallError, Missing, has_cluster_info, missing_of_join,
};
use bootstrap::plan::Goal;
use common::Tasks;
use tokio::time::Instant;

use super::interrupted;
use super::progress::Progress;
use crate::exit::{Exit, Stop};

/// How long the cluster is asked again: a machine that was killed takes a while to bring its apiserver
/// up again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to do if the cluster does not tell.
const WAY_OUT: &str = "run this again when it answers, or with --reset to begin anew";

/// Asks the cluster, as its administrator. What shows that it did not, or `None` if it did.
pub(crate) async fn sign_of_loss(
    goal: Goal,
    name: &str,
    master: &Master,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<Option<String>> {
    let silent = |exit: Exit, error: &dyn std::fmt::Display| {
        Stop::new(
            exit,
            format!(
                "the end of an earlier kubeadm was not seen, and the cluster cannot be asked whether \
                 it came to it: {error}; {WAY_OUT}"
            ),
        )
    };
    let cluster = Access::load(&[master.admin_conf()]).and_then(Cluster::connect);
    let cluster = cluster.map_err(|error| silent(Exit::Failed, &error))?;
    progress.waits("Asking the cluster whether the earlier kubeadm came to its end");
    let deadline = Instant::now() + PATIENCE;
    let mut backoff = Backoff::default();
    loop {
        let asking = ask(&cluster, goal, name, master);
        let answer = tokio::select! {
            biased;
            () = tasks.stopping() => return Err(interrupted(WAY_OUT).into()),
            answer = asking => answer,
        };
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let wait = backoff.failed(None, fastrand::f64());
        if let Some(exit) = ends_with(&error, Instant::now() + wait <= deadline) {
            return Err(silent(exit, &error).into());
        }
        tokio::select! {
            () = tasks.stopping() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn ask(
    cluster: &Cluster,
    goal: Goal,
    name: &str,
    master: &Master,
) -> Result<Option<String>, ConfigCallError> {
    if goal != Goal::Join {
        let there = has_cluster_info(cluster).await?;
        return Ok((!there).then(|| "it has no ConfigMap cluster-info in kube-public".to_owned()));
    }
    let manifest = master.etcd_manifest();
    let missing = missing_of_join(cluster, name, manifest.exists()).await?;
    Ok(missing.map(|missing| match missing {
        Missing::Mark => format!("the node {name} is not marked as a control plane"),
        Missing::Etcd => format!(
            "the node {name} is marked as a control plane from before, and {} is not there",
            manifest.display()
        ),
    }))
}

/// With which code to end after this failure, or `None` to ask again.
fn ends_with(error: &ConfigCallError, in_time: bool) -> Option<Exit> {
    let ConfigCallError::Api(error) = error else { return Some(Exit::Failed) };
    let later = error.may_work_later();
    // An apiserver that has just started has not read the rules yet, by which an administrator may
    // ask (kubeadm 1.29 and later make admin.conf subject to them).
    let forbidden = error.status().is_some_and(|status| status.code == 403);
    match (later, later || forbidden) {
        (_, true) if in_time => None,
        (true, _) => Some(Exit::TryAgain),
        (false, _) => Some(Exit::Failed),
    }
}

#[cfg(test)]
mod tests {
    use bootstrap::cluster::{ApiError, ApiStatus};
    use bootstrap::kubeadm::ClusterConfigError;

    use super::*;

    #[test]
    fn an_apiserver_that_starts_is_asked_again() {
        let said = |code| {
            let status = ApiStatus { code, ..ApiStatus::default() };
            ApiError::Status { server: "https://lb:6443".to_owned(), status }
        };
        let limit = Duration::from_secs(10);
        let late = ApiError::Timeout { server: "https://lb:6443".to_owned(), limit };
        for (error, in_time, expected) in [
            (&late, true, None),
            (&late, false, Some(Exit::TryAgain)),
            (&said(500), true, None),
            (&said(500), false, Some(Exit::TryAgain)),
            (&said(403), true, None),
            (&said(403), false, Some(Exit::Failed)),
            (&said(401), true, Some(Exit::Failed)),
            (&said(404), true, Some(Exit::Failed)),
            (&ApiError::NoLogin, true, Some(Exit::Failed)),
        ] {
            let error = ConfigCallError::Api(error.clone());
            assert_eq!(ends_with(&error, in_time), expected, "{error} {in_time}");
        }
        let unfit = ConfigCallError::Config(ClusterConfigError::NoEntry);
        assert_eq!(ends_with(&unfit, true), Some(Exit::Failed));
    }
}

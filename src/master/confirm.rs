//! Whether a kubeadm whose end nobody saw came to it. Its files cannot tell, because they are there
//! long before; the cluster can.

use std::time::Duration;

use bootstrap::agent::Master;
use bootstrap::client::Backoff;
use bootstrap::cluster::{Access, ApiError, Cluster, has_cluster_info, is_control_plane};
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

/// Asks the cluster, as its administrator.
pub(crate) async fn came_to_its_end(
    goal: Goal,
    name: &str,
    master: &Master,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<bool> {
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
        let asking = async {
            match goal {
                Goal::Join => is_control_plane(&cluster, name).await,
                Goal::Init | Goal::Register => has_cluster_info(&cluster).await,
            }
        };
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

/// With which code to end after this failure, or `None` to ask again.
fn ends_with(error: &ApiError, in_time: bool) -> Option<Exit> {
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
    use bootstrap::cluster::ApiStatus;

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
            assert_eq!(ends_with(error, in_time), expected, "{error} {in_time}");
        }
    }
}

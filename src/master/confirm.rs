//! What only the cluster can tell before kubeadm runs again: whether one whose end nobody saw came to
//! it, as its files are there long before, and whether a reset would leave a member in etcd.

use std::time::Duration;

use bootstrap::agent::Master;
use bootstrap::client::Backoff;
use bootstrap::cluster::{
    Access, ApiError, Cluster, ConfigCallError, Missing, has_node, missing_addons, missing_of_init,
    missing_of_join,
};
use bootstrap::plan::Goal;
use common::Tasks;
use tokio::time::Instant;

use super::interrupted;
use super::leave::TAKE_MEMBER_OUT;
use super::progress::Progress;
use crate::exit::{Exit, Stop};

/// How long the cluster is asked again: a machine that was killed takes a while to bring its apiserver
/// up again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A question to the cluster, asked as its administrator.
struct Question {
    /// What is done meanwhile, for the screen.
    doing: &'static str,
    /// What is not known without an answer.
    doubt: &'static str,
    /// What to do then.
    way_out: &'static str,
    /// The commands for that, on lines of their own.
    commands: Option<&'static str>,
}

const END: Question = Question {
    doing: "Asking the cluster whether the earlier kubeadm came to its end",
    doubt: "the end of an earlier kubeadm was not seen, and the cluster cannot be asked whether it \
            came to it",
    way_out: "run this again when it answers, or with --reset to begin anew",
    commands: None,
};

const MEMBER: Question = Question {
    doing: "Asking the cluster whether kubeadm can take this machine out of etcd",
    doubt: "the cluster cannot be asked whether `kubeadm reset` can take this machine out of etcd",
    way_out: "run this again when it answers, or take the member of this machine, if etcd has one, out \
              from another master, then run `kubeadm reset` here, and this again without --reset",
    commands: Some(TAKE_MEMBER_OUT),
};

impl Question {
    /// Asks for up to a minute, while the cluster does not answer.
    async fn put<T>(
        &self,
        master: &Master,
        progress: &mut Progress,
        tasks: &Tasks,
        ask: impl AsyncFn(&Cluster) -> Result<T, ConfigCallError>,
    ) -> anyhow::Result<T> {
        let cluster = Access::load(&[master.admin_conf()]).and_then(Cluster::connect);
        let cluster = cluster.map_err(|error| self.silent(Exit::Failed, &error))?;
        progress.waits(self.doing);
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::default();
        loop {
            let answer = tokio::select! {
                biased;
                () = tasks.stopping() => return Err(interrupted(self.way_out).into()),
                answer = ask(&cluster) => answer,
            };
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = backoff.failed(None, fastrand::f64());
            if let Some(exit) = ends_with(&error, Instant::now() + wait <= deadline) {
                return Err(self.silent(exit, &error).into());
            }
            tokio::select! {
                () = tasks.stopping() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn silent(&self, exit: Exit, error: &dyn std::fmt::Display) -> Stop {
        let Self { doubt, way_out, commands, .. } = self;
        let commands = commands.map(|commands| format!(":\n{commands}")).unwrap_or_default();
        Stop::new(exit, format!("{doubt}: {error}; {way_out}{commands}"))
    }
}

/// What the cluster says of a kubeadm whose end nobody saw.
pub(crate) enum End {
    /// It was lost; this shows it.
    Lost(String),
    /// It came to its end, or, with `init`, to the addons, of which these are missing.
    Seen(Vec<&'static str>),
}

/// Asks the cluster whether kubeadm came to its end.
pub(crate) async fn end_of(
    goal: Goal,
    name: &str,
    master: &Master,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<End> {
    let ask = async |cluster: &Cluster| match goal {
        Goal::Join => end_of_join(cluster, name, master).await,
        Goal::Init | Goal::Register => Ok(end_of_init(cluster).await?),
    };
    END.put(master, progress, tasks, ask).await
}

async fn end_of_init(cluster: &Cluster) -> Result<End, ApiError> {
    Ok(match missing_of_init(cluster).await? {
        Some(missing) => End::Lost(format!("it has no {missing} in kube-public")),
        None => End::Seen(missing_addons(cluster).await?),
    })
}

async fn end_of_join(
    cluster: &Cluster,
    name: &str,
    master: &Master,
) -> Result<End, ConfigCallError> {
    let manifest = master.etcd_manifest();
    let missing = missing_of_join(cluster, name, manifest.exists()).await?;
    Ok(missing.map_or(End::Seen(Vec::new()), |missing| {
        End::Lost(match missing {
            Missing::Mark => format!("the node {name} is not marked as a control plane"),
            Missing::Etcd => format!(
                "the node {name} is marked as a control plane from before, and {} is not there",
                manifest.display()
            ),
        })
    }))
}

/// Refuses a `kubeadm reset` after a join that would leave the machine's member in etcd, and say that
/// it went well. kubeadm finds the member by the Node whose name is in `kubelet.conf`; from 1.33 on etcd
/// has the member before there is either. With a dead member etcd may lose its majority.
pub(crate) async fn etcd_member_can_go(
    name: &str,
    master: &Master,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    if !master.etcd_manifest().exists() {
        return Ok(());
    }
    let kubelet_conf = master.kubelet_conf();
    let ask = async |cluster: &Cluster| Ok(has_node(cluster, name).await?);
    let missing = if !kubelet_conf.exists() {
        format!("there is no {}", kubelet_conf.display())
    } else if MEMBER.put(master, progress, tasks, ask).await? {
        return Ok(());
    } else {
        format!("the cluster has no Node {name}")
    };
    Err(Stop::failed(format!(
        "{missing}, so `kubeadm reset` would not find the member of this machine in etcd and leave it \
         there; take it out from another master, then run `kubeadm reset` here, and this again without \
         --reset:\n{TAKE_MEMBER_OUT}"
    ))
    .into())
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
    use bootstrap::cluster::ApiStatus;
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

//! `mainstay leave`: out of the rotation, out of the coordinators' lists, and what is left to do.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bootstrap::identity::{AgentDir, Identity, LockKind};

use super::progress::Progress;
use super::{client_failed, command, dir_failed, patiently, service};
use crate::exit::Stop;

/// How long a coordinator is asked again that does not answer.
const PATIENCE: Duration = Duration::from_secs(6);

/// How a member of etcd is taken out from another master, a line for each command.
pub(crate) const TAKE_MEMBER_OUT: &str = "  \
    kubectl -n kube-system exec etcd-OTHER -- etcdctl --cacert /etc/kubernetes/pki/etcd/ca.crt \\\n    \
    --cert /etc/kubernetes/pki/etcd/peer.crt --key /etc/kubernetes/pki/etcd/peer.key member list\n  \
    … member remove ID";

/// How to leave.
#[derive(Clone, Debug)]
pub(crate) struct LeaveSettings {
    /// Where the identity is.
    pub(crate) state_dir: PathBuf,
    /// Forget the identity also if a coordinator does not answer.
    pub(crate) force: bool,
}

/// Leaves every coordinator; a re-run goes on with those that did not answer.
pub(crate) fn run(settings: LeaveSettings) -> anyhow::Result<()> {
    command(|tasks| async move {
        let mut progress = Progress::new();
        let dir = AgentDir::at(&settings.state_dir);
        if !dir.path().is_dir() {
            return nothing(&mut progress);
        }
        let _lock = dir.lock(LockKind::Command).map_err(|error| dir_failed(&error))?;
        let Some(identity) = dir.load().map_err(|error| dir_failed(&error))? else {
            return nothing(&mut progress);
        };
        service::stop_agent(dir.path(), &mut progress);
        for known in &identity.coordinators {
            let client = known.member(&identity.key).map_err(|error| client_failed(&error))?;
            let Some(client) = client else { continue };
            progress.waits(&format!("Leaving {}", known.address));
            match patiently(PATIENCE, &tasks, || client.leave()).await {
                Ok(()) => progress.says(&format!("Left {}: it drains this master.", known.address)),
                Err(error) if error.is_unknown_to_it() => {
                    progress.says(&format!("{} knows this machine no more.", known.address));
                }
                Err(error) if settings.force => progress.says(&format!("Not told: {error}")),
                Err(error) => {
                    let failed = client_failed(&error);
                    let hint = "run `mainstay leave` again, or with --force to leave without it";
                    return Err(Stop::new(failed.exit(), format!("{failed}; {hint}")).into());
                }
            }
        }
        dir.forget().map_err(|error| dir_failed(&error))?;
        Ok(std::io::stdout().lock().write_all(hints(&identity).as_bytes())?)
    })
}

fn nothing(progress: &mut Progress) -> anyhow::Result<()> {
    progress.says("This machine is no member; there is nothing to leave.");
    Ok(())
}

/// What is left to a person, because it cannot be undone.
fn hints(identity: &Identity) -> String {
    let name = &identity.name;
    format!(
        "If {name} is to be a master no longer, these remain:\n\n  \
         kubectl drain {name} --ignore-daemonsets --delete-emptydir-data   # from another master; before 1.20 --delete-local-data\n  \
         kubeadm reset                                                     # on {name}; takes its etcd member out too\n  \
         kubectl delete node {name}                                        # from another master\n\n\
         If {name} cannot run `kubeadm reset`, take its etcd member out from another master:\n\n\
         {TAKE_MEMBER_OUT}\n"
    )
}

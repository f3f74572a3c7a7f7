//! The agent of a master: says that the master is there, keeps its certificates, and does what a
//! coordinator asks for when another master joins.
//!
//! One [`attendance`] loop for each coordinator, so that one that is away delays no other.
//! What is to be done is decided in [`duty`] and [`desk`], which are pure.

mod attendance;
mod credentials;
mod desk;
mod duty;
mod facts;
mod registering;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::Tasks;
use tracing::info;

use crate::identity::{AgentDir, DirError};
use crate::protocol::Heartbeat;
use crate::ticket::CoordinatorAddr;

pub use credentials::{IssueError, issue, revoke};
pub use facts::{announce, cluster_ca};
pub use registering::{Circumstances, RegisterError, register_with};

/// How often it is looked whether the identity names a new coordinator, or is gone.
const LOOK: Duration = Duration::from_secs(2);

/// Longest that the word "draining" may take: the machine is shutting down.
const LAST_WORD: Duration = Duration::from_secs(3);

/// Where kubeadm's files of this master are.
#[derive(Clone, Debug)]
pub struct Master {
    /// kubeadm's directory, usually `/etc/kubernetes`.
    pub kubernetes_dir: PathBuf,
}

impl Master {
    /// The administrator's kubeconfig.
    #[must_use]
    pub fn admin_conf(&self) -> PathBuf {
        self.kubernetes_dir.join("admin.conf")
    }

    /// The kubelet's kubeconfig.
    #[must_use]
    pub fn kubelet_conf(&self) -> PathBuf {
        self.kubernetes_dir.join("kubelet.conf")
    }

    /// The CA's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.pki().join("ca.crt")
    }

    /// The static pod of its etcd; with an external etcd there is none.
    #[must_use]
    pub fn etcd_manifest(&self) -> PathBuf {
        self.kubernetes_dir.join("manifests/etcd.yaml")
    }

    /// Where the certificates are: kubeadm's `certificatesDir`. The manifest of the apiserver names
    /// it, if it is not the usual one.
    fn pki(&self) -> PathBuf {
        let usual = self.kubernetes_dir.join("pki");
        if usual.join("ca.crt").exists() {
            return usual;
        }
        let manifest = self.kubernetes_dir.join("manifests/kube-apiserver.yaml");
        let text = std::fs::read_to_string(manifest).unwrap_or_default();
        let named = text.lines().find_map(|line| Some(line.split_once("--client-ca-file=")?.1));
        let directory = named.and_then(|file| Path::new(file.trim().trim_matches('"')).parent());
        directory.map_or(usual, Path::to_owned)
    }

    /// Whether credentials for a joiner can be made here: with an administrator's kubeconfig and
    /// the keys that a master hands to another. With an external CA they cannot.
    #[must_use]
    pub fn can_issue(&self) -> bool {
        let keys = ["ca.crt", "ca.key", "front-proxy-ca.key", "sa.key"];
        let pki = self.pki();
        self.admin_conf().exists() && keys.iter().all(|key| pki.join(key).exists())
    }
}

/// Why the agent has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// The master has left: there is no identity any more.
    Left,
}

/// Runs until the tasks are stopped or the master leaves.
///
/// # Errors
/// [`DirError`] if the state directory cannot be read.
pub async fn run(dir: AgentDir, master: Master, tasks: &Tasks) -> Result<Ended, DirError> {
    let mut attended: Vec<CoordinatorAddr> = Vec::new();
    let office = Arc::new(attendance::Office::new(dir.clone(), master, tasks.clone()));
    loop {
        let Some(identity) = dir.load()? else {
            return Ok(Ended::Left);
        };
        for known in &identity.coordinators {
            if !attended.contains(&known.address) {
                attended.push(known.address.clone());
                let task = attendance::attend(Arc::clone(&office), known.address.clone());
                tasks.spawn_until_stopped("attendance", task);
                info!(coordinator = %known.address, "attending a coordinator");
            }
        }
        tokio::select! {
            () = tasks.stopping() => return Ok(Ended::Stopped),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Tells every coordinator that this machine goes down, within a few seconds. Returns how many
/// heard it.
///
/// # Errors
/// [`DirError`] if the state directory cannot be read.
pub async fn say_draining(dir: &AgentDir) -> Result<usize, DirError> {
    let Some(identity) = dir.load()? else {
        return Ok(0);
    };
    let heartbeat = Heartbeat { draining: true, ..Heartbeat::default() };
    let mut heard = 0;
    for known in &identity.coordinators {
        let Ok(Some(client)) = known.member(&identity.key) else { continue };
        let said = tokio::time::timeout(LAST_WORD, client.heartbeat(&heartbeat)).await;
        heard += usize::from(matches!(said, Ok(Ok(_))));
    }
    Ok(heard)
}

/// Now, in seconds since 1970.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_another_directory_of_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let master = Master { kubernetes_dir: dir.path().to_owned() };
        assert_eq!(master.ca(), dir.path().join("pki/ca.crt"));
        let elsewhere = dir.path().join("elsewhere");
        for made in ["manifests", "elsewhere"] {
            std::fs::create_dir(dir.path().join(made)).unwrap();
        }
        let argument = format!("    - --client-ca-file={}/ca.crt\n", elsewhere.display());
        let manifest = format!("spec:\n  containers:\n  - command:\n{argument}    - --x=y\n");
        std::fs::write(dir.path().join("manifests/kube-apiserver.yaml"), manifest).unwrap();
        assert_eq!(master.ca(), elsewhere.join("ca.crt"));
        assert!(!master.can_issue());
        for file in ["ca.crt", "ca.key", "front-proxy-ca.key", "sa.key"] {
            std::fs::write(elsewhere.join(file), "").unwrap();
        }
        std::fs::write(master.admin_conf(), "").unwrap();
        assert!(master.can_issue());
    }
}

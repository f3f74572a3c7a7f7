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

use std::path::PathBuf;
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

    /// The CA's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.kubernetes_dir.join("pki/ca.crt")
    }

    /// Whether credentials for a joiner can be made here: with an administrator's kubeconfig and
    /// the keys that a master hands to another. With an external CA they cannot.
    #[must_use]
    pub fn can_issue(&self) -> bool {
        let keys = ["ca.crt", "ca.key", "front-proxy-ca.key", "sa.key"];
        self.admin_conf().exists()
            && keys.iter().all(|key| self.kubernetes_dir.join("pki").join(key).exists())
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

//! What the command line of `init`, `join` and `register` said, checked.

use std::net::IpAddr;
use std::path::PathBuf;

use bootstrap::agent::Master;
use bootstrap::ticket::JoinTicket;

/// Which master, and how it becomes a member.
#[derive(Clone, Debug)]
pub(crate) struct MasterSettings {
    /// The ticket; `None` goes on with the identity that is there.
    pub(crate) ticket: Option<JoinTicket>,
    /// Where the identity is kept.
    pub(crate) state_dir: PathBuf,
    /// kubeadm's directory.
    pub(crate) master: Master,
    /// Name of the node; `None`: the machine's.
    pub(crate) node_name: Option<String>,
    /// Address of the apiserver; `None`: the one that reaches the coordinator.
    pub(crate) advertise: Option<IpAddr>,
    /// Its port.
    pub(crate) port: u16,
    /// With `init`: also if there is a master already.
    pub(crate) force: bool,
}

/// How kubeadm is run.
#[derive(Clone, Debug)]
pub(crate) struct KubeadmSettings {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its flags after `--`.
    pub(crate) flags: Vec<String>,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
    /// Clear what a lost run left.
    pub(crate) reset: bool,
}

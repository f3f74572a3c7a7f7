//! `mainstay leave`: out of the rotation.

use std::path::PathBuf;

use clap::Args;

use crate::master::{self, LeaveSettings};

/// Take this machine out of the rotation and forget that it was a member.
///
/// The balancer drains it: no new connections, the established ones end in their time. What remains
/// to be done with kubeadm and etcd is printed, because it cannot be undone.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay leave")]
pub(super) struct LeaveCommand {
    /// Leave also if a coordinator does not answer; it then shows this master as missing.
    #[arg(long)]
    force: bool,

    /// Where the identity of this machine is kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/mainstay-agent")]
    state_dir: PathBuf,
}

impl LeaveCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        master::run_leave(LeaveSettings { state_dir: self.state_dir, force: self.force })
    }
}

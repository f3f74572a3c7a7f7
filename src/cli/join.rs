//! `mainstay join`: a further master.

use clap::Args;

use super::ticket_options::{KubeadmOptions, MasterOptions, TicketOptions};
use crate::master;

/// Make this machine a further master.
///
/// Registers with the coordinator and waits for its turn: one machine joins at a time. A master of
/// the cluster makes credentials for this join only; they travel sealed and are deleted afterwards.
/// Runs `kubeadm join`, waits until this master is in rotation, and starts the agent. Run again,
/// it goes on where it was interrupted. Ctrl-C frees the turn.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay join 192.168.122.170:6445 --ca-cert-hash sha256:… \
--token-file token\n  mainstay join   # go on after an interruption")]
pub(super) struct Join {
    #[command(flatten)]
    ticket: TicketOptions,

    #[command(flatten)]
    master: MasterOptions,

    #[command(flatten)]
    kubeadm: KubeadmOptions,
}

impl Join {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let settings = self.master.settings(self.ticket, false)?;
        master::run_join(settings, self.kubeadm.settings())
    }
}

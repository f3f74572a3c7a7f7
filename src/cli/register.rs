//! `mainstay register`: only a member.

use clap::Args;

use super::ticket_options::{MasterOptions, TicketOptions};
use crate::master;

/// Register this machine as a master, and nothing else.
///
/// For people who run kubeadm themselves: the balancer probes this machine's apiserver and uses it
/// as soon as it is ready. Starts the agent.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  mainstay register 192.168.122.170:6445 --ca-cert-hash sha256:… \
--token-file token"
)]
pub(super) struct Register {
    #[command(flatten)]
    ticket: TicketOptions,

    #[command(flatten)]
    master: MasterOptions,
}

impl Register {
    pub(super) fn run(self) -> anyhow::Result<()> {
        master::run_register(self.master.settings(self.ticket, false)?)
    }
}

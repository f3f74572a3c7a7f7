//! `mainstay ticket revoke`.

use std::io::Write;

use bootstrap::kubeadm::TokenId;
use clap::Args;

use crate::admin::client;
use crate::admin::coordinator::TICKETS;
use crate::cli::running::RunningOptions;

/// Make a ticket worthless. Masters that registered with it stay.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay ticket revoke abcdef")]
pub(super) struct Revoke {
    /// The six characters before the dot of the token, as `mainstay ticket list` shows them.
    id: TokenId,

    #[command(flatten)]
    running: RunningOptions,
}

impl Revoke {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let admin = self.running.admin()?;
        let secret = self.running.token(&admin)?;
        let path = format!("{TICKETS}/{}", self.id);
        client::ask(&admin, hyper::Method::DELETE, &path, secret.as_ref(), b"")?;
        writeln!(std::io::stdout(), "ticket {} is worthless now", self.id)?;
        Ok(())
    }
}

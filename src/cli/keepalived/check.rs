//! `mainstay keepalived check`: the question that keepalived asks once a second.

use clap::{Args, ValueEnum};

use crate::admin::client;
use crate::cli::running::RunningOptions;

/// Say by the exit code whether the balancer on this host may have the address.
///
/// For keepalived, as `mainstay keepalived config` writes it. A process that stands still does not
/// answer; keepalived ends the question after its own time limit.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// What is asked.
    #[arg(value_enum)]
    what: Question,

    #[command(flatten)]
    running: RunningOptions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Question {
    /// Whether the process answers at all.
    Lives,
    /// Whether a new client would be served.
    Serves,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let path = match self.what {
            Question::Lives => "/livez",
            Question::Serves => "/readyz",
        };
        client::get(&self.running.admin()?, path)?;
        Ok(())
    }
}

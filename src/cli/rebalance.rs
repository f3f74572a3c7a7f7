//! `mainstay rebalance`: move load to backends with fewer connections, now.

use std::io::Write;

use clap::Args;
use common::status::Rebalancing;

use super::running::RunningOptions;
use crate::admin::client;

/// Close a few quiet sessions of the fullest backend, so that their clients come back evenly.
///
/// The balancer does this by itself when an imbalance lasts for `rebalance_after`, 2 minutes
/// (`rebalance = "off"` turns that off); this does not wait. The limits stay: sessions older than
/// `rebalance_age`, 5 minutes, and quiet for 5s, 1% of all in a second, 10% in five minutes, never
/// while a backend is not UP. Run it again to go on.
#[derive(Args, Debug)]
pub(super) struct Rebalance {
    #[command(flatten)]
    what: What,

    #[command(flatten)]
    running: RunningOptions,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct What {
    /// Do it.
    #[arg(long)]
    now: bool,

    /// Only say what it would do.
    #[arg(long)]
    dry_run: bool,
}

impl Rebalance {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let admin = self.running.admin()?;
        let body = if self.what.now {
            client::post(&admin, "/v1/rebalance", self.running.token(&admin)?.as_ref())?
        } else {
            client::get(&admin, "/v1/rebalance")?
        };
        let answer: Rebalancing = serde_json::from_slice(&body)?;
        writeln!(std::io::stdout(), "{}", sentence(&answer, self.what.now))?;
        Ok(())
    }
}

fn sentence(answer: &Rebalancing, done: bool) -> String {
    let (sessions, reason) = (answer.sessions, &answer.reason);
    match &answer.backend {
        Some(name) if done => format!("closed {sessions} sessions of {name}: {reason}"),
        Some(name) => format!("would close up to {sessions} sessions of {name}: {reason}"),
        None => format!("nothing to do: {reason}"),
    }
}

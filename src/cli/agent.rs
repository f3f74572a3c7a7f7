//! `mainstay agent`: the process that runs on each master.

use clap::Args;
use common::config::Config;
use common::config::Layers;

use super::ticket_options::Places;
use crate::master::{self, AgentSettings};
use crate::telemetry;

/// Run the agent of this master.
///
/// Says to each coordinator that this master is there, renews its certificate, makes credentials
/// when another master joins, and says when the machine goes down. `init`, `join` and `register`
/// start it where systemd runs (mainstay-agent.service); elsewhere start it at each boot.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay agent")]
pub(super) struct Agent {
    #[command(flatten)]
    places: Places,

    /// Say that this master goes down whenever the agent stops, not only when the machine does.
    #[arg(long)]
    drain_on_stop: bool,
}

impl Agent {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // Logging is as everywhere; the agent needs nothing else of the configuration.
        let config = Config::checked(&Layers::default())?;
        let _log = telemetry::init(&config)?;
        master::run_agent(AgentSettings {
            master: self.places.master(),
            state_dir: self.places.state_dir,
            drain_on_stop: self.drain_on_stop,
        })
    }
}

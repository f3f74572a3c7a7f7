//! `mainstay register`: only a member; its operator runs kubeadm.

use bootstrap::protocol::Intent;

use super::command;
use super::progress::Progress;
use super::service;
use super::settings::MasterSettings;
use super::station::Station;

/// Registers with the coordinators of the ticket and starts the agent.
pub(crate) fn run(settings: MasterSettings) -> anyhow::Result<()> {
    command(|tasks| async move {
        let mut progress = Progress::new();
        let mut station = Station::open(settings, Intent::Register)?;
        station.register(&mut progress, &tasks).await?;
        let (_, seat) = station.seat()?;
        progress.says(&format!(
            "The balancer probes {} and uses it as soon as it is ready.",
            seat.apiserver
        ));
        service::start_agent(station.dir.path(), &mut progress);
        Ok(())
    })
}

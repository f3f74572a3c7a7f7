//! SIGHUP: the new configuration, all of it or nothing. Established sessions do not notice.

use bootstrap::MembershipWriter;
use common::config::{Config, Layers};
use common::drain::StopLimits;
use common::events::EventKind;
use lb::health::Command;
use lb::health::keeper::KeeperHandle;
use lb::health::prober::ProbeMethod;
use lb::{Balancer, Settings};
use tracing::{error, info};

use super::cluster::Cluster;
use crate::admin::Report;
use crate::cli::ConfigOptions;

/// What is needed to read the configuration again and to compare.
pub(crate) struct Reloader {
    options: ConfigOptions,
    layers: Layers,
    stop: StopLimits,
}

impl Reloader {
    pub(crate) fn new(options: ConfigOptions, layers: Layers, config: &Config) -> Self {
        Self { options, layers, stop: config.stop }
    }

    /// The limits of the stop phases that are in force.
    pub(crate) fn stop_limits(&self) -> StopLimits {
        self.stop
    }

    /// Applies the configuration as it is now, and says whether it did.
    pub(crate) async fn reload(
        &mut self,
        balancer: &Balancer,
        writer: &MembershipWriter,
        keeper: &KeeperHandle,
        (report, cluster): (&Report, &Cluster),
    ) -> bool {
        match self.read(cluster) {
            Ok((layers, config, method)) => {
                balancer.change(Settings::from(&config));
                if keeper.commands.send(Command::Probe(method)).await.is_err() {
                    error!("the keeper of the pool has ended; restart mainstay");
                }
                cluster.configure(&config);
                if let Some(join) = report.join() {
                    join.configure(&config, balancer, cluster.pins()).await;
                }
                writer.configure(config.backends);
                self.stop = config.stop;
                self.layers = layers;
                info!("configuration reloaded");
                let text = "the new configuration is in force";
                balancer.journal().note(EventKind::Reloaded, text);
                true
            }
            Err(reason) => {
                error!(%reason, "configuration refused; the old one stays in force");
                let text = format!("the old configuration stays in force: {reason}");
                balancer.journal().note(EventKind::ReloadRefused, text);
                false
            }
        }
    }

    fn read(&self, cluster: &Cluster) -> Result<(Layers, Config, ProbeMethod), String> {
        let (layers, config) = self.options.read()?;
        let method = cluster.method(&config)?;
        let fixed = self.layers.restart_needed_for(&layers);
        if fixed.is_empty() {
            Ok((layers, config, method))
        } else {
            Err(format!("{} can only be changed by a restart", fixed.join(", ")))
        }
    }
}

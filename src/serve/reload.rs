//! SIGHUP: the new configuration, all of it or nothing. Established sessions do not notice.

use bootstrap::MembershipWriter;
use common::config::{Config, Layers};
use common::drain::StopLimits;
use lb::{Balancer, Settings};
use tracing::{error, info};

use crate::cli::ConfigOptions;

/// What is needed to read the configuration again and to compare.
pub(crate) struct Reloader {
    options: ConfigOptions,
    layers: Layers,
    stop: StopLimits,
}

impl Reloader {
    pub(crate) fn new(options: ConfigOptions, layers: Layers, config: &Config) -> Self {
        Self {
            options,
            layers,
            stop: config.stop,
        }
    }

    /// The limits of the stop phases that are in force.
    pub(crate) fn stop_limits(&self) -> StopLimits {
        self.stop
    }

    /// Applies the configuration as it is now, and says whether it did.
    pub(crate) fn reload(&mut self, balancer: &Balancer, writer: &MembershipWriter) -> bool {
        match self.read() {
            Ok((layers, config)) => {
                balancer.change(Settings::from(&config.timeouts));
                writer.configure(config.backends);
                self.stop = config.stop;
                self.layers = layers;
                info!("configuration reloaded");
                true
            }
            Err(reason) => {
                error!(%reason, "configuration refused; the old one stays in force");
                false
            }
        }
    }

    fn read(&self) -> Result<(Layers, Config), String> {
        let layers = self.options.layers().map_err(|error| error.to_string())?;
        let config = Config::checked(&layers).map_err(|error| error.to_string())?;
        let fixed = self.layers.restart_needed_for(&layers);
        if fixed.is_empty() {
            Ok((layers, config))
        } else {
            Err(format!(
                "{} can only be changed by a restart",
                fixed.join(", ")
            ))
        }
    }
}

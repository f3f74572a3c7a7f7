//! `mainstay serve`: run the balancer.

use clap::Args;

use super::options::ConfigOptions;

/// Run the balancer.
///
/// Accepts clients on port 6443 and gives each to the master with the fewest connections. While no
/// master is known the port is closed, so that clients are refused at once.
///
/// SIGHUP reloads the configuration, all of it or nothing; established sessions go on. SIGTERM or
/// Ctrl-C stops in phases: /readyz fails (stop.lame_duck), the port closes and sessions go on
/// (stop.drain_timeout), what is left is reset. A second signal skips the phase that runs. SIGUSR2
/// hands ports and sessions over to a new process of the program on the disk (`mainstay upgrade`).
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  mainstay serve --backend 10.0.0.11 --backend 10.0.0.12 --backend 10.0.0.13"
)]
pub(super) struct Serve {
    #[command(flatten)]
    options: ConfigOptions,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        crate::serve::run(self.options)
    }
}

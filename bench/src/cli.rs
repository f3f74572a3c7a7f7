//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow};
use clap::{Args, Parser, Subcommand};

use crate::peer::Peer;

/// Measures Mainstay beside NGINX, HAProxy, Envoy and the direct connection.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start each peer in turn, put the scenarios through it, and write a report
    Run(RunArguments),
    /// Put one scenario through a balancer that is already running
    ///
    /// What it reaches must speak the generator's own protocol: start it with `mainstay-bench
    /// backend`.
    Load(LoadArguments),
    /// Make the report of an earlier run anew from its raw figures
    Report {
        /// The output directory of the run
        dir: PathBuf,
    },
    /// List the scenarios
    Scenarios,
    /// Serve the stand-in backends until standard input ends; prints their addresses
    Backend {
        /// Threads to serve with [default: one a processor]
        #[arg(long)]
        threads: Option<usize>,
        /// Speak TLS and HTTP/2, for the control-plane mix
        #[arg(long)]
        tls: bool,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Who takes part; one that is not installed is reported
    #[arg(long, value_enum, value_delimiter = ',', default_values_t =
        [Peer::Mainstay, Peer::Nginx, Peer::Haproxy, Peer::HaproxySplice, Peer::Envoy, Peer::Direct])]
    pub(crate) peers: Vec<Peer>,
    /// A scenario, or a family of them such as `rr` or `bulk-8`; may be repeated [default: all]
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',')]
    pub(crate) scenarios: Vec<String>,
    /// How often everything is measured; the report shows medians
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive)]
    pub(crate) rounds: usize,
    /// How long each scenario is counted
    #[arg(long, value_name = "S", default_value = "4", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Count system calls too, in further measurements under `strace`
    #[arg(long)]
    pub(crate) syscalls: bool,
    /// Where raw figures, report and plots go
    #[arg(long, value_name = "DIR", default_value = "bench/out/latest")]
    pub(crate) out: PathBuf,
    /// The Mainstay to measure [default: `mainstay` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) mainstay: Option<PathBuf>,
    /// A further argument for `mainstay serve`; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) mainstay_arg: Vec<String>,
}

/// Arguments of `load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// Where to connect; several are used in turn
    #[arg(required = true)]
    pub(crate) targets: Vec<SocketAddr>,
    /// The scenario's name
    #[arg(long, value_name = "NAME", default_value = "rr-64x64")]
    pub(crate) scenario: String,
    /// How long it is counted
    #[arg(long, value_name = "S", default_value = "4", value_parser = seconds)]
    pub(crate) seconds: Duration,
}

fn seconds(text: &str) -> Result<Duration> {
    let duration = Duration::try_from_secs_f64(text.parse()?)?;
    if duration.is_zero() {
        Err(anyhow!("nothing can be measured in no time"))
    } else {
        Ok(duration)
    }
}

fn positive(text: &str) -> Result<usize> {
    match text.parse()? {
        0 => Err(anyhow!("at least one round is needed")),
        rounds => Ok(rounds),
    }
}

//! `mainstay keepalived`: what keepalived needs so that an address moves between two balancers.

mod check;
mod config;

use clap::{Args, Subcommand};

/// Let an address move between two balancers, by keepalived.
#[derive(Args, Debug)]
pub(super) struct Keepalived {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Config(Box<config::ConfigCommand>),
    Check(check::Check),
}

impl Keepalived {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Config(config) => config.run(),
            What::Check(check) => check.run(),
        }
    }
}

//! Finds the running balancer: its admin address and, for verbs, the token of its state directory.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use common::config::{AdminAddr, Config, Layers};

use crate::admin::AdminToken;
use crate::exit::{Exit, Stop};

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
}

/// Which balancer is meant.
#[derive(Args, Debug)]
pub(super) struct RunningOptions {
    /// Admin address of the balancer [default: the one of the configuration].
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,

    /// Configuration file that names the admin address and the state directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// State directory of the balancer; holds the token that verbs need over TCP.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl RunningOptions {
    /// Its admin address.
    pub(super) fn admin(&self) -> anyhow::Result<AdminAddr> {
        match &self.admin {
            Some(text) => Ok(AdminAddr::parse(text)
                .map_err(|reason| Stop::new(Exit::Usage, format!("--admin: {reason}")))?),
            None => Ok(self.configured()?.admin),
        }
    }

    /// Its token; none for a unix socket, which needs none.
    pub(super) fn token(&self, admin: &AdminAddr) -> anyhow::Result<Option<AdminToken>> {
        if matches!(admin, AdminAddr::Unix(_)) {
            return Ok(None);
        }
        let dir = match &self.state_dir {
            Some(dir) => dir.clone(),
            None => self.configured()?.state_dir,
        };
        AdminToken::read(&dir)
    }

    fn configured(&self) -> anyhow::Result<Config> {
        let config =
            Layers::from_file(self.config.as_deref()).and_then(|layers| Config::checked(&layers));
        config.map_err(|error| Stop::new(Exit::Usage, error).into())
    }
}

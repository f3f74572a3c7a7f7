//! `mainstay drain` and `undrain`: take a backend out of rotation and back, without cutting anyone.

use std::io::Write;

use clap::Args;
use common::config::AdminAddr;
use common::status::Explanation;

use super::running::RunningOptions;
use crate::admin::client;

/// Send no new connections to a backend; established ones go on.
///
/// It survives reloads and ends with `mainstay undrain` or a restart of the balancer. Needs the unix
/// socket of the balancer or the token in its state directory.
#[derive(Args, Debug)]
pub(super) struct Drain {
    /// Name of the backend, as `mainstay status` shows it.
    name: String,

    #[command(flatten)]
    running: RunningOptions,
}

/// Send new connections to a drained backend again.
#[derive(Args, Debug)]
pub(super) struct Undrain {
    /// Name of the backend, as `mainstay status` shows it.
    name: String,

    #[command(flatten)]
    running: RunningOptions,
}

impl Drain {
    pub(super) fn run(self) -> anyhow::Result<()> {
        change(&self.running, &self.name, "drain")
    }
}

impl Undrain {
    pub(super) fn run(self) -> anyhow::Result<()> {
        change(&self.running, &self.name, "undrain")
    }
}

fn change(running: &RunningOptions, name: &str, verb: &str) -> anyhow::Result<()> {
    let admin: AdminAddr = running.admin()?;
    let token = running.token(&admin)?;
    let path = super::member_path(name, Some(verb))?;
    let body = client::post(&admin, &path, token.as_ref())?;
    let answer: Explanation = serde_json::from_slice(&body)?;
    let (state, connections) = (answer.backend.state.name(), answer.backend.connections);
    writeln!(std::io::stdout(), "{name} is {state}, {connections} connections")?;
    Ok(())
}

//! `mainstay forget`: a member that is gone for good.

use std::io::Write;

use clap::Args;

use super::running::RunningOptions;
use crate::admin::client;
use crate::admin::coordinator::REGISTERED;
use crate::exit::Stop;

/// Forget a registered master that is gone for good and cannot say `mainstay leave` itself.
///
/// Its name and address are free again, its certificate is worthless, and it gets no new
/// connections. Its etcd member and its node remain for you to remove.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay forget master-2")]
pub(super) struct Forget {
    /// Name under which it registered.
    name: String,

    #[command(flatten)]
    running: RunningOptions,
}

impl Forget {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if self.name.is_empty() || !self.name.chars().all(fits) {
            return Err(Stop::usage(format!("`{}` is no name of a node", self.name)).into());
        }
        let admin = self.running.admin()?;
        let secret = self.running.token(&admin)?;
        let path = format!("{REGISTERED}/{}", self.name);
        client::ask(&admin, hyper::Method::DELETE, &path, secret.as_ref(), b"")?;
        writeln!(std::io::stdout(), "{} is forgotten", self.name)?;
        Ok(())
    }
}

//! `mainstay completions`: what a shell needs to complete our command line.

use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

/// Print the completions for a shell.
///
/// Packages install them; by hand: mainstay completions bash > /etc/bash_completion.d/mainstay
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut cli: Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut cli, "mainstay", &mut script);
        Ok(std::io::stdout().lock().write_all(&script)?)
    }
}

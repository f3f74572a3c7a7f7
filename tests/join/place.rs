//! Where a program of a test runs: on this machine, or on a host of a network of its own.

use std::process::Command;

use crate::support::Host;
use crate::support::command::MAINSTAY;

/// A place for programs; the default is this machine.
#[derive(Clone, Default)]
pub(crate) struct Place {
    /// The words that have a program run there.
    entry: Vec<String>,
}

impl Place {
    pub(crate) fn on(host: &Host) -> Self {
        Self { entry: host.entry().to_vec() }
    }

    /// Whether everything has its usual port there.
    pub(crate) fn is_host(&self) -> bool {
        !self.entry.is_empty()
    }

    /// `mainstay`, to be started there.
    pub(crate) fn mainstay(&self) -> Command {
        match self.entry.split_first() {
            None => Command::new(MAINSTAY),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(MAINSTAY);
                command
            }
        }
    }
}

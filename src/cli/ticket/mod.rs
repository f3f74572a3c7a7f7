//! `mainstay ticket`: what an operator carries to a new master.

mod create;
mod list;
mod revoke;

use clap::{Args, Subcommand};

/// Make, list and revoke tickets, with which masters register here.
///
/// A ticket is the address of this coordinator, a token and the pin of its CA, printed as the
/// command that a new master types. The token is shown once and kept as a hash. It is good for this
/// coordinator only; the cluster's own bootstrap tokens are `mainstay token`.
#[derive(Args, Debug)]
pub(super) struct Ticket {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Create),
    List(list::List),
    Revoke(revoke::Revoke),
}

impl Ticket {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::Create(create) => create.run(),
            Verb::List(list) => list.run(),
            Verb::Revoke(revoke) => revoke.run(),
        }
    }
}

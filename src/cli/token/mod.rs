//! `mainstay token`: the bootstrap tokens of the cluster.

mod create;
mod delete;
mod list;

use clap::{Args, Subcommand};

/// Make, list and delete the bootstrap tokens that machines join the cluster with.
///
/// They are kubeadm's tokens, with its defaults and its table.
#[derive(Args, Debug)]
pub(super) struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Create),
    List(list::ListTokens),
    Delete(delete::Delete),
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::Create(create) => create.run(),
            Verb::List(list) => list.run(),
            Verb::Delete(delete) => delete.run(),
        }
    }
}

//! `mainstay ticket list`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use comfy_table::{Table, presets};
use common::coordinator::TicketStatus;
use common::duration;

use crate::admin::client;
use crate::admin::coordinator::TICKETS;
use crate::cli::running::{Output, RunningOptions};

/// Show the tickets that are good, without their tokens.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay ticket list")]
pub(super) struct List {
    /// As a table or as JSON.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,

    #[command(flatten)]
    running: RunningOptions,
}

impl List {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let body = client::get(&self.running.admin()?, TICKETS)?;
        let mut out = std::io::stdout();
        if self.output == Output::Json {
            out.write_all(&body)?;
            return Ok(());
        }
        let tickets: Vec<TicketStatus> = serde_json::from_slice(&body)?;
        if tickets.is_empty() {
            writeln!(out, "no tickets; `mainstay ticket create` makes one")?;
            return Ok(());
        }
        writeln!(out, "{}", table(&tickets))?;
        Ok(())
    }
}

fn table(tickets: &[TicketStatus]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["ID", "ENDS", "USES LEFT", "DESCRIPTION"]);
    for ticket in tickets {
        let ends = ticket.seconds_left.map_or_else(
            || "never".to_owned(),
            |left| format!("in {}", duration::age(Duration::from_secs(left))),
        );
        let uses = ticket.uses_left.map_or_else(|| "any".to_owned(), |left| left.to_string());
        // Whoever wrote it could have typed anything, but no terminal sequence gets through.
        let description: String = ticket.description.chars().filter(|c| !c.is_control()).collect();
        table.add_row([ticket.id.clone(), ends, uses, description]);
    }
    table
}

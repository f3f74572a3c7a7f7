//! `mainstay doctor`: what is wrong with this host and its masters, and how to mend it.

use std::io::Write;

use clap::Args;
use comfy_table::{Table, presets};

use super::options::ConfigOptions;
use super::running::Output;
use crate::doctor::{Endpoint, Finding, Grade, examine};
use crate::exit::Stop;

/// Look at this host and at the masters, and say how to mend what is wrong.
///
/// Looks at the ports, limits, kernel settings, files and directories that the balancer needs, and at
/// each master of the configuration: reachable, of the cluster, ready, with a certificate that holds
/// and has the balancer's name, and with the same time. Changes nothing. Ends with 1 if something
/// does not work; warnings alone end with 0.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  mainstay doctor\n  \
mainstay doctor --endpoint 192.168.122.170:6443 -o json")]
pub(super) struct Doctor {
    #[command(flatten)]
    options: ConfigOptions,

    /// The address under which clients reach this balancer; certificates of masters must have it
    /// [default: the address of this host on the way to the master].
    #[arg(long, value_name = "HOST[:PORT]")]
    endpoint: Option<Endpoint>,

    /// How the findings are shown.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (_, config) = self.options.load()?;
        let findings = examine(&config, self.endpoint.as_ref())?;
        let mut out = std::io::stdout().lock();
        match self.output {
            Output::Table => writeln!(out, "{}", table(&findings))?,
            Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?,
        }
        match findings.iter().filter(|finding| finding.grade == Grade::Fail).count() {
            0 => Ok(()),
            1 => Err(Stop::failed("1 check failed").into()),
            count => Err(Stop::failed(format!("{count} checks failed")).into()),
        }
    }
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["CHECK", "STATE", "FOUND", "WHAT TO DO"]);
    for finding in findings {
        let Finding { check, grade, found, fix } = finding;
        table.add_row([check.as_str(), grade.name(), found, fix]);
    }
    table
}

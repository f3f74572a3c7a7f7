//! `mainstay check`: what `serve` would do with this configuration.

use std::io::Write;

use clap::Args;

use super::options::ConfigOptions;
use crate::serve;

/// Widest value that the origins of the others stand behind: a single long one, such as a list of
/// backends, would push them all off the screen.
const COLUMN_MAX: usize = 60;

/// Check the configuration and print every value with where it was set.
///
/// Takes the flags of `mainstay serve`. The output is itself a valid configuration file. The files
/// that it names are read and the directories looked at, as this user; ports are not tried.
#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    options: ConfigOptions,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (layers, config) = self.options.load()?;
        let rows: Vec<_> = layers
            .iter()
            .map(|(key, setting)| (format!("{} = {}", key.name, setting.value), &setting.origin))
            .collect();
        let widths = rows.iter().map(|(row, _)| row.chars().count());
        let width = widths.filter(|width| *width <= COLUMN_MAX).max().unwrap_or_default();
        let mut out = std::io::stdout().lock();
        for (row, origin) in rows {
            writeln!(out, "{row:width$}  # {origin}")?;
        }
        serve::rehearse(&config)
    }
}

//! `mainstay events`: what the running balancer decided, and decides from now on.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;
use common::config::AdminAddr;
use common::events::Event;
use jiff::Timestamp;

use super::running::{Output, RunningOptions};
use crate::admin::client;
use crate::admin::follow::{Said, follow};

/// Time between two attempts to reach a balancer that went away.
const RETRY: Duration = Duration::from_secs(1);

/// Show what the balancer decided: changes of state, of members and of the port, drains, reloads.
///
/// The balancer keeps the last 512 decisions since its start. With --follow further ones are shown as
/// they are made, also over a restart of the balancer, until you press Ctrl-C. Times are UTC.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay events --follow --last 20")]
pub(super) struct Events {
    /// Go on with what is decided from now on.
    #[arg(long, short)]
    follow: bool,

    /// Show only so many of those that are kept.
    #[arg(long, short = 'n', value_name = "COUNT")]
    last: Option<usize>,

    /// Lines for people, or one JSON object a line for machines.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,

    #[command(flatten)]
    running: RunningOptions,
}

impl Events {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let admin = self.running.admin()?;
        let body = client::get(&admin, "/v1/events?follow=false")?;
        let kept: Vec<Event> = serde_json::from_slice(&body)?;
        let skipped = kept.len().saturating_sub(self.last.unwrap_or(usize::MAX));
        for event in kept.iter().skip(skipped) {
            self.show(event)?;
        }
        if self.follow {
            return self.go_on(&admin, kept.last().map_or(0, |event| event.id));
        }
        Ok(())
    }

    /// Follows for ever; ends with an error only if the output is gone.
    fn go_on(&self, admin: &AdminAddr, seen: u64) -> anyhow::Result<()> {
        let mut mark: Option<String> = None;
        loop {
            let mut shown = Ok(());
            let from = mark.clone();
            let ended = follow(admin, false, from.as_deref(), |said| {
                let Said::Event { mark: new, event } = said else {
                    return ControlFlow::Continue(());
                };
                // The first stream begins with those that are kept, which were shown already.
                if mark.is_some() || event.id > seen {
                    shown = self.show(&event);
                }
                mark = Some(new);
                if shown.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            shown?;
            let reason = ended.err().map_or_else(|| "it closed".to_owned(), |e| format!("{e:#}"));
            writeln!(std::io::stderr(), "no events from {admin}: {reason}; trying again")?;
            std::thread::sleep(RETRY);
        }
    }

    fn show(&self, event: &Event) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match self.output {
            Output::Json => writeln!(out, "{}", serde_json::to_string(event)?)?,
            Output::Table => writeln!(out, "{}", line(event))?,
        }
        Ok(())
    }
}

/// `2026-11-25T17:12:03Z  backend_down  master-1  UP to DEAD: …`
fn line(event: &Event) -> String {
    let about = event.about.as_deref().unwrap_or("-");
    format!("{}  {:<18}  {about:<12}  {}", at(event.unix_ms), event.kind, event.text)
}

/// `2026-11-25T17:12:03Z`
pub(super) fn at(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::events::{EventKind, Level};

    #[test]
    fn a_line_for_people() {
        let mut event = Event {
            id: 1,
            unix_ms: 1_795_626_723_999,
            kind: EventKind::BackendDown,
            level: Level::Bad,
            about: Some("master-1".into()),
            text: "UP to DEAD: refused (2 refused probes in a row)".into(),
        };
        let expected = "2026-11-25T17:12:03Z  backend_down        master-1      UP to DEAD: refused (2 refused probes in a row)";
        assert_eq!(line(&event), expected);
        event.about = None;
        event.unix_ms = u64::MAX;
        assert!(line(&event).starts_with("-  backend_down        -   "), "{}", line(&event));
    }
}

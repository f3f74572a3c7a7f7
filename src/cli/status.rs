//! `mainstay status`: what the running balancer does.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use common::duration;
use common::status::{BackendStatus, Status};

use super::running::{Output, RunningOptions};
use crate::admin::client;
use crate::exit::{Exit, Stop};
use crate::units::{answer_time, bytes, share};

/// Show the backends and where connections go.
#[derive(Args, Debug)]
pub(super) struct StatusCommand {
    #[command(flatten)]
    running: RunningOptions,

    /// A table for people or JSON for machines.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
}

impl StatusCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let body = client::get(&self.running.admin()?, "/v1/status")?;
        let mut out = std::io::stdout().lock();
        match self.output {
            Output::Json => out.write_all(&body)?,
            Output::Table => {
                let status: Status = serde_json::from_slice(&body).map_err(|error| {
                    Stop::new(Exit::Failed, format!("the answer is no status of Mainstay: {error}"))
                })?;
                write!(out, "{}", page(&status))?;
            }
        }
        Ok(())
    }
}

/// The whole screen.
fn page(status: &Status) -> String {
    let up = duration::age(Duration::from_secs(status.uptime_seconds));
    let port = if status.listening { "open" } else { "closed" };
    let ready = if status.ready { "ready" } else { "not ready" };
    let mut page = format!(
        "mainstay {} ({})  pid {}  up {up}  {ready}\n{} {port}  connections {} of {}  accepted {}\n",
        status.version,
        status.commit,
        status.pid,
        status.listen.join(" "),
        status.connections.open,
        status.connections.limit,
        status.connections.accepted_total,
    );
    if status.kubernetes.on {
        page.push_str(&format!("kubernetes {}\n", status.kubernetes.sentence()));
    }
    if status.backends.is_empty() {
        page.push_str("\nNo backend: the port is closed. Add one with `backends` or --backend.\n");
    } else {
        page.push_str(&format!("\n{}\n", backends(&status.backends)));
    }
    page
}

fn backends(rows: &[BackendStatus]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "NAME", "ADDRESS", "SOURCE", "STATE", "CONNS", "SHARE", "TOTAL", "FAILED", "RECEIVED",
        "SENT", "ANSWER", "AGE", "WHY",
    ]);
    for index in 4..12 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let all: u64 = rows.iter().map(|row| row.connections).sum();
    for row in rows {
        table.add_row([
            row.name.clone(),
            row.addr.clone(),
            row.source.to_string(),
            row.state.name().to_owned(),
            row.connections.to_string(),
            share(row.connections, all),
            row.connections_total.to_string(),
            row.dial_failures_total.to_string(),
            bytes(row.received_bytes),
            bytes(row.sent_bytes),
            answer_time(row.answer_us),
            duration::age(Duration::from_secs(row.age_seconds)),
            row.why.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Source;
    use common::drain::StopPhase;
    use common::status::{BackendState, ConnectionStatus, KubernetesStatus};

    #[test]
    fn the_whole_screen() {
        let backend = |name: &str, state, why: &str| BackendStatus {
            name: name.into(),
            addr: "10.0.0.11:6443".into(),
            source: Source::Static,
            state,
            why: why.into(),
            connections: 5,
            connections_total: 120,
            dial_failures_total: 0,
            received_bytes: 2048,
            sent_bytes: 10,
            age_seconds: 3700,
            answer_us: Some(2345),
        };
        let mut status = Status {
            version: "0.1.0".into(),
            commit: "abc".into(),
            pid: 7,
            uptime_seconds: 61,
            phase: StopPhase::Serving,
            ready: true,
            listen: vec!["[::]:6443".into()],
            listening: true,
            generation: 1,
            connections: ConnectionStatus {
                open: 10,
                limit: 100,
                accepted_total: 9,
                ..Default::default()
            },
            backends: vec![
                backend("master-0", BackendState::Up, "accepts connections"),
                backend("m1", BackendState::Skipped, "2 failed dials in a row, next try in 1s"),
            ],
            kubernetes: KubernetesStatus::default(),
            coordinator: None,
        };
        let shown: Vec<String> = page(&status).lines().map(|l| l.trim_end().to_owned()).collect();
        let expected = [
            "mainstay 0.1.0 (abc)  pid 7  up 1m  ready",
            "[::]:6443 open  connections 10 of 100  accepted 9",
            "",
            " NAME      ADDRESS         SOURCE  STATE    CONNS  SHARE  TOTAL  FAILED  RECEIVED  SENT  ANSWER  AGE  WHY",
            " master-0  10.0.0.11:6443  static  UP           5    50%    120       0   2.0 KiB  10 B  2.3 ms   1h  accepts connections",
            " m1        10.0.0.11:6443  static  SKIPPED      5    50%    120       0   2.0 KiB  10 B  2.3 ms   1h  2 failed dials in a row, next try in 1s",
        ];
        assert_eq!(shown, expected);
        status.kubernetes = KubernetesStatus { on: true, ..KubernetesStatus::default() };
        let shown = page(&status);
        let third = shown.lines().nth(2).unwrap();
        assert_eq!(third, format!("kubernetes {}", status.kubernetes.sentence()));
        status.backends.clear();
        assert!(page(&status).contains("No backend: the port is closed."));
    }
}

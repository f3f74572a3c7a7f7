//! `mainstay why`: what made a backend what it is, and what would change it.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use common::duration::age;
use common::status::Explanation;

use super::running::{Output, RunningOptions};
use crate::admin::client;
use crate::units::answer_time;

/// Say why a backend is in its state and what would end it.
#[derive(Args, Debug)]
pub(super) struct Why {
    /// Name of the backend, as `mainstay status` shows it.
    name: String,

    /// Sentences for people or JSON for machines.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,

    #[command(flatten)]
    running: RunningOptions,
}

impl Why {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let path = super::member_path(&self.name, None)?;
        let body = client::get(&self.running.admin()?, &path)?;
        let mut out = std::io::stdout().lock();
        if self.output == Output::Json {
            out.write_all(&body)?;
        } else {
            let answer: Explanation = serde_json::from_slice(&body)?;
            write!(out, "{}", page(&answer))?;
        }
        Ok(())
    }
}

fn page(answer: &Explanation) -> String {
    let ago = |seconds| age(Duration::from_secs(seconds));
    let backend = &answer.backend;
    let mut page = format!(
        "{} ({}) is {} since {}\n",
        backend.name,
        backend.addr,
        backend.state.name(),
        ago(answer.since_seconds)
    );
    page.push_str(&format!("because     {}\n", backend.why));
    if let Some(probe) = &answer.last_probe {
        page.push_str(&format!("last probe  {probe}\n"));
    }
    if backend.answer_us.is_some() {
        let took = answer_time(backend.answer_us);
        page.push_str(&format!("last answer {took}\n"));
    }
    page.push_str(&format!("ends with   {}\n", answer.clears));
    if !answer.history.is_empty() {
        page.push_str("\nthe last changes:\n");
    }
    for change in answer.history.iter().rev() {
        let when = ago(change.seconds_ago);
        page.push_str(&format!(
            "  {when:>4} ago  {:>7} -> {:<7}  {} ({})\n",
            change.from, change.to, change.signal, change.rule
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Source;
    use common::status::{BackendState, BackendStatus, Change};

    #[test]
    fn the_whole_screen() {
        let backend = BackendStatus {
            name: "master-1".into(),
            addr: "10.0.0.12:6443".into(),
            source: Source::Static,
            state: BackendState::Dead,
            why: "the connection was refused, reset or unreachable".into(),
            connections: 0,
            connections_total: 9,
            dial_failures_total: 1,
            received_bytes: 0,
            sent_bytes: 0,
            age_seconds: 100,
            answer_us: Some(2345),
        };
        let change = |seconds_ago, from: &str, to: &str, rule: &str| Change {
            seconds_ago,
            from: from.into(),
            to: to.into(),
            signal: "seen".into(),
            rule: rule.into(),
        };
        let answer = Explanation {
            backend,
            since_seconds: 12,
            clears: "2 good probes in a row".into(),
            last_probe: Some("refused".into()),
            history: vec![
                change(90, "PENDING", "UP", "2 good probes in a row"),
                change(12, "UP", "DEAD", "2 refused probes in a row"),
            ],
        };
        let expected = "\
master-1 (10.0.0.12:6443) is DEAD since 12s
because     the connection was refused, reset or unreachable
last probe  refused
last answer 2.3 ms
ends with   2 good probes in a row

the last changes:
   12s ago       UP -> DEAD     seen (2 refused probes in a row)
    1m ago  PENDING -> UP       seen (2 good probes in a row)
";
        assert_eq!(page(&answer), expected);
    }
}

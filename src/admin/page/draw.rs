//! Draws the changing parts of the page as HTML. The page's script draws the same ones; the browser
//! test compares what both show.

use std::sync::Arc;
use std::time::Duration;

use common::coordinator::CoordinatorStatus;
use common::drain::StopPhase;
use common::duration::age;
use common::events::{Event, Level};
use common::status::{BackendState, BackendStatus, Status};
use jiff::Timestamp;

use super::escaped;
use crate::units::{answer_time, bytes, share};

/// Decisions that are drawn; the others are at `/v1/events`.
const DECISIONS_MAX: usize = 100;

/// What is drawn.
pub(super) struct Drawing<'a> {
    pub(super) status: &'a Status,
    pub(super) events: &'a [Arc<Event>],
}

impl Drawing<'_> {
    /// The HTML for a place of the template.
    pub(super) fn place(&self, name: &str) -> String {
        let status = self.status;
        match name {
            "title" => escaped(&self.title()),
            "ready" => escaped(&self.ready().1),
            "ready_class" => self.ready().0.to_owned(),
            "build" => {
                escaped(&format!("{} ({}), pid {}", status.version, status.commit, status.pid))
            }
            "listen" => {
                let closed = if status.listening { "" } else { " (closed)" };
                escaped(&(status.listen.join(" ") + closed))
            }
            "connections" => format!("{} of {}", status.connections.open, status.connections.limit),
            "bytes" => {
                let sum = |of: fn(&BackendStatus) -> u64| status.backends.iter().map(of).sum();
                let (received, sent) = (sum(|row| row.received_bytes), sum(|row| row.sent_bytes));
                format!("{}, {} in all", bytes(received), bytes(sent))
            }
            "kubernetes" => escaped(&status.kubernetes.sentence()),
            "uptime" => age(Duration::from_secs(status.uptime_seconds)),
            "backends" => backends(&status.backends),
            "coordinator" => status.coordinator.as_ref().map(coordinator).unwrap_or_default(),
            "decisions" => decisions(self.events),
            _ => String::new(),
        }
    }

    fn title(&self) -> String {
        let rows = &self.status.backends;
        let up = rows.iter().filter(|row| row.state == BackendState::Up).count();
        let mark = if self.status.ready { "" } else { "✕ " };
        format!("{mark}{up} of {} UP – Mainstay", rows.len())
    }

    fn ready(&self) -> (&'static str, String) {
        match self.status.phase {
            StopPhase::Serving if self.status.ready => ("good", "ready".to_owned()),
            StopPhase::Serving => ("bad", "not ready".to_owned()),
            phase => ("warning", format!("stopping: {}", phase.label())),
        }
    }
}

fn badge(class: &str, text: &str) -> String {
    format!("<span class=\"badge {class}\">{}</span>", escaped(text))
}

fn state(state: BackendState) -> String {
    let (class, sign) = match state {
        BackendState::Up => ("good", "✓"),
        BackendState::Pending => ("info", "…"),
        BackendState::Removed => ("info", "–"),
        BackendState::Skipped => ("warning", "!"),
        BackendState::Drain => ("warning", "↓"),
        BackendState::Suspect => ("warning", "?"),
        BackendState::Frozen | BackendState::Dead => ("bad", "✕"),
    };
    badge(class, &format!("{sign} {}", state.name()))
}

/// One column: its head, and the class of its cells.
type Column = (&'static str, &'static str);

const BACKENDS: [Column; 10] = [
    ("Backend", ""),
    ("State", "state"),
    ("Connections", "number"),
    ("Share", "number"),
    ("New/s", "number"),
    ("Answer", "number"),
    ("Received/s", "number"),
    ("Sent/s", "number"),
    ("Last minute", "trend"),
    ("Why", "why"),
];

fn backends(rows: &[BackendStatus]) -> String {
    if rows.is_empty() {
        let text = "No backend: the port is closed. Add one with `backends` or --backend.";
        return format!("<p class=\"empty\">{text}</p>");
    }
    let all = rows.iter().map(|row| row.connections).sum();
    let drawn = rows.iter().map(|row| {
        vec![
            named(&row.name, &format!("{} · {}", row.addr, row.source)),
            state(row.state),
            row.connections.to_string(),
            share(row.connections, all),
            format!("{} in all", row.connections_total),
            answer_time(row.answer_us),
            format!("{} in all", bytes(row.received_bytes)),
            format!("{} in all", bytes(row.sent_bytes)),
            "–".to_owned(),
            escaped(&row.why),
        ]
    });
    table("Backends", &BACKENDS, drawn.collect())
}

fn named(name: &str, more: &str) -> String {
    format!("{}<small>{}</small>", escaped(name), escaped(more))
}

/// A table whose cells are HTML already.
fn table(label: &str, columns: &[Column], rows: Vec<Vec<String>>) -> String {
    let mut html = format!(
        "<table class=\"cards\" role=\"table\" aria-label=\"{label}\"><thead role=\"rowgroup\"><tr role=\"row\">"
    );
    for (head, class) in columns {
        html.push_str(&format!(
            "<th scope=\"col\" role=\"columnheader\" class=\"{class}\">{head}</th>"
        ));
    }
    html.push_str("</tr></thead><tbody role=\"rowgroup\">");
    for row in rows {
        html.push_str("<tr role=\"row\">");
        for (index, (cell, (head, class))) in row.iter().zip(columns).enumerate() {
            html.push_str(&if index == 0 {
                format!("<th scope=\"row\" role=\"rowheader\">{cell}</th>")
            } else {
                format!("<td role=\"cell\" class=\"{class}\" data-label=\"{head}\">{cell}</td>")
            });
        }
        html.push_str("</tr>");
    }
    html + "</tbody></table>"
}

fn section(title: &str, columns: &[Column], rows: Vec<Vec<String>>, none: &str) -> String {
    let id = title.to_lowercase();
    let content = if rows.is_empty() {
        format!("<p class=\"empty\">{none}</p>")
    } else {
        table(title, columns, rows)
    };
    format!("<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2>{content}</section>")
}

/// A time that is left.
fn left(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), |seconds| age(Duration::from_secs(seconds)))
}

fn coordinator(known: &CoordinatorStatus) -> String {
    let joins = known.joins.iter().map(|join| {
        let since = age(Duration::from_secs(join.seconds));
        vec![escaped(&join.name), escaped(&join.step), since, left(join.seconds_left)]
    });
    let members = known.members.iter().map(|member| {
        let class = if member.missing { "bad" } else { "good" };
        let heard = member.heartbeat_seconds_ago.map(|ago| age(Duration::from_secs(ago)) + " ago");
        let heard = badge(class, &heard.unwrap_or_else(|| "none yet".to_owned()));
        vec![named(&member.name, &member.addr), escaped(&member.life), heard]
    });
    let tickets = known.tickets.iter().map(|ticket| {
        let uses = ticket.uses_left.map_or_else(|| "any".to_owned(), |uses| uses.to_string());
        vec![named(&ticket.id, &ticket.description), left(ticket.seconds_left), uses]
    });
    let certificates = known
        .certificates
        .iter()
        .map(|certificate| vec![escaped(&certificate.name), ends(certificate.seconds_left)]);
    let join_columns = [("Machine", ""), ("Step", ""), ("Since", ""), ("Time left", "")];
    let member_columns = [("Member", ""), ("Life", ""), ("Heartbeat", "")];
    let ticket_columns = [("Ticket", ""), ("Ends in", ""), ("Uses left", "")];
    let certificate_columns = [("Certificate", ""), ("Ends in", "")];
    section("Joins", &join_columns, joins.collect(), "Nobody joins.")
        + &section("Members", &member_columns, members.collect(), "Nobody has registered.")
        + &section("Tickets", &ticket_columns, tickets.collect(), "No ticket is good.")
        + &section("Certificates", &certificate_columns, certificates.collect(), "None.")
}

/// The end of a certificate: worth a look in its last week.
fn ends(seconds_left: i64) -> String {
    match u64::try_from(seconds_left) {
        Err(_) => badge("bad", "ended"),
        Ok(seconds) if seconds < 7 * 86_400 => badge("warning", &left(Some(seconds))),
        Ok(seconds) => badge("good", &left(Some(seconds))),
    }
}

fn decisions(events: &[Arc<Event>]) -> String {
    let mut html = "<ol class=\"decisions\" tabindex=\"0\" aria-labelledby=\"decided\">".to_owned();
    for event in events.iter().rev().take(DECISIONS_MAX) {
        let at =
            i64::try_from(event.unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let at = at.map(|at| at.to_string()).unwrap_or_default();
        let clock = at.get(11..19).unwrap_or_default();
        let class = match event.level {
            Level::Info => "info",
            Level::Good => "good",
            Level::Warning => "warning",
            Level::Bad => "bad",
        };
        let kind = badge(class, &event.kind.label().replace('_', " "));
        let about = event.about.as_ref().map(|about| escaped(about) + ": ").unwrap_or_default();
        html.push_str(&format!(
            "<li><time datetime=\"{at}\">{clock}</time><span>{kind}</span><p><strong>{about}</strong>{}</p></li>",
            escaped(&event.text)
        ));
    }
    html + "</ol>"
}

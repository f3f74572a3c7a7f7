//! Draws what `mainstay top` knows.

use std::time::Duration;

use common::coordinator::CoordinatorStatus;
use common::duration::age;
use common::events::{Event, Level};
use common::status::{BackendState, BackendStatus, Status};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use super::model::Model;
use crate::cli::events::at;
use crate::units::{answer_time, bytes, share};

/// Points of a trend that are drawn.
const TREND: usize = 20;

/// The width from which all columns are drawn; on a narrower terminal the traffic is left out.
const WIDE: u16 = 110;

/// The heights of a bar in a trend, lowest first.
const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let rows = model.status.as_ref().map_or(0, |status| status.backends.len());
    let table = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2).max(3);
    let half = (frame.area().height / 2).max(3);
    let heads = model.status.as_ref().map_or(1, |status| lines(status, model).len());
    let [head, backends, detail, events, foot] = Layout::vertical([
        Constraint::Length(u16::try_from(heads).unwrap_or(1)),
        Constraint::Length(table.min(half)),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    match &model.status {
        Some(status) => {
            frame.render_widget(Paragraph::new(lines(status, model)), head);
            draw_backends(frame, backends, status, model);
        }
        None => frame.render_widget(Paragraph::new("waiting for the first status"), head),
    }
    frame.render_widget(Paragraph::new(chosen(model)), detail);
    draw_events(frame, events, model);
    frame.render_widget(Paragraph::new(foot_line(model)), foot);
}

fn colour(level: Level) -> Style {
    Style::new().fg(match level {
        Level::Good => Color::Green,
        Level::Warning => Color::Yellow,
        Level::Bad => Color::Red,
        // Blue cannot be read on most dark terminals.
        Level::Info => Color::Cyan,
    })
}

fn level_of(state: BackendState) -> Level {
    match state {
        BackendState::Up => Level::Good,
        BackendState::Pending | BackendState::Removed => Level::Info,
        BackendState::Skipped | BackendState::Drain | BackendState::Suspect => Level::Warning,
        BackendState::Frozen | BackendState::Dead => Level::Bad,
    }
}

/// The lines above the table.
fn lines(status: &Status, model: &Model) -> Vec<Line<'static>> {
    let up = age(Duration::from_secs(status.uptime_seconds));
    let (level, ready) = match (status.phase.label(), status.ready) {
        ("serving", true) => (Level::Good, "ready".to_owned()),
        ("serving", false) => (Level::Bad, "not ready".to_owned()),
        (phase, _) => (Level::Warning, format!("stopping: {phase}")),
    };
    let first = vec![
        Span::styled("mainstay", Style::new().add_modifier(Modifier::BOLD)),
        format!(" {} ({})  pid {}  up {up}  ", status.version, status.commit, status.pid).into(),
        Span::styled(ready, colour(level)),
    ];
    let port = if status.listening { "" } else { " (closed)" };
    let new = model.rate(|status| Some(status.connections.accepted_total));
    let second = format!(
        "{}{port}  connections {} of {}  new {}/s",
        status.listen.join(" "),
        status.connections.open,
        status.connections.limit,
        rate(new)
    );
    let mut all = vec![Line::from(first), Line::from(second)];
    all.extend(status.coordinator.as_ref().map(|known| Line::from(coordinator(known))));
    all.push(Line::default());
    all
}

/// One line of the coordinator's part: who joins, whose heartbeat is missing, what ends first.
fn coordinator(known: &CoordinatorStatus) -> String {
    let mut text = format!("registered {}", known.members.len());
    let missing = known.members.iter().filter(|member| member.missing);
    for member in missing {
        text.push_str(&format!("  no heartbeat of {}", member.name));
    }
    for join in &known.joins {
        text.push_str(&format!("  {} joins: {}", join.name, join.step));
    }
    text.push_str(&format!("  tickets {}", known.tickets.len()));
    let next = known.certificates.iter().min_by_key(|certificate| certificate.seconds_left);
    if let Some(next) = next {
        let ends = u64::try_from(next.seconds_left).map_or_else(
            |_| "has ended".to_owned(),
            |seconds| format!("ends in {}", age(Duration::from_secs(seconds))),
        );
        text.push_str(&format!("  certificate {} {ends}", next.name));
    }
    text
}

fn draw_backends(frame: &mut Frame<'_>, area: Rect, status: &Status, model: &Model) {
    if status.backends.is_empty() {
        let text = "No backend: the port is closed. Add one with `backends` or --backend.";
        return frame.render_widget(Paragraph::new(text), area);
    }
    let wide = area.width >= WIDE;
    let all = status.backends.iter().map(|row| row.connections).sum();
    let rows = status.backends.iter().map(|row| backend(row, all, model, wide));
    let names = status.backends.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let name = u16::try_from(names).unwrap_or(u16::MAX).clamp(8, 24);
    let mut widths = vec![name, 8, 6, 5, 6, 9];
    let mut heads = vec!["NAME", "STATE", " CONNS", "SHARE", " NEW/S", "   ANSWER"];
    if wide {
        widths.extend([11, 11, 20]);
        heads.extend([" RECEIVED/S", "     SENT/S", "LAST MINUTE"]);
    }
    heads.push("WHY");
    let widths = widths.into_iter().map(Constraint::Length).chain([Constraint::Min(10)]);
    let head = Row::new(heads).style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows, widths)
        .header(head)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(Some(model.chosen));
    frame.render_stateful_widget(table, area, &mut state);
}

fn backend(row: &BackendStatus, all: u64, model: &Model, wide: bool) -> Row<'static> {
    let new = model.rate_of(&row.name, |row| row.connections_total);
    let mut cells = vec![
        Cell::from(row.name.clone()),
        Cell::from(Span::styled(row.state.name(), colour(level_of(row.state)))),
        Cell::from(format!("{:>6}", row.connections)),
        Cell::from(format!("{:>5}", share(row.connections, all))),
        Cell::from(format!("{:>6}", rate(new))),
        Cell::from(format!("{:>9}", answer_time(row.answer_us))),
    ];
    if wide {
        let flow = |of| model.rate_of(&row.name, of).map_or_else(|| "-".to_owned(), whole_bytes);
        cells.push(Cell::from(format!("{:>11}", flow(|row| row.received_bytes))));
        cells.push(Cell::from(format!("{:>11}", flow(|row| row.sent_bytes))));
        cells.push(Cell::from(trend(&model.trend(&row.name))));
    }
    cells.push(Cell::from(row.why.clone()));
    Row::new(cells)
}

fn whole_bytes(rate: f64) -> String {
    // A rate of bytes is never negative, and far below 2^64.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    bytes(rate.round() as u64)
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))
}

/// Bars as high as the connections were, to the highest of them.
fn trend(points: &[u64]) -> String {
    let last = points.get(points.len().saturating_sub(TREND)..).unwrap_or_default();
    let most = last.iter().copied().max().unwrap_or(0).max(1);
    let bar = |point: &u64| {
        let height = usize::try_from(point.saturating_mul(7).div_ceil(most)).unwrap_or(0);
        BARS.get(height).copied().unwrap_or("█")
    };
    last.iter().map(bar).collect()
}

/// The row that is chosen, with what does not fit into the table.
fn chosen(model: &Model) -> Line<'static> {
    let text = model.chosen_row().map(|row| {
        let since = age(Duration::from_secs(row.age_seconds));
        format!("{}: {} ({}), known for {since}, {}", row.name, row.addr, row.source, row.why)
    });
    Line::styled(text.unwrap_or_default(), Style::new().add_modifier(Modifier::DIM))
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let room = usize::from(area.height).saturating_sub(1);
    let head = Line::styled("DECISIONS (UTC)", Style::new().add_modifier(Modifier::BOLD));
    let newest = model.events.iter().rev().take(room).map(event);
    let lines: Vec<Line<'_>> = std::iter::once(head).chain(newest).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn event(event: &Event) -> Line<'static> {
    let at = at(event.unix_ms);
    let clock = at.get(11..19).unwrap_or(&at);
    let about = event.about.as_ref().map(|about| format!("{about}: ")).unwrap_or_default();
    let kind = event.kind.label().replace('_', " ");
    Line::from(vec![
        Span::from(format!("{clock}  ")),
        Span::styled(format!("{kind:<18}  "), colour(event.level)),
        Span::styled(about, Style::new().add_modifier(Modifier::BOLD)),
        Span::from(event.text.clone()),
    ])
}

/// The question, what went wrong, or the keys.
fn foot_line(model: &Model) -> Line<'static> {
    let loud = Style::new().add_modifier(Modifier::REVERSED);
    if let Some(verb) = &model.question {
        let effect = match verb.name {
            "drain" => "no new connections; its sessions go on",
            _ => "it may get new connections again",
        };
        let text = format!(" {} {}? {effect}   y yes   any other key no ", verb.name, verb.backend);
        return Line::styled(text, loud);
    }
    if let Some(reason) = &model.lost {
        return Line::styled(format!(" not heard: {reason}; trying again   q quit "), loud);
    }
    if let Some(notice) = &model.notice {
        return Line::styled(format!(" {notice} "), loud);
    }
    Line::from(" ↑ ↓ choose   d drain   u undrain   q quit")
}

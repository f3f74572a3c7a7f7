//! The figures as the tables of `docs/chaos.md`.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::figures::Figures;
use crate::peer::Kind;
use crate::scenarios::Scenario;
use crate::storm::Storm;
use crate::vip::{LOSSES, Move};

/// The tables stand between these lines; everything else is written by hand.
const BEGIN: &str = "<!-- begin: written by `make chaos` -->\n";
const END: &str = "<!-- end: written by `make chaos` -->\n";

/// Writes the tables into the page.
pub(crate) fn write(
    rows: &[(&Scenario, Vec<(Kind, Figures)>)],
    moves: &[(Kind, Vec<Move>)],
    storms: &[Storm],
) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "docs/chaos.md"].iter().collect();
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let tables = scenarios(rows) + &moved(moves) + &storm(storms);
    std::fs::write(path, format!("{before}{BEGIN}\n{tables}\n{END}{after}")).unwrap();
}

fn scenarios(rows: &[(&Scenario, Vec<(Kind, Figures)>)]) -> String {
    let mut text = versions();
    text.push_str(
        "| scenario | balancer | failed new connections | slowest | cut needlessly \
         | lost sessions cut after | longest silence |\n|---|---|---|---|---|---|---|\n",
    );
    for (scenario, figures) in rows {
        for (index, (kind, figures)) in figures.iter().enumerate() {
            let name = match index {
                0 => format!("**{}**", scenario.name),
                1 => scenario.what.to_owned(),
                _ => String::new(),
            };
            let row = [
                name,
                kind.name().to_owned(),
                format!("{} of {}", figures.failed, figures.tried),
                seconds(figures.slowest),
                figures.needless.to_string(),
                cut(figures),
                seconds(figures.silence),
            ];
            writeln!(text, "| {} |", row.join(" | ")).unwrap();
        }
    }
    text
}

fn moved(moves: &[(Kind, Vec<Move>)]) -> String {
    if moves.is_empty() {
        return String::new();
    }
    let mut text = "\nTwo balancers with one address that keepalived moves, as `mainstay keepalived config` has it, \
                    and for the others as kubeadm's page has it:\n\n\
                    | lost | balancer | first connection through the other one | failed new connections \
                    | longest silence | failed while it came back |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for (index, loss) in LOSSES.iter().enumerate() {
        for (row, (kind, moves)) in moves.iter().enumerate() {
            let what = if row == 0 { format!("**{}**", loss.what) } else { String::new() };
            let moved = &moves[index];
            let back = if moved.back { ", the address goes back" } else { "" };
            let cells = [
                what,
                kind.name().to_owned(),
                seconds(moved.recovered),
                format!("{} of {}", moved.failed, moved.tried),
                seconds(moved.silence),
                format!("{}{back}", moved.failed_healing),
            ];
            writeln!(text, "| {} |", cells.join(" | ")).unwrap();
        }
    }
    text
}

fn storm(storms: &[Storm]) -> String {
    let Some(first) = storms.first() else { return String::new() };
    let clients = first.clients;
    let mut text = format!(
        "\n{clients} clients within a second, each trying again until it is served:\n\n\
         | balancer | served | attempts that failed | half are served after | the last after \
         | most in one second |\n|---|---|---|---|---|---|\n"
    );
    for one in storms {
        let name = one.kind.name();
        let (half, last) = (seconds(one.half), seconds(one.last));
        let (served, refused, busiest) = (one.served, one.refused, one.busiest);
        writeln!(text, "| {name} | {served} | {refused} | {half} | {last} | {busiest} |").unwrap();
    }
    text
}

fn cut(figures: &Figures) -> String {
    match (figures.lost, figures.left) {
        (0, _) => "none lost".to_owned(),
        (_, 0) => seconds(figures.cut_after),
        (lost, left) => format!("{left} of {lost} not cut"),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// What was compared.
fn versions() -> String {
    let said = |program: &str| {
        let output = Command::new(program).arg("-v").output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Some(text.lines().next()?.split(" - ").next()?.trim().to_owned())
    };
    let peers = ["/usr/sbin/nginx", "/usr/sbin/haproxy"].into_iter().filter_map(said);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let own = format!("Mainstay {} ({build})", env!("CARGO_PKG_VERSION"));
    let all: Vec<String> = std::iter::once(own).chain(peers).collect();
    format!("{}.\n\n", all.join(", "))
}

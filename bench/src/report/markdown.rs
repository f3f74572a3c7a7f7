//! The report as Markdown: for each part of the catalogue a table with a row for every scenario and
//! peer. A peer that could not be measured keeps its row and says why.

use std::fmt::Write as _;

use anyhow::Result;

use super::{
    medians::{self, Compared},
    short,
};
use crate::{
    peer::Peer,
    results::{Figure, PeerRecord, Results},
    scenario::{Group, Scenario},
};

/// A column: its heading, its figure, and whether the ratio to the best peer stands beside it.
type Column = (&'static str, Figure, bool);

const COUNTED: [Column; 8] = [
    ("requests/s", Figure::PerSecond, true),
    ("p50 µs", Figure::P50Micros, false),
    ("p99 µs", Figure::P99Micros, true),
    ("p999 µs", Figure::P999Micros, false),
    ("CPU µs/request", Figure::CpuMicrosPerRequest, true),
    ("switches/request", Figure::SwitchesPerRequest, false),
    ("calls/request", Figure::SyscallsPerRequest, false),
    ("resident", Figure::ResidentBytes, false),
];

const STREAMED: [Column; 5] = [
    ("GiB/s", Figure::GibPerSecond, true),
    ("CPU s/GiB", Figure::CpuSecondsPerGib, true),
    ("cores", Figure::CpuCores, false),
    ("calls/MiB", Figure::SyscallsPerMib, false),
    ("resident", Figure::ResidentBytes, false),
];

const IDLE: [Column; 3] = [
    ("bytes/session", Figure::ResidentBytesPerSession, true),
    ("descriptors/session", Figure::DescriptorsPerSession, false),
    ("resident", Figure::ResidentBytes, false),
];

const MIXED: [Column; 7] = [
    ("messages/s", Figure::PerSecond, false),
    ("event p50 µs", Figure::P50Micros, false),
    ("event p99 µs", Figure::P99Micros, true),
    ("call p50 µs", Figure::CallP50Micros, false),
    ("call p99 µs", Figure::CallP99Micros, true),
    ("cores", Figure::CpuCores, true),
    ("resident", Figure::ResidentBytes, false),
];

/// The parts of the report in their order.
const PARTS: [(Group, &str, &[Column]); 7] = [
    (Group::Exchange, "Request and response", &COUNTED),
    (Group::Connect, "Connect, request, close", &COUNTED),
    (Group::Open, "Fixed rate (latency from the moment a request was due)", &COUNTED),
    (Group::Bulk, "Streams", &STREAMED),
    (Group::Idle, "Quiet sessions", &IDLE),
    (Group::Kube, "Control-plane mix", &MIXED),
    (Group::Growth, "Beside established sessions", &COUNTED),
];

/// The whole report.
pub(super) fn render(results: &Results, pictures: &[String]) -> Result<String> {
    let mut text = heading(results)?;
    for (group, title, columns) in PARTS {
        let mut scenarios = Vec::new();
        for name in &results.scenarios {
            scenarios
                .extend(Some(Scenario::parse(name)?).filter(|scenario| scenario.group == group));
        }
        if !scenarios.is_empty() {
            write!(text, "\n## {title}\n\n{}", table(results, &scenarios, columns)?)?;
        }
    }
    for picture in pictures {
        write!(text, "\n![{picture}]({picture})\n")?;
    }
    Ok(text)
}

fn heading(results: &Results) -> Result<String> {
    let environment = &results.environment;
    let mut text = format!(
        "# Benchmark of {}\n\n{}, {} cores, Linux {}. {} rounds of {} s a cell, interleaved.\n\
         Each figure is the median of the rounds, with the smallest and largest behind it; `×` is \
         the ratio to the best of the peers (Mainstay and the direct connection are no peers).\n\n\
         | peer | version |\n|---|---|\n",
        environment.date,
        environment.processor,
        environment.cores,
        environment.kernel,
        environment.rounds,
        environment.seconds,
    );
    for PeerRecord { peer, version, missing } in &results.peers {
        let state = version.as_ref().or(missing.as_ref()).map_or("", String::as_str);
        writeln!(text, "| {peer} | {} |", in_a_cell(state))?;
    }
    Ok(text)
}

fn table(results: &Results, scenarios: &[Scenario], columns: &[Column]) -> Result<String> {
    let mut text = "| scenario | peer |".to_owned();
    for (heading, _, _) in columns {
        write!(text, " {heading} |")?;
    }
    writeln!(text, " errors |\n|---|---|{}---|", "---|".repeat(columns.len()))?;
    for scenario in scenarios {
        for record in &results.peers {
            let row = row(results, &scenario.name, record, columns);
            writeln!(text, "| {} | {} |{row}", scenario.name, record.peer)?;
        }
    }
    Ok(text)
}

fn row(results: &Results, scenario: &str, record: &PeerRecord, columns: &[Column]) -> String {
    let peer = record.peer;
    let fault = record.missing.as_deref().or_else(|| results.fault(scenario, peer));
    let cells: Vec<Option<String>> = columns
        .iter()
        .map(|(_, figure, compared)| figure_cell(results, scenario, peer, *figure, *compared))
        .collect();
    let blanks = " |".repeat(columns.len());
    if cells.iter().all(Option::is_none) {
        return format!("{} {} |", blanks, in_a_cell(fault.unwrap_or("not measured")));
    }
    let cells: String = cells
        .into_iter()
        .map(|cell| format!(" {} |", cell.unwrap_or_else(|| "–".to_owned())))
        .collect();
    let errors = results.spread(scenario, peer, Figure::Errors).map_or(0.0, |errors| errors.max);
    match fault {
        Some(fault) => format!("{cells} {errors} ({}) |", in_a_cell(fault)),
        None => format!("{cells} {errors} |"),
    }
}

fn figure_cell(
    results: &Results,
    scenario: &str,
    peer: Peer,
    figure: Figure,
    compared: bool,
) -> Option<String> {
    let Compared { spread, to_best_peer } = medians::compared(results, scenario, peer, figure)?;
    let mut cell = short(spread.median);
    if results.environment.rounds > 1 {
        cell = format!("{cell} ({}–{})", short(spread.min), short(spread.max));
    }
    if let Some(ratio) = to_best_peer.filter(|_| compared) {
        cell = format!("{cell} ×{ratio:.2}");
    }
    Some(cell)
}

/// Text that cannot break a table.
fn in_a_cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::{Cell, Environment};

    fn cell(round: usize, peer: Peer, per_second: f64) -> Cell {
        Cell {
            round,
            scenario: "rr-64x64".to_owned(),
            peer,
            fault: None,
            figures: BTreeMap::from([(Figure::PerSecond, per_second)]),
        }
    }

    fn record(peer: Peer, missing: Option<&str>) -> PeerRecord {
        let version = missing.is_none().then(|| "1.0".to_owned());
        PeerRecord { peer, version, missing: missing.map(str::to_owned) }
    }

    fn results() -> Results {
        Results {
            environment: Environment {
                date: "today".to_owned(),
                processor: "a processor".to_owned(),
                cores: 2,
                kernel: "6".to_owned(),
                command: Vec::new(),
                rounds: 2,
                seconds: 4.0,
            },
            peers: vec![
                record(Peer::Mainstay, None),
                record(Peer::Nginx, None),
                record(Peer::Haproxy, None),
                record(Peer::Envoy, Some("not installed: do this | or that")),
            ],
            scenarios: vec!["rr-64x64".to_owned()],
            cells: vec![
                cell(1, Peer::Mainstay, 110.0),
                cell(2, Peer::Mainstay, 130.0),
                cell(1, Peer::Nginx, 100.0),
                cell(1, Peer::Haproxy, 80.0),
            ],
        }
    }

    fn row_of(peer: &str) -> String {
        let text = render(&results(), &[]).unwrap();
        let beginning = format!("| rr-64x64 | {peer} |");
        text.lines().find(|line| line.starts_with(&beginning)).unwrap().to_owned()
    }

    #[test]
    fn a_median_stands_with_its_spread_and_ratio() {
        let row = row_of("mainstay");
        assert!(row.contains("| 120 (110–130) ×1.20 |"), "{row}");
    }

    #[test]
    fn the_best_peer_has_the_ratio_one() {
        assert!(row_of("nginx").contains("×1.00"));
        assert!(row_of("haproxy").contains("×0.80"));
    }

    #[test]
    fn a_missing_peer_keeps_its_row_and_the_table_its_shape() {
        let row = row_of("envoy");
        assert!(row.ends_with("not installed: do this / or that |"), "{row}");
        assert_eq!(row.matches('|').count(), row_of("nginx").matches('|').count());
    }
}

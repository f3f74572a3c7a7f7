//! A whole comparison. Rounds go over all scenarios and peers in turn (A B C D, A B C D), so that a
//! machine that is slow for a while is slow for everyone. Each cell starts its own backends and its
//! own proxy: none inherits another's memory, connections or ports.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    backend::BackendProcess,
    figures::{self, Figures},
    load::Load,
    peer::{Installed, Peer, PeerProcess},
    results::{Cell, Environment, Figure, PeerRecord, Results},
    scenario::{Scenario, Work},
    syscalls,
};

/// Sessions that must be up before memory is looked at have this long to come to rest.
const SETTLE: Duration = Duration::from_secs(1);

/// The part of a cell's length that runs before it counts, within limits.
const WARM_UP_SHARE: f64 = 0.25;
const WARM_UP_LIMITS: (f64, f64) = (0.1, 1.0);

/// How long system calls are counted.
const TRACED: Duration = Duration::from_secs(1);

/// What to compare.
pub(crate) struct Plan {
    pub(crate) peers: Vec<Peer>,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
    /// Count system calls as well.
    pub(crate) syscalls: bool,
}

/// Measures everything in `plan` and saves after each round.
pub(crate) async fn run(
    plan: &Plan,
    find: impl Fn(Peer) -> Result<Installed, String>,
    out: &Path,
) -> Result<Results> {
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let found: Vec<_> = plan.peers.iter().map(|peer| (*peer, find(*peer))).collect();
    let mut results = Results {
        environment: environment(plan),
        peers: found.iter().map(|(peer, found)| record(*peer, found)).collect(),
        scenarios: plan.scenarios.iter().map(|scenario| scenario.name.clone()).collect(),
        cells: Vec::new(),
    };
    for record in &results.peers {
        let state = record.missing.as_ref().or(record.version.as_ref());
        eprintln!("{:14} {}", record.peer, state.map_or("", String::as_str));
    }
    let installed: Vec<Installed> = found.into_iter().filter_map(|(_, found)| found.ok()).collect();
    for round in 1..=plan.rounds {
        for scenario in &plan.scenarios {
            for peer in &installed {
                let started = Instant::now();
                let cell = cell(round, scenario, peer, plan.length).await;
                say(&cell, plan.rounds, started.elapsed());
                results.cells.push(cell);
            }
        }
        results.save(out)?;
    }
    if plan.syscalls {
        count_syscalls(plan, &installed, out, &mut results).await;
        results.save(out)?;
    }
    Ok(results)
}

/// Adds the system calls to the cells of the first round: each is counted once, because a count
/// hardly varies.
async fn count_syscalls(plan: &Plan, installed: &[Installed], out: &Path, results: &mut Results) {
    for scenario in plan.scenarios.iter().filter(|scenario| scenario.work != Work::Idle) {
        for peer in installed.iter().filter(|peer| peer.program.is_some()) {
            let cell = results.cells.iter_mut().find(|cell| {
                cell.round == 1 && cell.scenario == scenario.name && cell.peer == peer.peer
            });
            match (traced(scenario, peer, out).await, cell) {
                (Ok(figures), Some(cell)) => cell.figures.extend(figures),
                (Err(error), _) => {
                    eprintln!("system calls: {} {}: {error:#}", scenario.name, peer.peer);
                }
                (Ok(_), None) => {}
            }
        }
    }
}

async fn traced(scenario: &Scenario, peer: &Installed, out: &Path) -> Result<Figures> {
    let backends = BackendProcess::start(scenario.needs_tls())?;
    let proxy = PeerProcess::start(peer, &backends).await?;
    let mut load = Load::start(scenario, &proxy.targets, threads(), backends.tls.as_ref()).await?;
    let table = out.join(format!("syscalls-{}-{}.txt", scenario.name, peer.peer));
    let count = syscalls::Count::start(&proxy.processes(), table)?;
    load.begin();
    tokio::time::sleep(TRACED).await;
    let measured = load.end();
    Ok(figures::syscalls(count.end()?, &measured, scenario.work))
}

async fn cell(round: usize, scenario: &Scenario, peer: &Installed, length: Duration) -> Cell {
    let (fault, figures) = match measure(scenario, peer, length).await {
        Ok((fault, figures)) => (fault, figures),
        Err(error) => (Some(format!("{error:#}")), BTreeMap::new()),
    };
    Cell { round, scenario: scenario.name.clone(), peer: peer.peer, fault, figures }
}

async fn measure(
    scenario: &Scenario,
    peer: &Installed,
    length: Duration,
) -> Result<(Option<String>, Figures)> {
    let backends = BackendProcess::start(scenario.needs_tls())?;
    let proxy = PeerProcess::start(peer, &backends).await?;
    let idle = proxy.usage()?;
    let mut load = Load::start(scenario, &proxy.targets, threads(), backends.tls.as_ref()).await?;
    let (warm_up, length) = match scenario.work {
        Work::Idle => (Duration::ZERO, SETTLE),
        _ => (warm_up(length), length),
    };
    tokio::time::sleep(warm_up).await;
    let before = proxy.usage()?;
    load.begin();
    tokio::time::sleep(length).await;
    let after = proxy.usage()?;
    let measured = load.end();
    let accounts = idle.zip(before).zip(after);
    let mut found = figures::throughput(&measured, scenario.work);
    if let Some(((idle, before), after)) = accounts {
        found.extend(figures::costs(&measured, &before, &after));
        found.extend(figures::memory(scenario, &idle, &after));
    }
    let fault = measured.fault.filter(|_| measured.errors > 0);
    Ok((fault, found))
}

fn warm_up(length: Duration) -> Duration {
    let (least, most) = WARM_UP_LIMITS;
    Duration::from_secs_f64((length.as_secs_f64() * WARM_UP_SHARE).clamp(least, most))
}

/// One thread of load for each processor.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn record(peer: Peer, found: &Result<Installed, String>) -> PeerRecord {
    let version = found.as_ref().ok().map(|installed| installed.version.clone());
    PeerRecord { peer, version, missing: found.as_ref().err().cloned() }
}

fn environment(plan: &Plan) -> Environment {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let processor =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Environment {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        processor: processor.map_or("unknown", |(_, name)| name).to_owned(),
        cores: threads(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        command: std::env::args().collect(),
        rounds: plan.rounds,
        seconds: plan.length.as_secs_f64(),
    }
}

/// One line a cell, so that a long run can be watched.
fn say(cell: &Cell, rounds: usize, took: Duration) {
    let figure = [Figure::PerSecond, Figure::GibPerSecond, Figure::ResidentBytesPerSession]
        .into_iter()
        .find_map(|figure| Some((figure, cell.figures.get(&figure)?)));
    let text = match (figure, &cell.fault) {
        (Some((figure, value)), None) => format!("{value:.1} {figure:?}"),
        (Some((figure, value)), Some(fault)) => {
            format!("{value:.1} {figure:?}, with errors: {fault}")
        }
        (None, fault) => fault.as_deref().unwrap_or("no figure").to_owned(),
    };
    eprintln!(
        "[{}/{rounds}] {:16} {:14} {text} ({:.1} s)",
        cell.round,
        cell.scenario,
        cell.peer,
        took.as_secs_f64()
    );
}

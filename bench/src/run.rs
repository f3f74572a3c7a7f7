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
    load::{Load, Measured},
    peer::{Installed, Peer, PeerProcess},
    results::{Cell, Environment, Figure, PeerRecord, Results},
    scenario::{Scenario, Work},
    syscalls,
    usage::Usage,
};

/// Sessions that must be up before memory is looked at have this long to come to rest.
const SETTLE: Duration = Duration::from_secs(1);

/// The part of a cell's length that runs before it counts, within limits.
const WARM_UP_SHARE: f64 = 0.25;
const WARM_UP_LIMITS: (f64, f64) = (0.1, 1.0);

/// How long system calls are counted.
const TRACED: Duration = Duration::from_secs(1);

const MIB: f64 = (1_u64 << 20) as f64;
const GIB: f64 = (1_u64 << 30) as f64;

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
        peers: found
            .iter()
            .map(|(peer, found)| record(*peer, found))
            .collect(),
        scenarios: plan
            .scenarios
            .iter()
            .map(|scenario| scenario.name.clone())
            .collect(),
        cells: Vec::new(),
    };
    for record in &results.peers {
        let state = record.missing.as_ref().or(record.version.as_ref());
        eprintln!("{:14} {}", record.peer, state.map_or("", String::as_str));
    }
    let installed: Vec<Installed> = found
        .into_iter()
        .filter_map(|(_, found)| found.ok())
        .collect();
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
    for scenario in plan
        .scenarios
        .iter()
        .filter(|scenario| scenario.work != Work::Idle)
    {
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
    let calls = count.end()? as f64;
    let mebibytes = measured.bytes as f64 / MIB;
    Ok(match scenario.work {
        Work::Bulk { .. } => [(Figure::SyscallsPerMib, calls / mebibytes)].into(),
        _ => [(
            Figure::SyscallsPerRequest,
            calls / measured.operations as f64,
        )]
        .into(),
    })
}

async fn cell(round: usize, scenario: &Scenario, peer: &Installed, length: Duration) -> Cell {
    let (fault, figures) = match measure(scenario, peer, length).await {
        Ok((fault, figures)) => (fault, figures),
        Err(error) => (Some(format!("{error:#}")), BTreeMap::new()),
    };
    Cell {
        round,
        scenario: scenario.name.clone(),
        peer: peer.peer,
        fault,
        figures,
    }
}

type Figures = BTreeMap<Figure, f64>;

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
    let mut figures = throughput(&measured, scenario.work);
    if let Some(((idle, before), after)) = accounts {
        figures.extend(costs(&measured, &before, &after));
        figures.extend(memory(scenario, &idle, &after));
    }
    let fault = measured.fault.filter(|_| measured.errors > 0);
    Ok((fault, figures))
}

fn warm_up(length: Duration) -> Duration {
    let (least, most) = WARM_UP_LIMITS;
    Duration::from_secs_f64((length.as_secs_f64() * WARM_UP_SHARE).clamp(least, most))
}

/// One thread of load for each processor.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What the clients saw.
pub(crate) fn throughput(measured: &Measured, work: Work) -> Figures {
    let mut figures = Figures::new();
    if work == Work::Idle || measured.seconds <= 0.0 {
        return figures;
    }
    figures.insert(Figure::Errors, measured.errors as f64);
    if matches!(work, Work::Bulk { .. }) {
        figures.insert(
            Figure::GibPerSecond,
            measured.bytes as f64 / GIB / measured.seconds,
        );
        return figures;
    }
    figures.insert(
        Figure::PerSecond,
        measured.operations as f64 / measured.seconds,
    );
    for (figure, latencies, quantile) in [
        (Figure::P50Micros, &measured.latencies, 0.5),
        (Figure::P99Micros, &measured.latencies, 0.99),
        (Figure::P999Micros, &measured.latencies, 0.999),
        (Figure::CallP50Micros, &measured.calls, 0.5),
        (Figure::CallP99Micros, &measured.calls, 0.99),
    ] {
        if let Some(latencies) = latencies.as_ref().filter(|latencies| !latencies.is_empty()) {
            figures.insert(
                figure,
                latencies.value_at_quantile(quantile) as f64 / 1000.0,
            );
        }
    }
    figures
}

/// What the proxy spent.
fn costs(measured: &Measured, before: &Usage, after: &Usage) -> Figures {
    let ticks = after.cpu_ticks.saturating_sub(before.cpu_ticks);
    let cpu = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    let switches = after.switches.saturating_sub(before.switches) as f64;
    let operations = measured.operations as f64;
    let gibs = measured.bytes as f64 / GIB;
    let mut figures = Figures::new();
    figures.insert(Figure::CpuCores, cpu / measured.seconds);
    figures.insert(Figure::ResidentBytes, after.resident_bytes as f64);
    if operations > 0.0 {
        figures.insert(Figure::CpuMicrosPerRequest, cpu * 1e6 / operations);
        figures.insert(Figure::SwitchesPerRequest, switches / operations);
    } else if gibs > 0.0 {
        figures.insert(Figure::CpuSecondsPerGib, cpu / gibs);
    }
    figures
}

/// What each quiet session added.
fn memory(scenario: &Scenario, idle: &Usage, after: &Usage) -> Figures {
    if scenario.work != Work::Idle {
        return Figures::new();
    }
    let per_session =
        |before: u64, after: u64| (after as f64 - before as f64) / scenario.background as f64;
    Figures::from([
        (
            Figure::ResidentBytesPerSession,
            per_session(idle.resident_bytes, after.resident_bytes),
        ),
        (
            Figure::DescriptorsPerSession,
            per_session(idle.descriptors, after.descriptors),
        ),
    ])
}

fn record(peer: Peer, found: &Result<Installed, String>) -> PeerRecord {
    let version = found
        .as_ref()
        .ok()
        .map(|installed| installed.version.clone());
    PeerRecord {
        peer,
        version,
        missing: found.as_ref().err().cloned(),
    }
}

fn environment(plan: &Plan) -> Environment {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Environment {
        date: jiff::Timestamp::now()
            .strftime("%Y-%m-%d %H:%M UTC")
            .to_string(),
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
    let figure = [
        Figure::PerSecond,
        Figure::GibPerSecond,
        Figure::ResidentBytesPerSession,
    ]
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

//! Measures Mainstay beside its peers, on one machine and in one run, so that "faster than what you
//! use today" is a command and not a claim.

mod backend;
mod cli;
mod figures;
mod load;
mod peer;
mod ports;
mod report;
mod results;
mod run;
mod scenario;
mod stats;
mod syscalls;
mod threads;
mod tls;
mod usage;
mod wire;

use std::{future::Future, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{Cli, Command, LoadArguments, RunArguments},
    load::Load,
    results::Results,
    run::Plan,
    scenario::Scenario,
};

fn main() -> ExitCode {
    match execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mainstay-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute() -> Result<()> {
    peer::raise_descriptor_limit().context("raising the limit of descriptors")?;
    match Cli::parse().command {
        Command::Run(arguments) => until_interrupted(compare(arguments)),
        Command::Load(arguments) => until_interrupted(load(arguments)),
        Command::Report { dir } => report::write(&Results::load(&dir)?, &dir),
        Command::Backend { threads, tls } => {
            backend::serve(threads.unwrap_or_else(run::threads), tls)
        }
        Command::Scenarios => list_scenarios(),
    }
}

/// Runs `work`, and drops it on the first signal: whatever it has started ends by being dropped.
fn until_interrupted(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = work => result,
            result = tokio::signal::ctrl_c() => bail!("interrupted {}", result.map_or("", |()| "by hand")),
            _ = terminate.recv() => bail!("asked to end"),
        }
    })
}

async fn compare(arguments: RunArguments) -> Result<()> {
    let plan = Plan {
        peers: arguments.peers,
        scenarios: Scenario::select(&arguments.scenarios)?,
        rounds: arguments.rounds,
        length: arguments.seconds,
        syscalls: arguments.syscalls,
    };
    let find = |peer: peer::Peer| peer.find(arguments.mainstay.as_deref(), &arguments.mainstay_arg);
    let results = run::run(&plan, find, &arguments.out).await?;
    report::write(&results, &arguments.out)
}

async fn load(arguments: LoadArguments) -> Result<()> {
    let scenario = Scenario::parse(&arguments.scenario)?;
    let mut load = Load::start(&scenario, &arguments.targets, run::threads(), None).await?;
    load.begin();
    tokio::time::sleep(arguments.seconds).await;
    let measured = load.end();
    let figures = figures::throughput(&measured, scenario.work);
    println!("{}", serde_json::to_string_pretty(&figures)?);
    if let Some(fault) = measured.fault.filter(|_| measured.errors > 0) {
        bail!("{} errors, the first: {fault}", measured.errors);
    }
    Ok(())
}

fn list_scenarios() -> Result<()> {
    for scenario in Scenario::select(&[])? {
        println!("{:16} {scenario}", scenario.name);
    }
    Ok(())
}

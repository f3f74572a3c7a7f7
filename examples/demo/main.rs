//! The whole story on one machine, in memory: the real balancer, which knows no master at first, and
//! three stand-in masters that register themselves.
//!
//! `make demo` runs it until Ctrl-C, `ONCE=1 make demo` goes through the story once and ends with 0
//! if no request failed. In reading order: [`story`] tells what happens, [`membership`] registers the
//! masters ([`master`], HTTPS servers in this process) with the balancer ([`balancer`], the program
//! itself as a child process), [`traffic`] sends requests through it, and [`show`] draws where the
//! connections go.

mod story;

mod balancer;
mod certificates;
mod client;
mod logs;
mod master;
mod membership;
mod traffic;

mod screen;
mod show;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use balancer::Balancer;
use certificates::DemoCa;
use client::Client;
use master::Master;
use membership::Membership;
use screen::Screen;
use show::Show;
use story::Story;
use traffic::Traffic;

/// As many as a control plane usually has.
const MASTERS: usize = 3;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; true if no request failed.
fn run() -> anyhow::Result<bool> {
    let once = std::env::var_os("ONCE").is_some_and(|value| value != "0" && !value.is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(play(once))
}

/// Builds the stage, plays the story on it, and takes everything down again.
async fn play(once: bool) -> anyhow::Result<bool> {
    let ca = DemoCa::new()?;
    let dir = tempfile::Builder::new()
        .prefix("mainstay-demo-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let ca_file = dir.path().join("ca.crt");
    std::fs::write(&ca_file, ca.pem())?;
    let mut masters = Vec::new();
    for number in 0..MASTERS {
        let mut master = Master::new(format!("master-{number}"), &ca)?;
        master.revive()?;
        masters.push(master);
    }

    let screen = Arc::new(Screen::new());
    let mut balancer = Balancer::start(dir.path(), &screen).await?;
    let traffic = Traffic::new(Client::new(balancer.listen, ca.client_config()?));
    let members = Membership::new(balancer.ticket().await?, ca.pem());
    let show = Show::new(&screen, balancer.admin, traffic.counts());
    let mut story = Story::new(&screen, masters, &members, &traffic, &balancer);
    story.introduce();
    let played = tokio::select! {
        played = story.play(&ca_file, once) => played.map(|()| true),
        shown = show.run() => shown.map(|()| false),
        signal = interrupted() => signal.map(|()| false),
    };

    screen.say("Stopping: the traffic first, then the agents, then the balancer.");
    traffic.stop().await;
    members.stop().await;
    let ended = balancer.stop().await;
    screen.close();
    let told = played?;
    ended?;
    Ok(story::verdict(&screen, &traffic, told))
}

/// Resolves when the user wants an end. Cancel-safe.
async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

//! `mainstay agent`: the process around `bootstrap::agent`.

use std::path::PathBuf;

use bootstrap::agent::{self, Ended, Master};
use bootstrap::identity::{AgentDir, LockKind};
use common::Tasks;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::dir_failed;
use super::service;
use crate::exit::{Exit, Stop};

/// How the agent runs.
#[derive(Clone, Debug)]
pub(crate) struct AgentSettings {
    /// Where the identity is.
    pub(crate) state_dir: PathBuf,
    /// kubeadm's files.
    pub(crate) master: Master,
    /// Say "draining" at every stop, not only when the machine goes down.
    pub(crate) drain_on_stop: bool,
}

/// Runs until a signal, or until this machine leaves.
pub(crate) fn run(settings: AgentSettings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(attend(settings))
}

async fn attend(settings: AgentSettings) -> anyhow::Result<()> {
    let dir = AgentDir::at(&settings.state_dir);
    let path = settings.state_dir.display();
    let none = || {
        let sentence = format!("{path} holds no identity: this machine is no member yet");
        Stop::new(
            Exit::Unavailable,
            format!("{sentence}; run `mainstay init`, `join` or `register`"),
        )
    };
    if !dir.path().is_dir() {
        return Err(none().into());
    }
    let _lock = dir.lock(LockKind::Agent).map_err(|error| dir_failed(&error))?;
    let identity = dir.load().map_err(|error| dir_failed(&error))?.ok_or_else(none)?;
    info!(name = identity.name, state_dir = %path, "the agent starts");
    let tasks = Tasks::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    notify(NotifyState::Ready);
    let running = agent::run(dir.clone(), settings.master, &tasks);
    let ended = tokio::select! {
        ended = running => Some(ended.map_err(|error| dir_failed(&error))?),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    notify(NotifyState::Stopping);
    tasks.stop();
    if ended == Some(Ended::Left) {
        info!("this machine has left; the agent has nothing more to do");
        return Ok(());
    }
    if settings.drain_on_stop || service::machine_stops() {
        let heard = agent::say_draining(&dir).await.map_err(|error| dir_failed(&error))?;
        info!(coordinators = heard, "said that this machine goes down");
    }
    tasks.finished().await;
    info!("the agent stopped");
    Ok(())
}

/// Tells systemd, if it started us.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

//! The commands of a master: `init`, `join`, `register`, `leave` and `agent`.
//!
//! What is to be done is planned in `bootstrap::plan`, what is said to the coordinators in
//! `bootstrap::client` and `bootstrap::agent`; here it is carried out, with a person watching.

mod agent;
mod confirm;
mod init;
mod join;
mod kubeadm;
mod leave;
mod network;
mod progress;
mod register;
mod rotation;
mod service;
mod settings;
mod station;
mod turn;
mod work;

pub(crate) use agent::{AgentSettings, run as run_agent};
pub(crate) use init::{InitSettings, run as run_init};
pub(crate) use join::run as run_join;
pub(crate) use leave::{LeaveSettings, run as run_leave};
pub(crate) use network::is_node_name;
pub(crate) use register::run as run_register;
pub(crate) use settings::{KubeadmSettings, MasterSettings};

use std::time::Duration;

use bootstrap::agent::RegisterError;
use bootstrap::client::{Backoff, ClientError, Failure};
use bootstrap::identity::DirError;
use common::Tasks;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, Stop};

/// The exit code for a coordinator's failure.
fn client_exit(error: &ClientError) -> Exit {
    match &error.failure {
        Failure::NobodyListens
        | Failure::Name { .. }
        | Failure::NoRoute { .. }
        | Failure::Silent { .. } => Exit::Unavailable,
        _ if error.is_denied() || error.status().is_some_and(|code| code.as_u16() == 409) => {
            Exit::Refused
        }
        _ if error.may_work_later() => Exit::TryAgain,
        _ => Exit::Failed,
    }
}

/// The end of a command because of a coordinator.
fn client_failed(error: &ClientError) -> Stop {
    Stop::new(client_exit(error), error)
}

/// As [`client_failed`], for a registration.
fn register_failed(error: &RegisterError) -> Stop {
    let exit = match error {
        RegisterError::Client(error) => client_exit(error),
        RegisterError::Dir(error) => return dir_failed(error),
        _ => Exit::Failed,
    };
    Stop::new(exit, error)
}

/// The end of a command because of the state directory.
fn dir_failed(error: &DirError) -> Stop {
    match error {
        _ if error.is_denied() => {
            Stop::new(Exit::Refused, format!("{error}; run as root, or give --state-dir"))
        }
        DirError::Busy { .. } => Stop::new(Exit::TryAgain, error),
        _ => Stop::failed(error),
    }
}

/// The end of a command because of a signal.
fn interrupted(what_stays: &str) -> Stop {
    Stop::failed(format!("interrupted; {what_stays}"))
}

/// A runtime for one command, and tasks that are stopped by Ctrl-C and SIGTERM.
fn command<F: Future<Output = anyhow::Result<()>>>(
    work: impl FnOnce(Tasks) -> F,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let tasks = Tasks::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stopper = tasks.clone();
        tasks.spawn_until_stopped("signals", async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stopper.stop();
        });
        let done = work(tasks.clone()).await;
        tasks.stop();
        done
    })
}

/// Repeats a call while it may work later, for `limit` at most.
async fn patiently<T, F: Future<Output = Result<T, ClientError>>>(
    limit: Duration,
    tasks: &Tasks,
    mut call: impl FnMut() -> F,
) -> Result<T, ClientError> {
    let mut backoff = Backoff::default();
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        let error = match call().await {
            Err(error) if error.may_work_later() => error,
            settled => return settled,
        };
        let wait = backoff.failed(error.retry_after(), fastrand::f64());
        if tokio::time::Instant::now() + wait > deadline {
            return Err(error);
        }
        tokio::select! {
            () = tasks.stopping() => return Err(error),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

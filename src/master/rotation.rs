//! Waits until the balancer has a new master in rotation.

use std::time::Duration;

use bootstrap::client::JoinClient;
use bootstrap::protocol::Heartbeat;
use common::Tasks;
use tokio::time::Instant;

use super::progress::Progress;
use super::turn::{PACE, patience};
use super::{client_failed, interrupted, patiently};
use crate::exit::{Exit, Stop};

/// Longest wait for the rotation: a coordinator's own limit for a new apiserver is 6 minutes.
const ROTATION_MAX: Duration = Duration::from_secs(420);

/// Waits until the balancer has this master in rotation.
pub(crate) async fn rotation(
    client: &JoinClient,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + ROTATION_MAX;
    let mut seen: Option<String> = None;
    loop {
        let heartbeat = Heartbeat { seen: seen.clone(), ..Heartbeat::default() };
        let answer = tokio::select! {
            biased;
            () = tasks.stopping() => {
                return Err(interrupted("this machine is a master; see `mainstay status`").into());
            }
            answer = patiently(patience(1), tasks, || client.heartbeat(&heartbeat)) => answer,
        };
        let answer = answer.map_err(|error| client_failed(&error))?;
        if answer.state == "UP" {
            return Ok(());
        }
        let state = if answer.state.is_empty() { "not known" } else { answer.state.as_str() };
        let text = format!("The balancer waits for this master: {state}, {}", answer.why);
        if Instant::now() > deadline {
            return Err(Stop::new(Exit::TryAgain, format!("not in rotation yet. {text}")).into());
        }
        progress.waits(&text);
        seen = Some(answer.state);
        tokio::time::sleep(PACE).await;
    }
}

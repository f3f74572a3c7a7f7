//! `mainstay upgrade`: hand the running balancer over to a new process of the program on the disk.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use common::config::AdminAddr;
use common::status::{TookOver, Upgrade};

use super::running::RunningOptions;
use crate::admin::client;
use crate::exit::{Exit, Stop};

/// Longest wait for the end: longer than the balancer gives itself.
const WAIT_MAX: Duration = Duration::from_secs(90);

/// Longest time without any answer: for a moment nobody may answer, as the one process is leaving and
/// the other one begins, but that one has prepared everything before. Twice what one answer may take.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Time between two questions.
const STEP: Duration = Duration::from_millis(100);

/// Put the program on the disk into use without cutting a connection.
///
/// The running balancer starts the program anew, with the same arguments, and hands it the ports, all
/// established sessions, counts and health. If the new process refuses or fails, the old one goes on
/// and this command says why. Needs the unix socket of the balancer or the token in its state
/// directory. SIGUSR2 does the same.
#[derive(Args, Debug)]
pub(super) struct UpgradeCommand {
    #[command(flatten)]
    running: RunningOptions,
}

impl UpgradeCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let admin = self.running.admin()?;
        let token = self.running.token(&admin)?;
        let before: Upgrade = serde_json::from_slice(&client::get(&admin, "/v1/upgrade")?)?;
        client::post(&admin, "/v1/upgrade", token.as_ref())?;
        let (now, took_over) = wait(&admin, &before)?;
        let TookOver { from_pid, sessions, paused_ms } = took_over;
        let noun = if sessions == 1 { "session" } else { "sessions" };
        writeln!(
            std::io::stdout(),
            "process {} ({}) took over {sessions} {noun} from process {from_pid}; they stood still for {paused_ms}ms",
            now.pid,
            now.version
        )?;
        Ok(())
    }
}

/// Shows each stage on stderr until the hand-over is done.
fn wait(admin: &AdminAddr, before: &Upgrade) -> anyhow::Result<(Upgrade, TookOver)> {
    let begun = Instant::now();
    let mut heard = begun;
    let mut shown = None;
    while begun.elapsed() < WAIT_MAX {
        if let Ok(body) = client::get(admin, "/v1/upgrade") {
            heard = Instant::now();
            let now: Upgrade = serde_json::from_slice(&body)?;
            let took_over = now.took_over.clone().filter(|took| took.from_pid == before.pid);
            if let Some(took_over) = took_over {
                return Ok((now, took_over));
            }
            if now.failed > before.failed {
                let reason = now.reason.unwrap_or_default();
                return Err(
                    Stop::failed(format!("the balancer goes on as before: {reason}")).into()
                );
            }
            if now.stage != shown {
                if let Some(stage) = &now.stage {
                    writeln!(std::io::stderr(), "{stage} …")?;
                }
                shown = now.stage;
            }
        } else if heard.elapsed() >= SILENCE_MAX {
            let sentence = format!(
                "nobody has answered at {admin} for 10s: the balancer has stopped or hangs; its log says more"
            );
            return Err(Stop::new(Exit::Unavailable, sentence).into());
        }
        std::thread::sleep(STEP);
    }
    let sentence = "no end of the hand-over within 90s; `mainstay status` and the log say more";
    Err(Stop::new(Exit::Unavailable, sentence).into())
}

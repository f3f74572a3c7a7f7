//! What the old process says to the new one.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context;
use lb::balancer::Predecessor;
use lb::handover::{Departure, Estate, PortSockets};
use lb::health::Command;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::super::channel::Channel;
use super::super::frame::{BATCH, Frame, Offer, lent};
use super::{Attempt, DECIDE_MAX, FOLLOW_STEP, MOVE_MAX};

/// Sends the sessions, some at a time.
pub(super) async fn send_sessions(
    channel: &mut Channel,
    departure: &Departure,
) -> std::io::Result<()> {
    let mut parcels = departure.parcels();
    loop {
        let batch: Vec<_> = parcels.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(());
        }
        channel.say_sessions(batch).await?;
    }
}

impl Attempt<'_> {
    pub(super) async fn offer(&mut self) -> anyhow::Result<()> {
        let balancer = self.report.balancer();
        let mut handles = vec![self.mint.reader()?];
        for passed in &self.giver.passed {
            handles.push(passed.socket.try_clone()?);
        }
        let offer = Offer {
            pid: std::process::id(),
            predecessor: Predecessor {
                workers: balancer.worker_count(),
                now: balancer.now(),
                listen: balancer.listen().to_vec(),
            },
            fixed: self.giver.fixed.clone(),
            sockets: self.giver.passed.iter().map(|passed| passed.name.to_owned()).collect(),
        };
        Ok(self.channel.say(&Frame::Offer(offer), &lent(&handles)).await?)
    }

    /// Lets everything stand still and sends it.
    pub(super) async fn move_all(&mut self) -> anyhow::Result<()> {
        self.report.desk().enter("sessions move");
        self.deadline = Instant::now() + MOVE_MAX;
        let moved = timeout_at(self.deadline, self.move_in_time()).await;
        moved.with_context(|| format!("it did not take the sessions within {MOVE_MAX:?}"))?
    }

    async fn move_in_time(&mut self) -> anyhow::Result<()> {
        let balancer = Arc::clone(self.report.balancer());
        let (answer, answered) = oneshot::channel();
        let (resume, resumed) = oneshot::channel();
        let pause = Command::Pause { answer, resume: resumed };
        self.report.keeper().commands.send(pause).await?;
        self.resume = Some(resume);
        let keeper = answered.await?;
        let since = Instant::now();
        self.departure = balancer.stand_still().await;
        let ports = balancer.port_sockets()?;
        self.estate = Estate {
            ports: ports.iter().map(PortSockets::record).collect(),
            wards: keeper.wards,
            rebalancer: keeper.rebalancer,
            ..balancer.estate()
        };
        let frame = Frame::Estate {
            estate: Box::new(self.estate.clone()),
            program: self.report.program_record(),
            standing_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let sockets: Vec<OwnedFd> = ports.into_iter().flat_map(|port| port.sockets).collect();
        self.channel.say(&frame, &lent(&sockets)).await?;
        // Lent, not taken: when the time is over this stops at any await, and they must go on here.
        send_sessions(&mut self.channel, &self.departure).await?;
        let sessions = self.departure.len();
        Ok(self.channel.say(&Frame::All { sessions }, &[]).await?)
    }

    pub(super) async fn decide(&mut self) -> anyhow::Result<()> {
        self.deadline = Instant::now() + DECIDE_MAX;
        self.mint.put()?;
        Ok(self.channel.say(&Frame::Yours, &[]).await?)
    }

    /// What was counted since, for whoever still listens, and that it is for the new process to stop
    /// if this one was asked to.
    ///
    /// Said, and not passed on as a signal: the new process may have got one itself, of the terminal or
    /// of a service manager that takes it for the main process already, and a second one would cut the
    /// sessions that the first one drains.
    pub(super) async fn part(&mut self) -> anyhow::Result<()> {
        let later = Box::new(self.report.balancer().estate().since(&self.estate));
        let bye = Frame::Bye { later, stop: self.stop_requested };
        // A new process that is gone cannot count, and one that stands still need not.
        let said = timeout(FOLLOW_STEP, self.channel.say(&bye, &[])).await;
        if let Ok(Err(error)) = &said {
            warn!(%error, "hand-over: last counts lost");
        }
        if self.stop_requested && !matches!(said, Ok(Ok(()))) {
            // It does not hear. Sooner cut than not stopped; it fails only if it has ended.
            kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        }
        Ok(())
    }
}

//! What the program knows of itself, gathered once for status, readiness and metrics, so that they
//! never disagree.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use bootstrap::remembered::{Remembered, worth_keeping};
use common::MembershipFeed;
use common::drain::StopPhase;
use common::duration;
use common::status::{
    BackendState, BackendStatus, Change, ConnectionStatus, Explanation, Rebalancing, Status,
    TookOver,
};
use lb::clock::Millis;
use lb::health::keeper::KeeperHandle;
use lb::health::{Command, MemberHealth, State, Transition};
use lb::{Backend, Balancer};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::limits::Limits;
use crate::serve::handover::{Desk, ProgramRecord};
use crate::serve::{Cluster, Join};
use crate::telemetry::{COMMIT, VERSION};

/// Where members come from, as far as it is reported.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The file of an earlier run's members; none without a state directory.
    pub(crate) remembered: Option<Remembered>,
    /// The cluster itself.
    pub(crate) cluster: Arc<Cluster>,
    /// What all sources say together.
    pub(crate) members: MembershipFeed,
}

/// The running program, to be asked by the admin endpoint.
#[derive(Debug)]
pub(crate) struct Report {
    balancer: Arc<Balancer>,
    keeper: KeeperHandle,
    pub(super) sources: Sources,
    started: Instant,
    pub(super) started_at: SystemTime,
    phase: Mutex<StopPhase>,
    pub(super) reloads_applied: AtomicU64,
    pub(super) reloads_refused: AtomicU64,
    pub(super) limits: Limits,
    desk: Desk,
    join: OnceLock<Arc<Join>>,
}

impl Report {
    pub(crate) fn new(balancer: Arc<Balancer>, keeper: KeeperHandle, sources: Sources) -> Self {
        Self {
            balancer,
            keeper,
            sources,
            started: Instant::now(),
            started_at: SystemTime::now(),
            phase: Mutex::new(StopPhase::Serving),
            reloads_applied: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            limits: Limits::default(),
            desk: Desk::default(),
            join: OnceLock::new(),
        }
    }

    /// Goes on with what another process counted.
    pub(crate) fn inherit(&self, record: &ProgramRecord, took_over: TookOver) {
        self.reloads_applied.fetch_add(record.reloads_applied, Ordering::Relaxed);
        self.reloads_refused.fetch_add(record.reloads_refused, Ordering::Relaxed);
        self.desk.took_over(record, took_over);
    }

    /// What another process goes on with.
    pub(crate) fn program_record(&self) -> ProgramRecord {
        let (handovers_done, handovers_failed) = self.desk.counts();
        ProgramRecord {
            reloads_applied: self.reloads_applied.load(Ordering::Relaxed),
            reloads_refused: self.reloads_refused.load(Ordering::Relaxed),
            handovers_done,
            handovers_failed,
            journal: self.balancer.journal().record(),
            members: worth_keeping(&self.sources.members.borrow().members),
        }
    }

    /// Where hand-overs are asked for.
    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// The keeper of the pool.
    pub(crate) fn keeper(&self) -> &KeeperHandle {
        &self.keeper
    }

    /// The coordinator runs; said once.
    pub(crate) fn joins(&self, join: Arc<Join>) {
        // A second one would be a mistake of ours; the first stays.
        self.join.set(join).ok();
    }

    /// The coordinator, if one runs.
    pub(crate) fn join(&self) -> Option<&Arc<Join>> {
        self.join.get()
    }

    /// The balancer that is reported on.
    pub(crate) fn balancer(&self) -> &Arc<Balancer> {
        &self.balancer
    }

    /// Notes the phase of a stop.
    pub(crate) fn enter(&self, phase: StopPhase) {
        *self.phase.lock() = phase;
    }

    /// The health of every member.
    pub(super) fn health(&self) -> Arc<Vec<MemberHealth>> {
        Arc::clone(&self.keeper.health.borrow())
    }

    /// Why the member of this name is in its state.
    pub(super) fn explain(&self, name: &str) -> Option<Explanation> {
        let now = self.balancer.now();
        let health = self.health();
        let member = health.iter().find(|member| member.backend.member.name == name)?;
        Some(Explanation {
            backend: member_status(member, now),
            since_seconds: now.since(member.judge.since()).as_secs(),
            clears: member.judge.clears().to_owned(),
            last_probe: member.judge.last().map(|outcome| outcome.to_string()),
            history: member.judge.history().map(|change| shown(change, now)).collect(),
        })
    }

    /// Drains a member or takes that back; whether there is one of this name.
    pub(super) async fn drain(
        &self,
        name: String,
        drained: bool,
        over: Option<Duration>,
    ) -> anyhow::Result<bool> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Drain { name, drained, over, answer };
        self.keeper.commands.send(command).await.context("the keeper of the pool has ended")?;
        answered.await.context("the keeper of the pool has ended")
    }

    /// Moves load, or says what that would do.
    pub(super) async fn rebalance(&self, act: bool) -> anyhow::Result<Rebalancing> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Rebalance { act, answer };
        self.keeper.commands.send(command).await.context("the keeper of the pool has ended")?;
        answered.await.context("the keeper of the pool has ended")
    }

    /// The queues to the keeper: name, messages that wait, most that may.
    pub(super) fn queues(&self) -> [(&'static str, usize, usize); 2] {
        let (reports, commands) = (&self.keeper.reports, &self.keeper.commands);
        [
            ("health_reports", waiting(reports), reports.max_capacity()),
            ("health_commands", waiting(commands), commands.max_capacity()),
        ]
    }

    pub(crate) fn phase(&self) -> StopPhase {
        *self.phase.lock()
    }

    /// Notes the outcome of a reload.
    pub(crate) fn reloaded(&self, applied: bool) {
        let count = if applied { &self.reloads_applied } else { &self.reloads_refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a new connection would be served: we do not stop, the port is open, and some backend
    /// has not failed a moment ago.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        if self.phase() != StopPhase::Serving {
            return Err("stopping");
        }
        if !self.balancer.listening() {
            return Err("no backend serves, the port is closed");
        }
        let (now, set) = (self.balancer.now(), self.balancer.pool().snapshot());
        if !set.serves() {
            return Err("no backend serves");
        }
        if !set.has_usable(now) {
            return Err("every backend failed a moment ago");
        }
        Ok(())
    }

    /// Everything.
    pub(crate) fn status(&self) -> Status {
        let now = self.balancer.now();
        let set = self.balancer.pool().snapshot();
        let retired = self.balancer.pool().retired();
        let health = self.health();
        let members = health.iter().map(|member| member_status(member, now));
        let removed = retired.iter().map(|backend| removed_status(backend, now));
        Status {
            version: VERSION.to_owned(),
            commit: COMMIT.to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            phase: self.phase(),
            ready: self.ready().is_ok(),
            listen: self.balancer.listen().iter().map(ToString::to_string).collect(),
            listening: self.balancer.listening(),
            generation: set.generation,
            connections: self.connections(),
            backends: members.chain(removed).collect(),
            kubernetes: self.sources.cluster.kubernetes(),
            coordinator: self.join().map(|join| join.status()),
        }
    }

    fn connections(&self) -> ConnectionStatus {
        let closed = self.balancer.closes().iter().filter(|(_, count)| *count > 0);
        ConnectionStatus {
            open: self.balancer.open_connections() as u64,
            limit: self.balancer.connection_limit() as u64,
            accepted_total: self.balancer.accepted(),
            closed_total: closed.map(|(reason, n)| (reason.label().to_owned(), n)).collect(),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn waiting<T>(queue: &mpsc::Sender<T>) -> usize {
    queue.max_capacity().saturating_sub(queue.capacity())
}

/// The state that is shown, which also says when connections pass a backend over for a moment.
pub(super) fn state_of(member: &MemberHealth, now: Millis) -> BackendState {
    match member.judge.state() {
        State::Up if member.backend.refusals().skipped(now) => BackendState::Skipped,
        State::Up => BackendState::Up,
        State::Pending => BackendState::Pending,
        State::Drain => BackendState::Drain,
        State::Suspect => BackendState::Suspect,
        State::Frozen => BackendState::Frozen,
        State::Dead => BackendState::Dead,
    }
}

fn member_status(member: &MemberHealth, now: Millis) -> BackendStatus {
    let state = state_of(member, now);
    let why = match (state, member.judge.history().last()) {
        (BackendState::Skipped, _) => skipped(&member.backend, now),
        (_, Some(change)) => change.signal.clone(),
        (_, None) => member
            .judge
            .last()
            .map_or_else(|| "not probed yet".to_owned(), |outcome| outcome.to_string()),
    };
    status_of(&member.backend, now, state, why)
}

fn skipped(backend: &Backend, now: Millis) -> String {
    let refusals = backend.refusals();
    let (failures, wait) = (refusals.in_a_row(), refusals.skip_until().since(now));
    let dials = if failures == 1 { "dial" } else { "dials" };
    format!("{failures} failed {dials} in a row, next try in {}", duration::exact(wait))
}

fn shown(change: &Transition, now: Millis) -> Change {
    Change {
        seconds_ago: now.since(change.at).as_secs(),
        from: change.from.name().to_owned(),
        to: change.to.name().to_owned(),
        signal: change.signal.clone(),
        rule: change.threshold.to_string(),
    }
}

fn removed_status(backend: &Backend, now: Millis) -> BackendStatus {
    let why = "no member any more; its sessions go on".to_owned();
    status_of(backend, now, BackendState::Removed, why)
}

fn status_of(backend: &Backend, now: Millis, state: BackendState, why: String) -> BackendStatus {
    BackendStatus {
        name: backend.member.name.clone(),
        addr: backend.member.addr.to_string(),
        source: backend.member.source,
        state,
        why,
        connections: u64::from(backend.load()),
        connections_total: backend.connections(),
        dial_failures_total: backend.failures().map(|(_, count)| count).sum(),
        received_bytes: backend.received(),
        sent_bytes: backend.sent(),
        age_seconds: now.since(backend.since).as_secs(),
        answer_us: backend.measures().last_answer().map(micros),
    }
}

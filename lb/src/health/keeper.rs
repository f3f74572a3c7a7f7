//! The one task that decides what backends may get: it follows the membership, hears the probes and
//! the operator, and publishes the result as one snapshot.
//!
//! What follows from a verdict is done here too: sessions of a dead backend are cut, and the port is
//! closed when nobody serves. It runs on the control thread; the data path only reads the snapshot.

mod command;
mod drain;
mod leaving;
mod load;
mod notes;
mod record;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use common::{Membership, MembershipFeed, Tasks};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

pub use command::Command;
pub use record::KeeperRecord;

use super::prober::{ProbeMethod, Report, probe_loop};
use super::{HealthJudge, Outcome, Rank, State, Transition};
use crate::backend::Backend;
use crate::balancer::Balancer;
use crate::clock::Millis;
use crate::close_reason::CloseReason;
use crate::handover::WardRecord;
use crate::pool::{BackendSet, Entry};
use crate::rebalance::Rebalancer;
use crate::slow_start;
use notes::Cause;

/// Reports that may wait; each prober has one at most, so this is room for all of them.
const REPORTS_MAX: usize = common::member::MEMBERS_MAX;

/// Commands that may wait: operators are few.
const COMMANDS_MAX: usize = 16;

/// Time between two looks at what only time changes.
const TICK: Duration = Duration::from_millis(250);

/// Time without any backend that serves after which the port is closed: a restart of the last
/// master must not flap it.
const CLOSE_AFTER: Duration = Duration::from_secs(1);

/// The health of one member, for people.
#[derive(Clone, Debug)]
pub struct MemberHealth {
    /// Its backend.
    pub backend: Arc<Backend>,
    /// What is known of it.
    pub judge: HealthJudge,
}

/// The health of all members: one writer, any number of readers.
pub type HealthFeed = watch::Receiver<Arc<Vec<MemberHealth>>>;

/// A member with its judge and its prober.
struct Ward {
    backend: Arc<Backend>,
    judge: HealthJudge,
    slow_start: Option<Millis>,
    /// Until when its sessions are closed, if it is drained over a time.
    emptied_by: Option<Millis>,
    state: watch::Sender<State>,
    prober: Tasks,
}

impl Ward {
    fn entry(&self) -> Entry {
        Entry {
            backend: Arc::clone(&self.backend),
            rank: self.judge.rank(),
            slow_start: self.slow_start,
        }
    }
}

/// The keeper of the pool.
pub struct Keeper {
    balancer: Arc<Balancer>,
    method: ProbeMethod,
    /// Whether the port stays open while nobody serves.
    listen_when_empty: bool,
    generation: u64,
    /// Memberships of the processes before.
    earlier: u64,
    wards: Vec<Ward>,
    /// Who was a member before, while nobody else can serve yet.
    leaving: Vec<Entry>,
    idle_since: Option<Millis>,
    /// Why the port could not be opened or closed at the last try; each reason is logged once.
    port_failure: Option<String>,
    rebalancer: Rebalancer,
    last_second: Millis,
    tasks: Tasks,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    commands: mpsc::Receiver<Command>,
    health: watch::Sender<Arc<Vec<MemberHealth>>>,
    /// What another process knew of the members, and until when it is worth something.
    inherited: (Vec<WardRecord>, Millis),
}

/// The keeper's other ends.
#[derive(Clone, Debug)]
pub struct KeeperHandle {
    /// For operators and reloads.
    pub commands: mpsc::Sender<Command>,
    /// Its own inbox for reports; only how full it is is of interest.
    pub reports: mpsc::Sender<Report>,
    /// For status and `why`.
    pub health: HealthFeed,
}

impl Keeper {
    /// A keeper without members; its probers run in `tasks`.
    #[must_use]
    pub fn new(
        balancer: Arc<Balancer>,
        method: ProbeMethod,
        listen_when_empty: bool,
        tasks: Tasks,
    ) -> (Self, KeeperHandle) {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (health, feed) = watch::channel(Arc::default());
        let keeper = Self {
            balancer,
            method,
            listen_when_empty,
            generation: 0,
            earlier: 0,
            wards: Vec::new(),
            leaving: Vec::new(),
            idle_since: None,
            port_failure: None,
            rebalancer: Rebalancer::default(),
            last_second: Millis::default(),
            tasks,
            reports: mpsc::channel(REPORTS_MAX),
            commands,
            health,
            inherited: (Vec::new(), Millis::default()),
        };
        let reports = keeper.reports.0.clone();
        (keeper, KeeperHandle { commands: sender, reports, health: feed })
    }

    /// Keeps the pool until it is dropped. Cancel-safe.
    pub async fn run(mut self, mut feed: MembershipFeed) {
        let first = Arc::clone(&feed.borrow_and_update());
        self.follow(&first);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = feed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let membership = Arc::clone(&feed.borrow_and_update());
                    self.follow(&membership);
                }
                Some(report) = self.reports.1.recv() => survived(|| self.hear(&report)),
                Some(command) = self.commands.recv() => self.obey(command).await,
                _ = tick.tick() => survived(|| self.let_time_pass()),
            }
        }
    }

    /// Takes over a new membership. Members that stay keep their judges.
    fn follow(&mut self, membership: &Membership) {
        let now = self.balancer.now();
        let backends = self.balancer.pool().backends_of(membership, now);
        let mut old = std::mem::take(&mut self.wards);
        let mut added = Vec::new();
        for backend in backends {
            let known = old.iter().position(|ward| ward.backend.member.addr == backend.member.addr);
            let ward = match known {
                Some(at) => Ward { backend, ..old.swap_remove(at) },
                None => {
                    added.push(backend.member.name.clone());
                    self.new_ward(backend, now)
                }
            };
            self.wards.push(ward);
        }
        old.iter().for_each(|ward| ward.prober.stop());
        self.let_leave(&old);
        self.generation = self.earlier.saturating_add(membership.generation);
        info!(generation = self.generation, members = self.wards.len(), "membership applied");
        self.note_membership(&added, &old);
        self.publish();
    }

    fn new_ward(&self, backend: Arc<Backend>, now: Millis) -> Ward {
        let (records, until) = &self.inherited;
        let fits = |record: &&WardRecord| record.addr == backend.member.addr && now < *until;
        let known = records.iter().find(fits);
        let judge = known.map_or_else(|| HealthJudge::new(now), |record| record.judge.clone());
        let (state, feed) = watch::channel(judge.state());
        let prober = self.tasks.child();
        self.start_prober(&prober, &backend, feed);
        let slow_start = known.and_then(|record| record.slow_start);
        let emptied_by = known.and_then(|record| record.emptied_by);
        Ward { backend, judge, slow_start, emptied_by, state, prober }
    }

    fn start_prober(&self, prober: &Tasks, backend: &Arc<Backend>, feed: watch::Receiver<State>) {
        let probing = probe_loop(
            Arc::clone(backend),
            self.method.clone(),
            feed,
            self.reports.0.clone(),
            prober.child(),
        );
        prober.spawn_until_stopped("prober", probing);
    }

    /// Takes note of what a probe saw.
    fn hear(&mut self, report: &Report) {
        let now = self.balancer.now();
        let alone = !self.wards.iter().any(|ward| ward.judge.rank() != Rank::Never);
        let Some(ward) = self.ward(report.addr) else {
            return;
        };
        if report.outcome == Outcome::Alive && ward.judge.last() != Some(Outcome::Alive) {
            let backend = &ward.backend.member.name;
            warn!(
                backend,
                "alive, but it does not tell us whether it is ready: 401, 403 or 404; allow anonymous GET /readyz or give the probes a client certificate"
            );
        }
        let before = ward.judge.rank();
        let transition = ward.judge.observe(report.outcome, now, alone);
        let moved = ward.judge.rank() != before;
        let gone = ward.judge.state().cuts() && ward.backend.load() > 0;
        if gone {
            let (backend, state) = (Arc::clone(&ward.backend), ward.judge.state());
            self.cut(&backend, state);
        }
        match transition {
            Some(transition) => self.turn(report.addr, &transition, Cause::Seen),
            // Silence and a closed port change what it may get without a change of state.
            None if moved || !self.leaving.is_empty() => self.publish(),
            None => self.tell(),
        }
    }

    /// Does what a change of state brings with it.
    fn turn(&mut self, addr: SocketAddr, transition: &Transition, cause: Cause) {
        let others_serve = self
            .wards
            .iter()
            .any(|ward| ward.backend.member.addr != addr && ward.backend.load() > 0);
        let Some(ward) = self.ward(addr) else {
            return;
        };
        let (from, to) = (transition.from.name(), transition.to.name());
        let (backend, signal, rule) =
            (&ward.backend.member.name, &transition.signal, transition.threshold.as_ref());
        info!(backend, from, to, signal, rule, "backend changed its state");
        // A suspect kept its connections, so there is nothing to catch up with.
        let returns = transition.to == State::Up && transition.from != State::Suspect;
        ward.slow_start = (returns && others_serve).then_some(transition.at);
        ward.backend.measures().entered(transition.to);
        ward.state.send_replace(ward.judge.state());
        let name = ward.backend.member.name.clone();
        self.note_turn(&name, transition, cause);
        self.publish();
    }

    fn ward(&mut self, addr: SocketAddr) -> Option<&mut Ward> {
        self.wards.iter_mut().find(|ward| ward.backend.member.addr == addr)
    }

    fn cut(&self, backend: &Arc<Backend>, state: State) {
        let reason = match state {
            State::Frozen => CloseReason::BackendFrozen,
            _ => CloseReason::BackendDead,
        };
        self.balancer.cut(reason, |session| session.backend().is(backend));
    }

    /// Never waits, but for the end of a pause.
    async fn obey(&mut self, command: Command) {
        match command {
            Command::Pause { answer, resume } => {
                if answer.send(self.record()).is_ok() {
                    // Its end is what counts.
                    resume.await.ok();
                }
            }
            Command::Drain { name, drained, over, answer } => {
                let found = self.drain(&name, drained, over);
                // Whoever asked and is gone does not want to know.
                answer.send(found).ok();
            }
            Command::GoingDown { addr, going, answer } => {
                let found = self.going_down(addr, going);
                // Whoever asked and is gone does not want to know.
                answer.send(found).ok();
            }
            Command::Probe(method) => {
                self.method = method;
                let mut wards = std::mem::take(&mut self.wards);
                for ward in &mut wards {
                    ward.prober.stop();
                    ward.prober = self.tasks.child();
                    self.start_prober(&ward.prober, &ward.backend, ward.state.subscribe());
                }
                self.wards = wards;
            }
            Command::Rebalance { act, answer } => {
                // Whoever asked and is gone does not want to know.
                answer.send(self.rebalance_now(act)).ok();
            }
        }
    }

    /// Ends slow starts and moves the port.
    fn let_time_pass(&mut self) {
        let now = self.balancer.now();
        let loads: Vec<f64> =
            self.wards.iter().map(|ward| f64::from(ward.backend.load())).collect();
        let all: f64 = loads.iter().sum();
        let others = f64::from(u32::try_from(loads.len().saturating_sub(1)).unwrap_or(1).max(1));
        let mut ended = false;
        for (ward, load) in self.wards.iter_mut().zip(loads) {
            let over = |since| {
                slow_start::is_over(now.since(since), ward.backend.load(), (all - load) / others)
            };
            if ward.slow_start.is_some_and(over) {
                ward.slow_start = None;
                ended = true;
            }
        }
        if ended {
            self.publish();
        }
        self.move_port(now);
        self.move_load_in_time(now);
    }

    /// Makes the verdicts the snapshot of every connection from now on.
    fn publish(&mut self) {
        let entries = self.entries();
        self.balancer.pool().publish(BackendSet { generation: self.generation, entries });
        self.tell();
        self.move_port(self.balancer.now());
    }

    fn tell(&self) {
        let member = |ward: &Ward| MemberHealth {
            backend: Arc::clone(&ward.backend),
            judge: ward.judge.clone(),
        };
        self.health.send_replace(Arc::new(self.wards.iter().map(member).collect()));
    }

    /// Opens the port at once when somebody serves, and closes it when nobody did for a while.
    fn move_port(&mut self, now: Millis) {
        let serves = self.listen_when_empty || self.balancer.pool().snapshot().serves();
        self.idle_since = if serves { None } else { self.idle_since.or(Some(now)) };
        let idle = self.idle_since.map(|since| now.since(since));
        let moved = match idle {
            None => self.balancer.open(),
            Some(idle) if idle >= CLOSE_AFTER || self.wards.is_empty() => self.balancer.close(),
            Some(_) => Ok(()),
        };
        let failure = moved.err().map(|error| format!("{error}: {}", error.source));
        if failure != self.port_failure
            && let Some(reason) = &failure
        {
            error!(reason, "cannot change the listening port; trying again");
        }
        self.port_failure = failure;
    }
}

/// A mistake in one verdict must not be the end of all verdicts; who watches for panics tells.
fn survived(act: impl FnOnce()) {
    catch_unwind(AssertUnwindSafe(act)).ok();
}

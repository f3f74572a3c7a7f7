//! The simulated control plane: masters that fail by a script, clients that hold connections, and a
//! driver that does with the pure cores what the keeper and the sessions do with sockets.
//!
//! Time is virtual and moves in steps of 100 ms; all chance comes from one seed.

use std::sync::Arc;
use std::time::Duration;

use common::{Member, Source};
use lb::backend::{Backend, ConnectionGuard};
use lb::clock::Millis;
use lb::dial::DialFailure;
use lb::health::{HealthJudge, Outcome, Rank, State, timetable};
use lb::pool::{BackendSet, Entry, Tried};
use lb::rebalance::Rebalancer;
use lb::slow_start;

/// Grain of the virtual time.
pub(crate) const STEP_MS: u64 = 100;

const TRIAL: Duration = Duration::from_secs(2);

/// What a master does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Fine,
    /// Answers probes too late, serves its connections.
    Slow,
    /// Says that it is not ready, serves its connections.
    NotReady,
    /// Its process is gone: connections are reset by its kernel.
    Crashed,
    /// Its host is gone: nothing answers.
    BlackHole,
}

impl Condition {
    /// What a probe sees, and how long that takes.
    fn probed(self, timeout: Duration) -> (Outcome, Duration) {
        match self {
            Self::Fine => (Outcome::Ready, Duration::from_millis(20)),
            Self::Slow => (Outcome::Slow, timeout),
            Self::NotReady => (Outcome::NotReady, Duration::from_millis(20)),
            Self::Crashed => (Outcome::Refused, Duration::from_millis(1)),
            Self::BlackHole => (Outcome::ConnectTimeout, timeout),
        }
    }

    /// Whether a connection can be made, or why not.
    fn connects(self) -> Result<(), DialFailure> {
        match self {
            Self::Fine | Self::Slow | Self::NotReady => Ok(()),
            Self::Crashed => Err(DialFailure::Refused),
            Self::BlackHole => Err(DialFailure::Outraced),
        }
    }
}

/// A master, its judge and its next probe.
pub(crate) struct Master {
    pub(crate) backend: Arc<Backend>,
    condition: Condition,
    turned: Millis,
    pub(crate) judge: HealthJudge,
    slow_start: Option<Millis>,
    probe_ends: Millis,
    probe_sees: Outcome,
    /// New connections it got since the test last looked.
    pub(crate) got: u32,
    pub(crate) transitions: u32,
}

struct Client {
    _guard: ConnectionGuard,
    master: usize,
    opened: Millis,
}

/// Defaults of the program: how long an imbalance must last, and how old a session must be.
const UNEVEN_FOR: Duration = Duration::from_secs(120);
const AGE_MIN: Duration = Duration::from_secs(300);

/// What happened since the beginning.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) placed: u32,
    pub(crate) failed: u32,
    /// Cut by a verdict although the master served them.
    pub(crate) cut_needlessly: u32,
    pub(crate) rebalanced: Vec<(Millis, u32)>,
}

pub(crate) struct World {
    pub(crate) now: Millis,
    pub(crate) masters: Vec<Master>,
    clients: Vec<Client>,
    rebalancer: Rebalancer,
    random: fastrand::Rng,
    pub(crate) tally: Tally,
}

impl World {
    pub(crate) fn new(masters: usize, seed: u64) -> Self {
        // The pool's own choices draw from the thread's generator.
        fastrand::seed(seed);
        let master = |number: usize| {
            let addr = format!("10.0.0.{}:6443", number + 1).parse().unwrap();
            let member = Member { name: number.to_string(), addr, source: Source::Static };
            Master {
                backend: Arc::new(Backend::new(member, Millis(0))),
                condition: Condition::Fine,
                turned: Millis(0),
                judge: HealthJudge::new(Millis(0)),
                slow_start: None,
                probe_ends: Millis(0),
                probe_sees: Outcome::Ready,
                got: 0,
                transitions: 0,
            }
        };
        Self {
            now: Millis(0),
            masters: (0..masters).map(master).collect(),
            clients: Vec::new(),
            rebalancer: Rebalancer::default(),
            random: fastrand::Rng::with_seed(seed),
            tally: Tally::default(),
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn random(&mut self) -> &mut fastrand::Rng {
        &mut self.random
    }

    pub(crate) fn loads(&self) -> Vec<u32> {
        self.masters.iter().map(|master| master.backend.load()).collect()
    }

    /// Changes what a master does. The connections of a crashed process are reset by its kernel.
    pub(crate) fn turn(&mut self, master: usize, condition: Condition) {
        self.masters[master].condition = condition;
        self.masters[master].turned = self.now;
        if condition == Condition::Crashed {
            self.drop_clients_of(master);
        }
    }

    /// One step of time with `arrivals` new clients; clients that lost a connection come back.
    pub(crate) fn step(&mut self, arrivals: u32, leave_chance: f64) {
        self.now = Millis(self.now.0 + STEP_MS);
        self.probe();
        self.rebalance();
        self.end_slow_starts();
        let random = &mut self.random;
        self.clients.retain(|_| random.f64() >= leave_chance);
        for _ in 0..arrivals {
            self.place();
        }
        if self.now.0.is_multiple_of(500) {
            self.masters.iter().for_each(|master| master.backend.fade());
        }
    }

    fn set(&self) -> BackendSet {
        let entry = |master: &Master| Entry {
            backend: Arc::clone(&master.backend),
            rank: master.judge.rank(),
            slow_start: master.slow_start,
        };
        BackendSet { generation: 1, entries: self.masters.iter().map(entry).collect() }
    }

    /// Places one client as a session does: every backend is tried before the client fails.
    fn place(&mut self) {
        let (set, mut tried) = (self.set(), Tried::default());
        while let Some(guard) = set.pick(&mut tried, self.now, TRIAL) {
            let at = self.masters.iter().position(|master| master.backend.is(guard.backend()));
            let at = at.unwrap();
            let master = &mut self.masters[at];
            assert!(master.judge.rank() != Rank::Never, "a connection to one that must get none");
            match master.condition.connects() {
                Ok(()) => {
                    master.backend.connected();
                    master.backend.answered();
                    master.got += 1;
                    self.tally.placed += 1;
                    self.clients.push(Client { _guard: guard, master: at, opened: self.now });
                    return;
                }
                Err(failure) => {
                    master.backend.failed(failure, self.now, self.now);
                    // A passive signal brings the next probe forward.
                    let soon = self.now.after(timetable::FAST_INTERVAL);
                    master.probe_ends = master.probe_ends.min(soon.after(TRIAL));
                }
            }
        }
        self.tally.failed += 1;
    }

    fn drop_clients_of(&mut self, master: usize) {
        let before = self.clients.len();
        self.clients.retain(|client| client.master != master);
        let lost = before - self.clients.len();
        (0..lost).for_each(|_| self.place());
    }

    fn probe(&mut self) {
        for at in 0..self.masters.len() {
            let alone = !self.masters.iter().any(|master| master.judge.rank() != Rank::Never);
            let others_serve = (0..self.masters.len())
                .any(|other| other != at && self.masters[other].backend.load() > 0);
            let (now, random) = (self.now, self.random.f64());
            let master = &mut self.masters[at];
            if now < master.probe_ends {
                continue;
            }
            let seen = master.probe_sees;
            let transition = master.judge.observe(seen, now, alone);
            let plan = timetable::next(master.judge.state(), Some(seen), random);
            let (sees, takes) = master.condition.probed(plan.timeout);
            master.probe_sees = sees;
            master.probe_ends = now.after(plan.pause + takes);
            let Some(transition) = transition else { continue };
            master.transitions += 1;
            let returns = transition.to == State::Up && transition.from != State::Suspect;
            master.slow_start = (returns && others_serve).then_some(now);
            if transition.to.cuts() {
                // A probe that began before the master turned could not know better.
                let served = !matches!(master.condition, Condition::Crashed | Condition::BlackHole)
                    && now.since(master.turned) > timetable::TIMEOUT;
                self.tally.cut_needlessly += if served { master.backend.load() } else { 0 };
                self.drop_clients_of(at);
            }
        }
    }

    fn end_slow_starts(&mut self) {
        let loads = self.loads();
        let all: u32 = loads.iter().sum();
        let others = f64::from(u32::try_from(loads.len() - 1).unwrap().max(1));
        for (master, load) in self.masters.iter_mut().zip(loads) {
            let mean = f64::from(all - load) / others;
            let over = |since| slow_start::is_over(self.now.since(since), load, mean);
            if master.slow_start.is_some_and(over) {
                master.slow_start = None;
            }
        }
    }

    fn rebalance(&mut self) {
        let now = self.now;
        let steady = self.masters.iter().all(|master| {
            let slow = |since| now.since(since) < slow_start::LENGTH;
            master.judge.state() == State::Up && !master.slow_start.is_some_and(slow)
        });
        let Some(order) = self.rebalancer.step(&self.loads(), steady, UNEVEN_FOR, now) else {
            return;
        };
        let mut left = order.count;
        self.clients.retain(|client| {
            let old = now.since(client.opened) >= AGE_MIN;
            let take = left > 0 && old && client.master == order.index;
            left -= u32::from(take);
            !take
        });
        let closed = order.count - left;
        self.rebalancer.closed(closed, now);
        self.tally.rebalanced.push((now, closed));
        (0..closed).for_each(|_| self.place());
    }
}

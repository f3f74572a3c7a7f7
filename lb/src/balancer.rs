//! The balancer as the binary sees it: start it, feed it members, watch it, stop it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use common::config::Config;
use common::events::Journal;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::budget::Budget;
use crate::clock::{Clock, Millis};
use crate::close_reason::{CloseCounts, CloseReason};
use crate::crowd::Crowd;
use crate::dial::DialLimits;
use crate::gate::Gate;
use crate::handover::Counters;
use crate::ledger::{Ledger, LedgerCounts, Slot};
use crate::listener::Scarcity;
use crate::pool::Pool;
use crate::ports::{BindError, Ports};
use crate::rebalance::RebalanceSettings;
use crate::relay::{Pipes, RelayTools};
use crate::session::{Session, SilenceLimits};
use crate::storm::{Sources, StormLimits};
use crate::worker::Worker;

/// How often the end of the last session is looked for while the program stops.
const EMPTY_CHECK: Duration = Duration::from_millis(20);

/// What a reload may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Limits of the search for a backend.
    pub dial: DialLimits,
    /// Longest wait for the first byte of a client.
    pub first_byte: Duration,
    /// Limits of silence.
    pub silence: SilenceLimits,
    /// Most connections of one source address; 0 is no limit.
    pub per_source: u32,
    /// How load is moved back to backends that returned.
    pub rebalance: RebalanceSettings,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        let (timeouts, limits) = (&config.timeouts, &config.limits);
        let storm = StormLimits { per_second: limits.new_per_second, burst: limits.new_burst };
        Self {
            dial: DialLimits { connect: timeouts.connect, total: timeouts.dial, storm },
            first_byte: timeouts.first_byte,
            silence: SilenceLimits { idle: timeouts.idle, half_close: timeouts.half_close },
            per_source: limits.per_source,
            rebalance: RebalanceSettings {
                on: config.rebalance,
                after: config.rebalance_after,
                age: config.rebalance_age,
            },
        }
    }
}

/// Why the balancer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound: the operator must free it or choose another.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gave no thread or no event queue.
    #[error("cannot start a worker thread")]
    Worker(#[source] io::Error),
}

/// What the workers and their owner share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) pool: Pool,
    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) tools: Arc<RelayTools>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) scarcity: Scarcity,
    /// Clients that came from another process when every place was taken.
    pub(crate) without_place: AtomicUsize,
    pub(crate) crowd: Crowd,
    pub(crate) open: AtomicUsize,
    pub(crate) accepted: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) races_won: AtomicU64,
    pub(crate) replays: AtomicU64,
    pub(crate) closes: CloseCounts,
    pub(crate) ledger: Slot,
    pub(crate) sources: Arc<Sources>,
    limit: usize,
}

impl Shared {
    /// Adds what another process counted.
    pub(crate) fn add(&self, counters: &Counters) {
        let relaxed = Ordering::Relaxed;
        self.accepted.fetch_add(counters.accepted, relaxed);
        self.accept_errors.fetch_add(counters.accept_errors, relaxed);
        self.races_won.fetch_add(counters.races_won, relaxed);
        self.replays.fetch_add(counters.replays, relaxed);
        if let Some(ledger) = self.ledger.counts() {
            ledger.written.fetch_add(counters.ledger_written, relaxed);
            ledger.lost.fetch_add(counters.ledger_lost, relaxed);
        }
        for (label, count) in &counters.closes {
            self.closes.add_labelled(label, *count);
        }
    }
}

/// A running balancer. Dropping it without [`Balancer::stop`] leaves its threads behind.
#[derive(Debug)]
pub struct Balancer {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    pub(crate) gate: Mutex<Gate>,
    listen: Vec<SocketAddr>,
    pub(crate) listening: AtomicBool,
    journal: Journal,
}

/// What must be known of a process before one of its successors can start its workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessor {
    /// How many threads move its bytes.
    pub workers: usize,
    /// Its time.
    pub now: Millis,
    /// Where it accepts clients.
    pub listen: Vec<SocketAddr>,
}

/// How many threads move bytes for a configured number, 0 being one for each processor.
#[must_use]
pub fn worker_count(configured: usize) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    if configured == 0 { processors() } else { configured }
}

impl Balancer {
    /// Binds the ports and starts the workers. Nothing is accepted until there is a member. What is
    /// decided is noted in the journal.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(config: &Config, budget: Budget, journal: Journal) -> Result<Self, StartError> {
        let count = worker_count(config.workers);
        let ports = Ports::bind(&config.listen, count)?;
        let listen = ports.addrs().collect();
        Self::with(config, budget, journal, Clock::default(), Gate::new(ports), listen)
    }

    /// Starts the workers, as many as another process has; its ports will come by
    /// [`Balancer::inherit`]. Its clock goes on.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start_after(
        config: &Config,
        budget: Budget,
        journal: Journal,
        predecessor: &Predecessor,
    ) -> Result<Self, StartError> {
        let gate = Gate::new(Ports::none(predecessor.workers));
        let clock = Clock::continuing(predecessor.now);
        Self::with(config, budget, journal, clock, gate, predecessor.listen.clone())
    }

    fn with(
        config: &Config,
        budget: Budget,
        journal: Journal,
        clock: Clock,
        gate: Gate,
        listen: Vec<SocketAddr>,
    ) -> Result<Self, StartError> {
        let count = gate.ports.workers();
        let tools = RelayTools { clock, pipes: Pipes::new(budget.pipes) };
        let limit = budget.connections.min(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            pool: Pool::default(),
            settings: ArcSwap::from_pointee(Settings::from(config)),
            tools: Arc::new(tools),
            permits: Arc::new(Semaphore::new(limit)),
            scarcity: Scarcity::default(),
            without_place: AtomicUsize::new(0),
            crowd: Crowd::default(),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            races_won: AtomicU64::new(0),
            replays: AtomicU64::new(0),
            closes: CloseCounts::default(),
            ledger: Slot::default(),
            sources: Arc::default(),
            limit,
        });
        let workers = (0..count).map(|number| Worker::start(number, &shared));
        let workers = workers.collect::<Result<_, _>>().map_err(StartError::Worker)?;
        let gate = Mutex::new(gate);
        let listening = AtomicBool::new(false);
        Ok(Self { shared, workers, gate, listen, listening, journal })
    }

    /// Keeps a ledger from now on.
    pub fn keep(&self, ledger: Ledger) {
        self.shared.ledger.set(ledger);
    }

    /// What became of the lines of the ledger, if one is kept.
    #[must_use]
    pub fn ledger(&self) -> Option<&LedgerCounts> {
        self.shared.ledger.counts()
    }

    /// Puts new limits into use: at once for silence, from the next connection on for dialling.
    pub fn change(&self, settings: Settings) {
        self.shared.settings.store(Arc::new(settings));
    }

    /// Resets the sessions that fulfil `which`.
    pub fn cut(&self, reason: CloseReason, which: impl Fn(&Session) -> bool) {
        self.workers.iter().for_each(|worker| worker.seat.sessions.cut(reason, &which));
    }

    /// Resets all sessions because the program stops, and at once those that are established later:
    /// [`Balancer::stop`] would end them in order, and half an answer would pass for a whole one.
    pub fn cut_off(&self) {
        for worker in &self.workers {
            // Before the list is gone through: whoever enters it after that sees this.
            worker.seat.sessions.cutting.store(true, Ordering::Release);
        }
        self.cut(CloseReason::Stopping, |_| true);
    }

    /// Resets up to `count` sessions that fulfil `which`; how many it were.
    pub fn cut_some(
        &self,
        count: u32,
        reason: CloseReason,
        which: impl Fn(&Session) -> bool,
    ) -> u32 {
        let left = AtomicU32::new(count);
        self.cut(reason, |session| {
            let take = |left: u32| left.checked_sub(1);
            let relaxed = Ordering::Relaxed;
            which(session) && left.fetch_update(relaxed, relaxed, take).is_ok()
        });
        count - left.into_inner()
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Settings {
        **self.shared.settings.load()
    }

    /// Resolves when no client connection is left. Cancel-safe.
    pub async fn emptied(&self) {
        while self.open_connections() > 0 {
            tokio::time::sleep(EMPTY_CHECK).await;
        }
    }

    /// Ends the workers. What is left of the sessions is closed without a reset.
    pub fn stop(self) {
        self.shut();
        self.workers.into_iter().for_each(Worker::stop);
    }

    /// The time by which this balancer counts.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.shared.tools.clock.now()
    }

    /// Where decisions are noted.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// How many threads move bytes.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// Tasks that run on the threads that move bytes.
    #[must_use]
    pub fn worker_tasks(&self) -> usize {
        self.workers.iter().map(Worker::tasks).sum()
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// Addresses on which clients are accepted.
    #[must_use]
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Whether the port is open.
    #[must_use]
    pub fn listening(&self) -> bool {
        self.listening.load(Ordering::Acquire)
    }

    /// Client connections that are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Most client connections at once.
    #[must_use]
    pub fn connection_limit(&self) -> usize {
        self.shared.limit
    }

    /// Client connections accepted since the start.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Accepts that failed for want of descriptors or memory.
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        self.shared.accept_errors.load(Ordering::Relaxed)
    }

    /// Clients whose backend was found by racing a slower one.
    #[must_use]
    pub fn races_won(&self) -> u64 {
        self.shared.races_won.load(Ordering::Relaxed)
    }

    /// First flights that were given to another backend.
    #[must_use]
    pub fn replays(&self) -> u64 {
        self.shared.replays.load(Ordering::Relaxed)
    }

    /// Ended sessions by reason.
    #[must_use]
    pub fn closes(&self) -> &CloseCounts {
        &self.shared.closes
    }

    /// The pipes for bulk data.
    #[must_use]
    pub fn pipes(&self) -> &Pipes {
        &self.shared.tools.pipes
    }
}

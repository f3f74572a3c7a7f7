//! One member that the balancer may dial, with its counts.
//!
//! A backend lives as long as a session uses it, also after its member has left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use common::Member;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::clock::Millis;
use crate::dial::DialFailure;
use crate::handover::BackendRecord;
use crate::measures::Measures;
use crate::pick::Candidate;
use crate::refusal::Refusals;
use crate::storm::{Bucket, StormLimits, TooMany};

/// How much one new connection adds to the measure of late; it decays by an eighth each sweep.
const RECENT_STEP: u32 = 1 << 8;

/// A member with its counts. Every count may be read at any time.
#[derive(Debug)]
pub struct Backend {
    /// Who it is.
    pub member: Member,
    /// When it was added.
    pub since: Millis,
    counts: Arc<Counts>,
}

/// What outlives a change of the member's name or source.
#[derive(Debug, Default)]
struct Counts {
    load: AtomicU32,
    recent: AtomicU32,
    connections: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    failures: [AtomicU64; DialFailure::ALL.len()],
    refusals: Mutex<Refusals>,
    /// Whether `refusals` holds a failure; spares the lock on the usual path.
    distrusted: AtomicBool,
    bucket: Bucket,
    /// Wakes the prober when a connection saw something wrong.
    suspicion: Notify,
    measures: Measures,
}

impl Backend {
    /// A backend without history.
    #[must_use]
    pub fn new(member: Member, now: Millis) -> Self {
        Self { member, since: now, counts: Arc::default() }
    }

    /// The same backend under another name or source: it keeps its counts.
    #[must_use]
    pub fn renamed(&self, member: Member) -> Self {
        Self { member, since: self.since, counts: Arc::clone(&self.counts) }
    }

    /// What was measured of it.
    #[must_use]
    pub fn measures(&self) -> &Measures {
        &self.counts.measures
    }

    /// What another process must know of it.
    pub(crate) fn record(&self) -> BackendRecord {
        let failures = self.failures().filter(|(_, count)| *count > 0);
        BackendRecord {
            member: self.member.clone(),
            since: self.since,
            refusals: self.refusals(),
            budget: self.counts.bucket.used(),
            connections: self.connections(),
            received: self.received(),
            sent: self.sent(),
            failures: failures.map(|(failure, n)| (failure.label().to_owned(), n)).collect(),
            measures: self.counts.measures.record(),
        }
    }

    /// The backend that another process had; no connection is counted on it yet.
    pub(crate) fn revived(record: &BackendRecord) -> Self {
        let counts = Counts {
            distrusted: AtomicBool::new(record.refusals.in_a_row() > 0),
            refusals: Mutex::new(record.refusals),
            bucket: Bucket::revived(record.budget),
            ..Counts::default()
        };
        let backend =
            Self { member: record.member.clone(), since: record.since, counts: Arc::new(counts) };
        backend.add(record);
        backend
    }

    /// Adds the counts of the record.
    pub(crate) fn add(&self, record: &BackendRecord) {
        self.add_bytes(record.received, record.sent);
        self.counts.connections.fetch_add(record.connections, Ordering::Relaxed);
        self.counts.measures.add(&record.measures);
        for (failure, count) in DialFailure::ALL.iter().zip(&self.counts.failures) {
            let added = record.failures.get(failure.label()).copied().unwrap_or_default();
            count.fetch_add(added, Ordering::Relaxed);
        }
    }

    /// Whether both are the same backend, perhaps under two names.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.counts, &other.counts)
    }

    /// Connections established or being dialled.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.counts.load.load(Ordering::Relaxed)
    }

    /// Connections that it accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Bytes from it to clients.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.counts.received.load(Ordering::Relaxed)
    }

    /// Bytes from clients to it.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// Failed attempts of each kind.
    pub fn failures(&self) -> impl Iterator<Item = (DialFailure, u64)> {
        let counts = self.counts.failures.iter().map(|count| count.load(Ordering::Relaxed));
        DialFailure::ALL.iter().copied().zip(counts)
    }

    /// What its failures say.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        if self.counts.distrusted.load(Ordering::Relaxed) {
            *self.counts.refusals.lock()
        } else {
            Refusals::default()
        }
    }

    /// How it looks to the choice, as the backend at `index`.
    #[must_use]
    pub fn candidate(&self, index: usize) -> Candidate {
        let recent = self.counts.recent.load(Ordering::Relaxed);
        Candidate { index, load: self.load(), recent }
    }

    /// A connection was accepted by the backend.
    pub fn connected(&self) {
        self.counts.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The backend answered a client, so that it is trusted again. To accept is not enough: a frozen
    /// one does that too.
    pub fn answered(&self) {
        if self.counts.distrusted.load(Ordering::Relaxed) {
            let mut refusals = self.counts.refusals.lock();
            let failures = refusals.in_a_row();
            *refusals = refusals.connected();
            self.counts.distrusted.store(false, Ordering::Relaxed);
            drop(refusals);
            info!(backend = self.member.name, failures, "backend answers clients again");
        }
    }

    /// An attempt that was begun at `begun` failed. What is our own fault is counted, but not held
    /// against the backend.
    pub fn failed(&self, failure: DialFailure, begun: Millis, now: Millis) {
        if let Some(count) = self.counts.failures.get(failure as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if failure != DialFailure::Local {
            let mut refusals = self.counts.refusals.lock();
            let trusted = refusals.in_a_row() == 0;
            *refusals = refusals.failed(begun, now);
            self.counts.distrusted.store(true, Ordering::Relaxed);
            drop(refusals);
            self.counts.suspicion.notify_one();
            if trusted {
                let (backend, failure) = (&self.member.name, failure.label());
                warn!(backend, addr = %self.member.addr, failure, "backend skipped: dial failed");
            }
        }
    }

    /// Takes a place for one new connection at this time since the start; says how long to wait.
    ///
    /// # Errors
    /// It has its limit of new connections already.
    pub fn place(&self, limits: StormLimits, since_start: Duration) -> Result<Duration, TooMany> {
        let place = self.counts.bucket.take(limits, since_start);
        self.counts.measures.held_back(place.ok());
        place
    }

    /// A session was ended by the backend: it may be about to go, or have come back as another one.
    pub fn suspect(&self) {
        self.counts.suspicion.notify_one();
    }

    /// Resolves when a connection saw something wrong since the last call. Cancel-safe.
    pub async fn suspected(&self) {
        self.counts.suspicion.notified().await;
    }

    /// Asks to be the one connection that tries a backend which failed before. Always granted for a
    /// backend without failures.
    #[must_use]
    pub fn may_try(&self, now: Millis, trial: Duration) -> bool {
        if !self.counts.distrusted.load(Ordering::Relaxed) {
            return true;
        }
        let mut refusals = self.counts.refusals.lock();
        let granted = !refusals.skipped(now);
        if granted {
            *refusals = refusals.trying(now, trial);
        }
        granted
    }

    /// Counts a connection before it is dialled, if the load still is what the choice saw.
    #[must_use]
    pub fn reserve(self: &Arc<Self>, seen: u32) -> Option<ConnectionGuard> {
        let next = seen.checked_add(1)?;
        self.counts.load.compare_exchange(seen, next, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        Some(self.counted())
    }

    /// Counts a connection, whatever the load is now.
    #[must_use]
    pub fn reserve_anyway(self: &Arc<Self>) -> ConnectionGuard {
        self.counts.load.fetch_add(1, Ordering::Relaxed);
        self.counted()
    }

    fn counted(self: &Arc<Self>) -> ConnectionGuard {
        self.counts.recent.fetch_add(RECENT_STEP, Ordering::Relaxed);
        ConnectionGuard(Arc::clone(self))
    }

    /// Adds bytes that a session moved.
    pub fn add_bytes(&self, received: u64, sent: u64) {
        self.counts.received.fetch_add(received, Ordering::Relaxed);
        self.counts.sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Lets the measure of late fade; called at each sweep of one worker.
    pub fn fade(&self) {
        let recent = self.counts.recent.load(Ordering::Relaxed);
        self.counts.recent.fetch_sub(recent / 8, Ordering::Relaxed);
    }
}

/// One connection counted on one backend, from before the dial until it is dropped.
#[derive(Debug)]
pub struct ConnectionGuard(Arc<Backend>);

impl ConnectionGuard {
    /// The backend that is counted on.
    #[must_use]
    pub fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let before = self.0.counts.load.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a connection was given back twice");
    }
}

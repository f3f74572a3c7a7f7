//! One client connection as the rest of the program sees it, and the list of them.
//!
//! The task that moves a session's bytes owns the sockets; everybody else may only read its
//! [`Session`] and ask it to end. Each worker keeps its own list, so that lists are not contended.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use slab::Slab;

use crate::backend::{Backend, ConnectionGuard};
use crate::clock::{Clock, Millis};
use crate::close_reason::CloseReason;
use crate::handover::{DirectionRecord, SessionRecord, StandingPlace};
use crate::ledger::Open;

/// How many sessions a sweep looks at before it lets go of the list.
const SWEEP_SLICE: usize = 1024;

/// Age after which a session gets the socket options that only long ones need.
const YOUNG_FOR: Duration = Duration::from_secs(1);

/// Sweeps from one look for a paused reader to the next: 10 s, well below the 30 s after which the
/// kernel would give it up.
const LOOK_SWEEPS: u32 = 20;

/// How long after its last byte a session is still looked at: each gets one look after that byte.
const LOOK_FOR: Duration = Duration::from_secs(15);

/// Steps of [`Session::age`]: young, told that it is not any more, done with it, and told to look for
/// a pause.
const YOUNG: u8 = 0;
const GROWN: u8 = 1;
const SETTLED: u8 = 2;
const LOOKING: u8 = 3;

/// What the task of a session should do beside moving bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// It has outlived the many short ones: set the options that only long ones need.
    Options,
    /// See whether a reader has paused.
    LookForPause,
}

/// One client connection with its backend.
#[derive(Debug)]
pub struct Session {
    /// Address of the client.
    pub client: SocketAddr,
    /// When its backend accepted it.
    pub opened: Millis,
    guard: ConnectionGuard,
    /// Its place in the list of its worker; no process has 2^32 descriptors.
    key: u32,
    active: AtomicU64,
    half_closed: AtomicBool,
    age: AtomicU8,
    /// Set by the task when bytes of the client wait for the backend, cleared by the next sweep.
    stalled: AtomicBool,
    cut: AtomicU8,
    waker: AtomicWaker,
    /// Bytes that the sweep has not added to the backend yet.
    received: AtomicU64,
    sent: AtomicU64,
    /// Its entry in the ledger, if one is kept.
    entry: Option<Box<Open>>,
}

/// How long a session may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SilenceLimits {
    /// While both directions are open.
    pub idle: Duration,
    /// While one is.
    pub half_close: Duration,
}

impl Session {
    /// A session that was opened now.
    #[must_use]
    pub fn new(client: SocketAddr, guard: ConnectionGuard, now: Millis) -> Self {
        Self {
            client,
            opened: now,
            guard,
            key: 0,
            active: AtomicU64::new(now.0),
            half_closed: AtomicBool::new(false),
            age: AtomicU8::new(YOUNG),
            stalled: AtomicBool::new(false),
            cut: AtomicU8::new(0),
            waker: AtomicWaker::new(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            entry: None,
        }
    }

    /// With an entry in the ledger, written when the session is dropped.
    pub(crate) fn noted(mut self, entry: Option<Box<Open>>) -> Self {
        self.entry = entry;
        self
    }

    /// Notes for the ledger why the session ended.
    pub(crate) fn ended(&self, reason: CloseReason) {
        if let Some(entry) = &self.entry {
            entry.ended(reason);
        }
    }

    /// The backend it uses.
    #[must_use]
    pub fn backend(&self) -> &Arc<Backend> {
        self.guard.backend()
    }

    /// Notes bytes that passed just now.
    pub fn moved(&self, clock: &Clock, received: u64, sent: u64) {
        self.active.store(clock.coarse().0, Ordering::Relaxed);
        if received > 0 {
            self.received.fetch_add(received, Ordering::Relaxed);
        }
        if sent > 0 {
            self.sent.fetch_add(sent, Ordering::Relaxed);
        }
    }

    /// Notes that one direction has ended.
    pub fn half_closed(&self) {
        self.half_closed.store(true, Ordering::Relaxed);
    }

    /// Notes that bytes wait for a backend that does not take them: the next sweep wakes the task.
    pub fn stall(&self) {
        self.stalled.store(true, Ordering::Relaxed);
    }

    /// Whether no sweep has come since [`Session::stall`].
    #[must_use]
    pub fn stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Asks the session to end. The first reason stays; whether this one is it.
    pub fn cut(&self, reason: CloseReason) -> bool {
        let first =
            self.cut.compare_exchange(0, reason.number(), Ordering::AcqRel, Ordering::Relaxed);
        if first.is_ok() {
            self.waker.wake();
        }
        first.is_ok()
    }

    /// Takes back that it stands still for another process.
    pub(crate) fn stay(&self) {
        let asked = CloseReason::HandedOver.number();
        // Asked to end for a reason of its own: that stays.
        self.cut.compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Relaxed).ok();
    }

    /// Its part of what another process must know.
    pub(crate) fn record(&self) -> SessionRecord {
        let relaxed = Ordering::Relaxed;
        SessionRecord {
            worker: 0,
            client: self.client,
            backend: self.backend().member.addr,
            opened: self.opened,
            active: Millis(self.active.load(relaxed)),
            half_closed: self.half_closed.load(relaxed),
            grown: self.age.load(relaxed) >= SETTLED,
            patient: false,
            up: DirectionRecord::default(),
            down: DirectionRecord::default(),
            ledger: self.entry.as_ref().map(|entry| entry.record()),
        }
    }

    /// The session that another process had.
    pub(crate) fn revived(record: &SessionRecord, guard: ConnectionGuard) -> Self {
        let session = Self::new(record.client, guard, record.opened);
        session.active.store(record.active.0, Ordering::Relaxed);
        session.half_closed.store(record.half_closed, Ordering::Relaxed);
        let age = if record.grown { SETTLED } else { YOUNG };
        session.age.store(age, Ordering::Relaxed);
        session
    }

    /// Why the session was asked to end, if it was; otherwise `waker` is woken when it is.
    #[must_use]
    pub fn poll_cut(&self, waker: &Waker) -> Option<CloseReason> {
        self.waker.register(waker);
        CloseReason::from_number(self.cut.load(Ordering::Acquire))
    }

    /// What is to be done, told once.
    #[must_use]
    pub fn chore(&self) -> Option<Chore> {
        let chore = match self.age.load(Ordering::Relaxed) {
            GROWN => Chore::Options,
            LOOKING => Chore::LookForPause,
            _ => return None,
        };
        self.age.store(SETTLED, Ordering::Relaxed);
        Some(chore)
    }

    /// Wakes the session's task when there is something to do.
    fn give_chore(&self, now: Millis, turn: u32) {
        let next = match self.age.load(Ordering::Relaxed) {
            YOUNG if now.since(self.opened) >= YOUNG_FOR => GROWN,
            SETTLED if self.key % LOOK_SWEEPS == turn % LOOK_SWEEPS && self.moved_lately(now) => {
                LOOKING
            }
            _ => return,
        };
        self.age.store(next, Ordering::Relaxed);
        self.waker.wake();
    }

    fn moved_lately(&self, now: Millis) -> bool {
        now.since(Millis(self.active.load(Ordering::Relaxed))) <= LOOK_FOR
    }

    /// Whether it may be closed to move load: old enough, and quiet both ways for long enough.
    #[must_use]
    pub fn is_movable(&self, now: Millis, age: Duration, quiet: Duration) -> bool {
        let silent = now.since(Millis(self.active.load(Ordering::Relaxed)));
        now.since(self.opened) >= age && silent >= quiet
    }

    /// Why its silence is too long, if it is.
    #[must_use]
    fn too_silent(&self, now: Millis, limits: &SilenceLimits) -> Option<CloseReason> {
        let silent = now.since(Millis(self.active.load(Ordering::Relaxed)));
        if self.half_closed.load(Ordering::Relaxed) {
            (silent > limits.half_close).then_some(CloseReason::HalfClosed)
        } else {
            (silent > limits.idle).then_some(CloseReason::Idle)
        }
    }

    /// Adds the bytes since the last time to the backend's counts.
    pub(crate) fn settle(&self) {
        let received = self.received.swap(0, Ordering::Relaxed);
        let sent = self.sent.swap(0, Ordering::Relaxed);
        if received > 0 || sent > 0 {
            self.backend().add_bytes(received, sent);
            if let Some(entry) = &self.entry {
                entry.add_bytes(received, sent);
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.settle();
        if let Some(mut entry) = self.entry.take() {
            let member = &self.backend().member;
            entry.close(member.name.clone(), member.addr);
        }
    }
}

/// The sessions of one worker.
#[derive(Debug, Default)]
pub struct Sessions {
    list: Mutex<Slab<Arc<Session>>>,
    /// Those of the list that stand still for a hand-over.
    pub(crate) standing: StandingPlace,
    /// Whether a session that is established now is cut at once, because the program stops.
    pub(crate) cutting: AtomicBool,
}

impl Sessions {
    /// Adds a session; it is in the list until the entry is dropped.
    #[must_use]
    pub fn add(self: &Arc<Self>, mut session: Session) -> SessionEntry {
        let mut list = self.list.lock();
        let place = list.vacant_entry();
        session.key = u32::try_from(place.key()).unwrap_or(u32::MAX);
        let session = Arc::new(session);
        place.insert(Arc::clone(&session));
        drop(list);
        if self.standing.departing() {
            session.cut(CloseReason::HandedOver);
        }
        if self.cutting.load(Ordering::Acquire) {
            session.cut(CloseReason::Stopping);
        }
        SessionEntry { session, sessions: Arc::clone(self) }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.lock().is_empty()
    }

    /// Asks those that fulfil `which` to end.
    pub fn cut(&self, reason: CloseReason, which: impl Fn(&Session) -> bool) {
        self.each(|session| {
            if which(session) {
                session.cut(reason);
            }
        });
    }

    /// Lets all stand still from their next poll on; how many will. On the worker's own thread that
    /// is exact.
    pub(crate) fn depart(&self) -> usize {
        self.standing.set_departing(true);
        let departing = Cell::new(0);
        self.each(|session| {
            let departs = session.cut(CloseReason::HandedOver);
            departing.set(departing.get() + usize::from(departs));
        });
        departing.get()
    }

    /// Ends those that were silent for too long, settles the bytes of all, lets those that stall look
    /// after their client, and a few of the others after a paused reader: those whose `turn` it is,
    /// which counts the sweeps.
    pub fn sweep(&self, now: Millis, turn: u32, limits: &SilenceLimits) {
        self.each(|session| {
            session.settle();
            session.give_chore(now, turn);
            if session.stalled.swap(false, Ordering::Relaxed) {
                session.waker.wake();
            }
            if let Some(reason) = session.too_silent(now, limits) {
                session.cut(reason);
            }
        });
    }

    /// Calls `act` for each session, in slices, so that the list is never held for long.
    fn each(&self, act: impl Fn(&Session)) {
        let mut from = 0;
        loop {
            let list = self.list.lock();
            // Keys of a slab are below its capacity; some are free.
            let end = list.capacity();
            for key in from..end.min(from + SWEEP_SLICE) {
                if let Some(session) = list.get(key) {
                    act(session);
                }
            }
            from += SWEEP_SLICE;
            if from >= end {
                return;
            }
        }
    }
}

/// A session while it is in the list.
#[derive(Debug)]
pub struct SessionEntry {
    session: Arc<Session>,
    pub(crate) sessions: Arc<Sessions>,
}

impl std::ops::Deref for SessionEntry {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for SessionEntry {
    fn drop(&mut self) {
        let mut list = self.sessions.list.lock();
        list.try_remove(self.session.key as usize);
        // A burst that is over must not keep its room for ever.
        if list.capacity() > 4096 && list.len() < list.capacity() / 8 {
            list.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{Member, Source};

    const LIMITS: SilenceLimits =
        SilenceLimits { idle: Duration::from_secs(10), half_close: Duration::from_secs(1) };

    fn backend() -> Arc<Backend> {
        let addr = "10.0.0.1:6443".parse().unwrap();
        let member = Member { name: "a".into(), addr, source: Source::Static };
        Arc::new(Backend::new(member, Millis(0)))
    }

    fn entry(sessions: &Arc<Sessions>, backend: &Arc<Backend>) -> SessionEntry {
        let client = "10.0.0.9:40000".parse().unwrap();
        sessions.add(Session::new(client, backend.reserve_anyway(), Millis(0)))
    }

    fn reason(session: &Session) -> Option<CloseReason> {
        session.poll_cut(Waker::noop())
    }

    #[test]
    fn silence_ends_a_session_and_a_byte_does_not() {
        let sessions = Arc::new(Sessions::default());
        let entry = entry(&sessions, &backend());
        sessions.sweep(Millis(10_000), 0, &LIMITS);
        assert_eq!(reason(&entry), None);
        sessions.sweep(Millis(10_001), 0, &LIMITS);
        assert_eq!(reason(&entry), Some(CloseReason::Idle));
    }

    #[test]
    fn half_closed_sessions_have_less_time() {
        let sessions = Arc::new(Sessions::default());
        let entry = entry(&sessions, &backend());
        entry.half_closed();
        sessions.sweep(Millis(1_001), 0, &LIMITS);
        assert_eq!(reason(&entry), Some(CloseReason::HalfClosed));
    }

    #[test]
    fn each_session_that_moved_looks_for_a_pause_once_in_ten_seconds() {
        let sessions = Arc::new(Sessions::default());
        let limits = SilenceLimits { idle: Duration::from_secs(3600), ..LIMITS };
        let entries: Vec<_> = (0..100).map(|_| entry(&sessions, &backend())).collect();
        let chores = |entries: &[SessionEntry], chore| {
            entries.iter().filter(|entry| entry.chore() == Some(chore)).count()
        };
        sessions.sweep(Millis(999), 0, &limits);
        assert_eq!(chores(&entries, Chore::Options), 0, "young");
        sessions.sweep(Millis(1_000), 1, &limits);
        assert_eq!(chores(&entries, Chore::Options), 100);
        let mut looked = Vec::new();
        for turn in 2..62 {
            sessions.sweep(Millis(1_000 + u64::from(turn) * 500), turn, &limits);
            looked.push(chores(&entries, Chore::LookForPause));
        }
        // The last bytes passed at 0: one look after them for each, then none.
        assert_eq!(looked[..20], [5; 20]);
        assert_eq!(looked[30..].iter().sum::<usize>(), 0);
    }

    #[test]
    fn the_first_reason_stays() {
        let sessions = Arc::new(Sessions::default());
        let entry = entry(&sessions, &backend());
        sessions.cut(CloseReason::Stopping, |_| true);
        sessions.cut(CloseReason::Idle, |_| true);
        assert_eq!(reason(&entry), Some(CloseReason::Stopping));
    }

    #[test]
    fn who_comes_while_all_are_cut_is_cut_too() {
        let sessions = Arc::new(Sessions::default());
        let early = entry(&sessions, &backend());
        sessions.cutting.store(true, Ordering::Release);
        let late = entry(&sessions, &backend());
        assert_eq!((reason(&early), reason(&late)), (None, Some(CloseReason::Stopping)));
    }

    #[test]
    fn bytes_reach_the_backend_and_the_list_empties() {
        let (sessions, backend) = (Arc::new(Sessions::default()), backend());
        let entries: Vec<_> = (0..3000).map(|_| entry(&sessions, &backend)).collect();
        let clock = Clock::default();
        entries.iter().for_each(|entry| entry.moved(&clock, 10, 1));
        sessions.sweep(Millis(1), 0, &LIMITS);
        assert_eq!((backend.received(), backend.sent()), (30_000, 3_000));
        entries.iter().for_each(|entry| entry.moved(&clock, 1, 0));
        drop(entries);
        assert_eq!(backend.received(), 33_000, "the rest is settled at the end");
        assert_eq!((sessions.len(), backend.load()), (0, 0));
    }
}

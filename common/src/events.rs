//! The journal of decisions: what the program decided, when and about whom, for people who watch.
//!
//! A ring in memory that overwrites its oldest entry. Whoever decides notes it with one call, which
//! never waits for a reader: a reader has a place in the ring, and one that is too slow to keep up
//! is told how much it lost. Log lines go on to be written where they are; this is not the log.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Entries that are kept: some days of a quiet cluster, an hour of a bad one, in 300 KiB at most.
pub const EVENTS_MAX: usize = 512;

/// Longest text of an entry in bytes: a sentence. What is longer is cut, because names and reasons
/// come from the network.
pub const TEXT_BYTES_MAX: usize = 400;

/// Longest name in an entry in bytes: that of a DNS name.
pub const ABOUT_BYTES_MAX: usize = 253;

macro_rules! kinds {
    ($($(#[$doc:meta])* $id:ident = $label:literal, $level:ident;)*) => {
        /// What happened. Closed, so that metrics and screens can list all of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $label)] $id,)*
        }

        impl EventKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$id,)*];

            /// As JSON and metrics name it.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$id => $label,)* }
            }

            /// How much it matters.
            #[must_use]
            pub fn level(self) -> Level {
                match self { $(Self::$id => Level::$level,)* }
            }
        }
    };
}

kinds! {
    /// The program runs.
    Started = "started", Info;
    /// A backend gets new connections from now on.
    BackendUp = "backend_up", Good;
    /// A backend gets no new connections, or only if there is no other; established ones go on.
    BackendDegraded = "backend_degraded", Warning;
    /// A backend gets nothing any more and its established connections are reset.
    BackendDown = "backend_down", Bad;
    /// The membership that the balancer follows changed.
    MembershipChanged = "membership_changed", Info;
    /// An operator drains a backend.
    Drained = "drained", Info;
    /// An operator takes a drain back.
    Undrained = "undrained", Info;
    /// Sessions were closed to move load.
    Rebalanced = "rebalanced", Info;
    /// Clients are accepted from now on.
    PortOpened = "port_opened", Good;
    /// Clients are refused from now on.
    PortClosed = "port_closed", Bad;
    /// A new configuration is in force.
    Reloaded = "reloaded", Info;
    /// A new configuration was refused; the old one stays in force.
    ReloadRefused = "reload_refused", Bad;
    /// The program enters a phase of its stop.
    Stopping = "stopping", Warning;
    /// The running program hands its sockets and sessions to a new one, or took them over.
    HandedOver = "handed_over", Info;
    /// A master registered with the coordinator.
    MemberRegistered = "member_registered", Info;
    /// A registration was refused.
    MemberRefused = "member_refused", Warning;
    /// A registered master is admitted to the pool.
    MemberAdmitted = "member_admitted", Good;
    /// A member said that it leaves, or was removed.
    MemberLeft = "member_left", Info;
    /// No heartbeat of a member for too long.
    HeartbeatMissed = "heartbeat_missed", Warning;
    /// Heartbeats of a member came back.
    HeartbeatReturned = "heartbeat_returned", Good;
    /// A source of members cannot be read, or can again.
    SourceChanged = "source_changed", Warning;
    /// A machine got its turn to join.
    JoinStarted = "join_started", Info;
    /// A join came a step further.
    JoinStep = "join_step", Info;
    /// A machine has joined.
    JoinDone = "join_done", Good;
    /// A join failed, or its time was over.
    JoinFailed = "join_failed", Bad;
    /// A ticket was made.
    TicketCreated = "ticket_created", Info;
    /// A ticket was deleted, or its time or its uses are over.
    TicketEnded = "ticket_ended", Info;
    /// Somebody came with a wrong ticket.
    TicketRefused = "ticket_refused", Warning;
    /// A certificate was made or renewed.
    CertificateIssued = "certificate_issued", Info;
    /// A certificate ends soon.
    CertificateExpires = "certificate_expires", Bad;
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// How much an entry matters to the person on call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something works again, or is done.
    Good,
    /// Worth a look.
    Warning,
    /// Clients notice, or soon will.
    Bad,
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number since the start of the program, from 1.
    pub id: u64,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What happened.
    pub kind: EventKind,
    /// How much it matters.
    pub level: Level,
    /// Name of the member, machine or ticket that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// A sentence without a full stop. It holds no secret, but may hold text from the network: escape
    /// it before it is shown.
    pub text: String,
}

/// Where decisions are noted. Cheap to clone; all clones are one journal.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ring: Mutex<VecDeque<Arc<Event>>>,
    /// Id of the newest entry; readers wait for it to grow.
    newest: watch::Sender<u64>,
    counts: Vec<AtomicU64>,
    lost: AtomicU64,
    /// Milliseconds since 1970 at which this journal began: with an id it names an entry over restarts.
    began: AtomicU64,
}

/// A journal, for another process to go on with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRecord {
    /// When it began, in milliseconds since 1970.
    pub began: u64,
    /// The entries that are kept, oldest first.
    pub events: Vec<Event>,
    /// Entries of each kind, also of those that are not kept any more.
    pub counts: BTreeMap<String, u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Self(Arc::new(Inner {
            ring: Mutex::new(VecDeque::with_capacity(EVENTS_MAX)),
            newest: watch::Sender::new(0),
            counts: EventKind::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            lost: AtomicU64::new(0),
            began: AtomicU64::new(unix_ms()),
        }))
    }
}

impl Journal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn began(&self) -> u64 {
        self.0.began.load(Ordering::Relaxed)
    }

    /// What another process needs to go on with it.
    #[must_use]
    pub fn record(&self) -> JournalRecord {
        let events = self.kept().iter().map(|event| Event::clone(event)).collect();
        let counts = self.counts().map(|(kind, count)| (kind.label().to_owned(), count)).collect();
        JournalRecord { began: self.began(), events, counts }
    }

    /// Goes on with the journal of another process: its entries stand before those of this one. To
    /// be called before anybody reads.
    pub fn go_on(&self, record: JournalRecord) {
        let mut ring = self.0.ring.lock();
        let own = std::mem::take(&mut *ring);
        let room = EVENTS_MAX.saturating_sub(own.len());
        let old = record.events.len().saturating_sub(room);
        ring.extend(record.events.into_iter().skip(old).map(Arc::new));
        let mut id = ring.back().map_or(0, |newest| newest.id);
        for event in own {
            id = id.saturating_add(1);
            ring.push_back(Arc::new(Event { id, ..Event::clone(&event) }));
        }
        drop(ring);
        self.0.began.store(record.began, Ordering::Relaxed);
        self.0.newest.send_replace(id);
        for (kind, own) in EventKind::ALL.iter().zip(&self.0.counts) {
            let earlier = record.counts.get(kind.label()).copied().unwrap_or_default();
            own.fetch_add(earlier, Ordering::Relaxed);
        }
    }

    /// Notes what happened to the program as a whole. Never waits.
    pub fn note(&self, kind: EventKind, text: impl Into<String>) {
        self.add(kind, None, text.into());
    }

    /// Notes what happened to a member, a machine or a ticket. Never waits.
    pub fn note_about(&self, kind: EventKind, about: &str, text: impl Into<String>) {
        self.add(kind, Some(cut(about.to_owned(), ABOUT_BYTES_MAX)), text.into());
    }

    fn add(&self, kind: EventKind, about: Option<String>, text: String) {
        let text = cut(text, TEXT_BYTES_MAX);
        let mut ring = self.0.ring.lock();
        let id = ring.back().map_or(1, |newest| newest.id.saturating_add(1));
        if ring.len() >= EVENTS_MAX {
            ring.pop_front();
        }
        let event = Event { id, unix_ms: unix_ms(), kind, level: kind.level(), about, text };
        ring.push_back(Arc::new(event));
        drop(ring);
        if let Some(count) = self.0.counts.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // Two writers may come here in the other order; the number must not go back.
        self.0.newest.send_if_modified(|newest| {
            let grows = id > *newest;
            *newest = id.max(*newest);
            grows
        });
    }

    /// The entries that are kept, oldest first.
    #[must_use]
    pub fn kept(&self) -> Vec<Arc<Event>> {
        self.0.ring.lock().iter().cloned().collect()
    }

    /// A reader whose next entry is the one after `id`: 0 is everything that is kept. An entry that is
    /// not kept any more is not missed: the reader begins with the oldest that is.
    #[must_use]
    pub fn follow_after(&self, id: u64) -> Follower {
        let ring = self.0.ring.lock();
        let newest = ring.back().map_or(0, |event| event.id);
        let oldest = ring.front().map_or(0, |event| event.id.saturating_sub(1));
        let seen = id.clamp(oldest, newest);
        Follower { journal: self.clone(), seen, newest: self.0.newest.subscribe() }
    }

    /// The reader of somebody who says which entry it saw last, in the form of [`Journal::mark`]. The
    /// mark of another run of the program, or none of ours, is everything that is kept.
    #[must_use]
    pub fn follow_from(&self, mark: &str) -> Follower {
        let id = mark
            .split_once('-')
            .filter(|(began, _)| began.parse() == Ok(self.began()))
            .and_then(|(_, id)| id.parse().ok());
        self.follow_after(id.unwrap_or(0))
    }

    /// Names an entry over restarts of the program.
    #[must_use]
    pub fn mark(&self, event: &Event) -> String {
        format!("{}-{}", self.began(), event.id)
    }

    /// How often each kind was noted since the start.
    pub fn counts(&self) -> impl Iterator<Item = (EventKind, u64)> {
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        EventKind::ALL.iter().copied().zip(counts)
    }

    /// Readers that were too slow, since the start.
    #[must_use]
    pub fn followers_lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

/// A reader was too slow: the entries it has not read were overwritten. It should begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} entries were overwritten before they were read")]
pub struct Lost(pub u64);

/// A reader of the journal.
#[derive(Debug)]
pub struct Follower {
    journal: Journal,
    seen: u64,
    newest: watch::Receiver<u64>,
}

impl Follower {
    /// The next entry, as soon as there is one. Cancel-safe.
    ///
    /// # Errors
    /// See [`Lost`].
    pub async fn next(&mut self) -> Result<Arc<Event>, Lost> {
        loop {
            self.newest.borrow_and_update();
            if let Some(next) = self.try_next() {
                return next;
            }
            // The journal is held by us, so there always is a sender.
            self.newest.changed().await.ok();
        }
    }

    /// The next entry, if there is one already.
    fn try_next(&mut self) -> Option<Result<Arc<Event>, Lost>> {
        let ring = self.journal.0.ring.lock();
        let oldest = ring.front()?.id;
        if self.seen.saturating_add(1) < oldest {
            self.journal.0.lost.fetch_add(1, Ordering::Relaxed);
            return Some(Err(Lost(oldest - self.seen - 1)));
        }
        let at = usize::try_from(self.seen.saturating_add(1) - oldest).ok()?;
        let event = Arc::clone(ring.get(at)?);
        self.seen = event.id;
        Some(Ok(event))
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Cuts at a character, and says so; takes out what could steer a terminal or turn the text around.
fn cut(text: String, most: usize) -> String {
    let steers =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut text = text.replace(steers, "\u{fffd}");
    if text.len() > most {
        let dots = '…';
        text.truncate(text.floor_char_boundary(most - dots.len_utf8()));
        text.push(dots);
    }
    text
}

#[cfg(test)]
mod tests;

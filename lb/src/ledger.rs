//! The connection ledger as the data path sees it: one entry for each client connection that ended,
//! handed over to whoever writes it, or lost and counted.
//!
//! Nothing here waits: the queue is bounded, and a full one loses the entry. While no ledger is
//! kept a session carries no more than an empty pointer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpStream;

use crate::client_hello::server_name;
use crate::close_reason::CloseReason;
use crate::handover::LedgerRecord;

/// Most entries that wait for the writer: what a storm of connections makes in a second or two,
/// and about 2 MiB.
pub const QUEUE_ENTRIES: usize = 8192;

/// A client connection that ended.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Address of the client.
    pub client: SocketAddr,
    /// The backend that served it, if one did.
    pub served: Option<Served>,
    /// Bytes from the backend to the client.
    pub received: u64,
    /// Bytes from the client to the backend.
    pub sent: u64,
    /// How long it lasted.
    pub lasted: Duration,
    /// When it ended.
    pub ended: SystemTime,
    /// Why.
    pub reason: CloseReason,
}

/// Who served a connection.
#[derive(Clone, Debug)]
pub struct Served {
    /// Name of the backend.
    pub backend: String,
    /// Its address.
    pub addr: SocketAddr,
    /// Our own address towards it: what the apiserver's audit log has as the source.
    pub local: Option<SocketAddr>,
    /// The name that the client asked for.
    pub server_name: Option<Box<str>>,
}

/// What became of the entries.
#[derive(Debug, Default)]
pub struct LedgerCounts {
    /// Written.
    pub written: AtomicU64,
    /// Lost: the queue was full, or the file did not take them.
    pub lost: AtomicU64,
    /// In the queue now.
    pub queued: AtomicU64,
}

/// The writing end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    queue: SyncSender<Entry>,
    counts: Arc<LedgerCounts>,
}

/// The place where a balancer finds its ledger; set once, before the first connection.
#[derive(Debug, Default)]
pub(crate) struct Slot(OnceLock<Ledger>);

/// A ledger, and the entries for whoever writes them.
#[must_use]
pub fn ledger() -> (Ledger, Receiver<Entry>) {
    let (queue, entries) = sync_channel(QUEUE_ENTRIES);
    (Ledger { queue, counts: Arc::default() }, entries)
}

impl Ledger {
    /// What became of the entries.
    #[must_use]
    pub fn counts(&self) -> &Arc<LedgerCounts> {
        &self.counts
    }

    /// Hands an entry over, or counts it as lost.
    fn add(&self, entry: Entry) {
        // Counted before it can be taken out.
        self.counts.queued.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(entry).is_err() {
            self.counts.queued.fetch_sub(1, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Slot {
    pub(crate) fn set(&self, ledger: Ledger) {
        // The first one stays; there is no second one.
        self.0.set(ledger).ok();
    }

    pub(crate) fn counts(&self) -> Option<&LedgerCounts> {
        self.0.get().map(|ledger| ledger.counts.as_ref())
    }

    /// Begins the entry of a session, if a ledger is kept.
    pub(crate) fn open(
        &self,
        client: SocketAddr,
        begun: Instant,
        backend: &TcpStream,
        flight: &[u8],
    ) -> Option<Box<Open>> {
        let ledger = self.0.get()?.clone();
        Some(Box::new(Open {
            ledger,
            client,
            begun,
            local: backend.local_addr().ok(),
            server_name: server_name(flight),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            reason: AtomicU8::new(0),
        }))
    }

    /// Goes on with the entry that another process began.
    pub(crate) fn go_on(&self, client: SocketAddr, record: &LedgerRecord) -> Option<Box<Open>> {
        let ledger = self.0.get()?.clone();
        let begun = Instant::now().checked_sub(Duration::from_millis(record.lasted_ms));
        Some(Box::new(Open {
            ledger,
            client,
            begun: begun.unwrap_or_else(Instant::now),
            local: record.local,
            server_name: record.server_name.clone(),
            received: AtomicU64::new(record.received),
            sent: AtomicU64::new(record.sent),
            reason: AtomicU8::new(0),
        }))
    }

    /// Notes a client that no backend served.
    pub(crate) fn unserved(&self, client: SocketAddr, begun: Instant, reason: CloseReason) {
        if let Some(ledger) = self.0.get() {
            let (lasted, ended) = (begun.elapsed(), SystemTime::now());
            ledger.add(Entry { client, served: None, received: 0, sent: 0, lasted, ended, reason });
        }
    }
}

/// The entry of a session that goes on.
#[derive(Debug)]
pub(crate) struct Open {
    ledger: Ledger,
    client: SocketAddr,
    begun: Instant,
    local: Option<SocketAddr>,
    server_name: Option<Box<str>>,
    received: AtomicU64,
    sent: AtomicU64,
    reason: AtomicU8,
}

impl Open {
    /// Adds bytes that passed.
    pub(crate) fn add_bytes(&self, received: u64, sent: u64) {
        self.received.fetch_add(received, Ordering::Relaxed);
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Notes why it ended.
    pub(crate) fn ended(&self, reason: CloseReason) {
        self.reason.store(reason.number(), Ordering::Relaxed);
    }

    /// What another process must know to go on with it.
    pub(crate) fn record(&self) -> LedgerRecord {
        LedgerRecord {
            lasted_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            local: self.local,
            server_name: self.server_name.clone(),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    /// Writes the entry, unless another process goes on with it. A session that was dropped without
    /// a reason was so because we stop.
    pub(crate) fn close(&mut self, backend: String, addr: SocketAddr) {
        let reason = CloseReason::from_number(self.reason.load(Ordering::Relaxed));
        if reason == Some(CloseReason::HandedOver) {
            return;
        }
        self.ledger.add(Entry {
            client: self.client,
            served: Some(Served {
                backend,
                addr,
                local: self.local,
                server_name: self.server_name.take(),
            }),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            lasted: self.begun.elapsed(),
            ended: SystemTime::now(),
            reason: reason.unwrap_or(CloseReason::Stopping),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_loses_entries_and_counts_them() {
        let (ledger, entries) = ledger();
        let counts = Arc::clone(ledger.counts());
        let slot = Slot::default();
        let client = "10.0.0.9:40000".parse().unwrap();
        slot.unserved(client, Instant::now(), CloseReason::NoBackend);
        slot.set(ledger);
        for _ in 0..QUEUE_ENTRIES + 3 {
            slot.unserved(client, Instant::now(), CloseReason::NoBackend);
        }
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        assert_eq!((read(&counts.queued), read(&counts.lost)), (QUEUE_ENTRIES as u64, 3));
        assert_eq!(entries.try_iter().count(), QUEUE_ENTRIES);
        drop(entries);
        slot.unserved(client, Instant::now(), CloseReason::NoBackend);
        assert_eq!(read(&counts.lost), 4, "nobody takes them any more");
    }
}

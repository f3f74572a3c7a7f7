//! What the join API counts: read by the metrics, written here and nowhere else.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::registry::tickets::TicketRejection;

/// Counts since the start.
#[derive(Debug, Default)]
pub struct ApiCounts {
    registered: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
    unknown: AtomicU64,
    expired: AtomicU64,
    used_up: AtomicU64,
    limited: AtomicU64,
    connections: AtomicU64,
    failed_handshakes: AtomicU64,
}

impl ApiCounts {
    /// Registrations by result: `accepted`, `refused`.
    pub fn registrations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [("accepted", &self.registered), ("refused", &self.refused)].map(read).into_iter()
    }

    /// Wrong tickets by reason: those of [`TicketRejection`], and `limited` for those that were not
    /// even looked at.
    pub fn rejections(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("malformed", &self.malformed),
            ("unknown", &self.unknown),
            ("expired", &self.expired),
            ("used_up", &self.used_up),
            ("limited", &self.limited),
        ]
        .map(read)
        .into_iter()
    }

    /// Connections that are open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that did not come to TLS.
    #[must_use]
    pub fn failed_handshakes(&self) -> u64 {
        self.failed_handshakes.load(Ordering::Relaxed)
    }

    pub(super) fn registration(&self, accepted: bool) {
        let count = if accepted { &self.registered } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejection(&self, reason: TicketRejection) {
        let count = match reason {
            TicketRejection::Malformed => &self.malformed,
            TicketRejection::Unknown => &self.unknown,
            TicketRejection::Expired => &self.expired,
            TicketRejection::UsedUp => &self.used_up,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn limited(&self) {
        self.limited.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed_handshake(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn connection(&self) -> OpenConnection<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(&self.connections)
    }
}

/// One open connection.
pub(super) struct OpenConnection<'a>(&'a AtomicU64);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn read((label, count): (&'static str, &AtomicU64)) -> (&'static str, u64) {
    (label, count.load(Ordering::Relaxed))
}

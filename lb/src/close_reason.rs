//! Why sessions end: a closed list, which is also the label of the metric.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// Why a session ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum CloseReason {
            $($(#[$doc])* $variant,)*
        }

        impl CloseReason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As metrics and status name it.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

close_reasons! {
    /// Both sides ended their streams, the client first.
    ClientEnded = "client_ended",
    /// Both sides ended their streams, the backend first.
    BackendEnded = "backend_ended",
    /// The client reset the connection.
    ClientReset = "client_reset",
    /// The backend reset the connection.
    BackendReset = "backend_reset",
    /// The client does not answer any more (keepalive or unacknowledged data).
    ClientLost = "client_lost",
    /// The backend does not answer any more (keepalive or unacknowledged data).
    BackendLost = "backend_lost",
    /// No byte either way for `timeouts.idle`.
    Idle = "idle",
    /// One side had ended, the other was silent for `timeouts.half_close`.
    HalfClosed = "half_closed",
    /// The backend is not there any more, or was never ours.
    BackendDead = "backend_dead",
    /// The backend accepts connections and does nothing with them.
    BackendFrozen = "backend_frozen",
    /// The client said nothing after it connected.
    ClientSilent = "client_silent",
    /// Closed to move load to a backend with fewer connections.
    Rebalanced = "rebalanced",
    /// Its backend is drained over a set time.
    Drained = "drained",
    /// Every backend has its limit of new connections already.
    Shed = "shed",
    /// Its source has its limit of connections already.
    SourceLimit = "source_limit",
    /// Every backend refused or failed.
    NoBackend = "no_backend",
    /// No backend accepted within `timeouts.dial`.
    DialTimeout = "dial_timeout",
    /// We ran out of descriptors, memory or source ports.
    LocalLimit = "local_limit",
    /// The program stops.
    Stopping = "stopping",
    /// Another process goes on with it: no end, so it is never counted.
    HandedOver = "handed_over",
}

impl CloseReason {
    /// The number that [`CloseReason::from_number`] reads back; never 0.
    #[must_use]
    pub fn number(self) -> u8 {
        (self as u8).saturating_add(1)
    }

    /// The reason of a number, `None` for 0 and for numbers that no reason has.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number.checked_sub(1)?)).copied()
    }

    /// Whether the peers must see a reset: the stream did not end as they meant it.
    #[must_use]
    pub fn is_reset(self) -> bool {
        !matches!(self, Self::ClientEnded | Self::BackendEnded | Self::HandedOver)
    }

    /// Whether it was the backend that ended the session.
    #[must_use]
    pub fn is_backends(self) -> bool {
        matches!(self, Self::BackendEnded | Self::BackendReset | Self::BackendLost)
    }
}

/// How many sessions ended, by reason.
#[derive(Debug, Default)]
pub struct CloseCounts([AtomicU64; CloseReason::ALL.len()]);

impl CloseCounts {
    /// Counts one.
    pub fn add(&self, reason: CloseReason) {
        if let Some(count) = self.0.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds `count` to the reason that `label` names; an unknown one is of a newer version.
    pub(crate) fn add_labelled(&self, label: &str, count: u64) {
        let known = CloseReason::ALL.iter().zip(&self.0);
        for (_, own) in known.filter(|(reason, _)| reason.label() == label) {
            own.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Each reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let all = CloseReason::ALL.iter().copied().zip(counts);
        all.filter(|(reason, _)| *reason != CloseReason::HandedOver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for reason in CloseReason::ALL {
            assert_eq!(CloseReason::from_number(reason.number()), Some(*reason));
        }
        assert_eq!(CloseReason::from_number(0), None);
        assert_eq!(CloseReason::from_number(200), None);
    }

    #[test]
    fn counts_are_kept_apart() {
        let counts = CloseCounts::default();
        counts.add(CloseReason::Stopping);
        counts.add(CloseReason::Stopping);
        counts.add(CloseReason::ClientEnded);
        let seen: Vec<_> = counts.iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(seen, [(CloseReason::ClientEnded, 1), (CloseReason::Stopping, 2)]);
    }
}

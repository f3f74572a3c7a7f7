//! Where the sessions of one worker stand while it is not decided which process goes on with them.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::listener::ClientPermit;
use crate::relay::Relay;

/// A session that moves no byte, whole.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) relay: Relay,
    pub(crate) permit: ClientPermit,
}

/// The standing sessions of one worker: at most as many as it has sessions.
#[derive(Debug, Default)]
pub(crate) struct StandingPlace {
    /// Whether a session that is established now shall stand still at once.
    departing: AtomicBool,
    sessions: Mutex<Vec<Standing>>,
}

impl StandingPlace {
    pub(crate) fn departing(&self) -> bool {
        self.departing.load(Ordering::Acquire)
    }

    pub(crate) fn set_departing(&self, departing: bool) {
        self.departing.store(departing, Ordering::Release);
    }

    pub(crate) fn add(&self, standing: Standing) {
        self.sessions.lock().push(standing);
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.lock().len()
    }

    pub(crate) fn take(&self) -> Vec<Standing> {
        std::mem::take(&mut *self.sessions.lock())
    }
}

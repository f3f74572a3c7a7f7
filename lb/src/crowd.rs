//! Whether clients wait for a place: then those that say nothing have to go sooner.
//!
//! Somebody who opens connections and says nothing on them can use up all places. Each stays for
//! `timeouts.first_byte` (10 s), which is as long as Go's clients wait for a handshake, so without this
//! everybody behind them would give up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longest silence of a new client while others wait: a hello follows its handshake at once, and a
/// lost packet of it comes again after 0.2 s (`TCP_RTO_MIN`).
pub(crate) const HURRIED: Duration = Duration::from_millis(500);

/// How many accept loops have a client that waits, and no place or descriptor for it.
#[derive(Debug, Default)]
pub(crate) struct Crowd(AtomicUsize);

impl Crowd {
    /// One more waits, until the guard is dropped.
    pub(crate) fn enter(&self) -> Waits<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waits(self)
    }

    /// Whether anybody waits.
    pub(crate) fn waits(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// A wait for a place.
#[derive(Debug)]
pub(crate) struct Waits<'a>(&'a Crowd);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

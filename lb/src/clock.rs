//! A clock that costs one load to read.
//!
//! Every message of every session notes when it passed; asking the kernel each time would show in
//! the profile. The workers' sweepers move this clock on, so it is at most one sweep behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A moment, in milliseconds since the program started.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Millis(pub u64);

impl Millis {
    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// The clock of the balancer.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    swept: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now(), swept: AtomicU64::new(0) }
    }
}

impl Clock {
    /// A clock that goes on where another one stands now, so that moments of the two can be compared.
    #[must_use]
    pub fn continuing(now: Millis) -> Self {
        let past = Instant::now().checked_sub(Duration::from_millis(now.0));
        Self { start: past.unwrap_or_else(Instant::now), swept: AtomicU64::new(now.0) }
    }

    /// The exact time.
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The exact time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The time of the last sweep.
    #[must_use]
    pub fn coarse(&self) -> Millis {
        Millis(self.swept.load(Ordering::Relaxed))
    }

    /// Moves the coarse clock on and returns the time.
    pub fn sweep(&self) -> Millis {
        let now = self.now();
        self.swept.fetch_max(now.0, Ordering::Relaxed);
        now
    }
}

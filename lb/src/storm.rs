//! Storm control: bounds the new connections of each backend and, if wanted, of each source.
//!
//! When a master dies its clients all come back in the same second; the survivors need their
//! processors for the lists that follow. A wait spreads them, and what would wait too long is reset,
//! which client-go answers with a back-off.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Longest wait for a place; after that the next backend is asked. Half of what Go's clients give a TLS
/// handshake: `kubectl` tries nothing again, so that a wait is better for it than a reset.
pub const WAIT_MAX: Duration = Duration::from_secs(5);

/// How many new connections a backend may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StormLimits {
    /// In a second, lasting; 0 is no limit.
    pub per_second: u32,
    /// At once, after a quiet time.
    pub burst: u32,
}

impl StormLimits {
    /// The time that one connection takes of the budget; `None` without a limit.
    fn interval_us(self) -> Option<u64> {
        1_000_000_u64.checked_div(u64::from(self.per_second))
    }

    /// When one more may start (`Ok`, with the new state), or that it would wait too long. Pure: the
    /// state is the moment at which the budget is whole again, in microseconds.
    fn reserve(self, whole_at: u64, now: u64) -> Result<(u64, Duration), TooMany> {
        let Some(interval) = self.interval_us() else {
            return Ok((whole_at, Duration::ZERO));
        };
        let burst = interval.saturating_mul(u64::from(self.burst.max(1)));
        let wait = |at: u64| Duration::from_micros(at.saturating_sub(now).saturating_sub(burst));
        // Further away than these limits can bring it: they were tighter before.
        let stale = wait(whole_at) > WAIT_MAX;
        let whole_at = if stale { now.saturating_add(burst) } else { whole_at.max(now) };
        let next = whole_at.saturating_add(interval);
        let wait = wait(next);
        if wait > WAIT_MAX { Err(TooMany) } else { Ok((next, wait)) }
    }
}

/// The wait would be longer than [`WAIT_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// The budget of one backend, shared by all threads.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// How far the budget is used, for another process.
    pub(crate) fn used(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The budget of another process.
    pub(crate) fn revived(used: u64) -> Self {
        Self(AtomicU64::new(used))
    }

    /// Takes one place; says how long to wait for it.
    ///
    /// # Errors
    /// The wait would be too long; no place was taken.
    pub fn take(&self, limits: StormLimits, since_start: Duration) -> Result<Duration, TooMany> {
        if limits.per_second == 0 {
            return Ok(Duration::ZERO);
        }
        let now = u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX);
        let mut wait = Err(TooMany);
        let take = |whole_at| match limits.reserve(whole_at, now) {
            Ok((next, found)) => {
                wait = Ok(found);
                Some(next)
            }
            Err(error) => {
                wait = Err(error);
                None
            }
        };
        // Whether it was changed is what `wait` says.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok();
        wait
    }
}

/// Open connections of each source address, if they are bounded.
#[derive(Debug, Default)]
pub struct Sources(Mutex<HashMap<IpAddr, u32>>);

impl Sources {
    /// Counts one connection of this source; `None` at the limit, which is 0 for none.
    #[must_use]
    pub fn admit(self: &Arc<Self>, source: IpAddr, limit: u32) -> Option<SourceGuard> {
        if limit == 0 {
            return Some(SourceGuard(None));
        }
        let mut counts = self.0.lock();
        let count = counts.entry(source.to_canonical()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(SourceGuard(Some(Box::new((Arc::clone(self), source.to_canonical())))))
    }
}

/// One connection counted on its source. Boxed, because most have no limit to count against; by
/// default it is not counted.
#[derive(Debug, Default)]
pub struct SourceGuard(Option<Box<(Arc<Sources>, IpAddr)>>);

impl Drop for SourceGuard {
    fn drop(&mut self) {
        let Some(counted) = self.0.take() else {
            return;
        };
        let (sources, source) = *counted;
        let mut counts = sources.0.lock();
        if let Some(count) = counts.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: StormLimits = StormLimits { per_second: 200, burst: 400 };

    #[test]
    fn a_burst_then_the_rate_then_no_more() {
        let bucket = Bucket::default();
        let start = Duration::from_secs(10);
        let waits: Vec<_> = (0..1500).map(|_| bucket.take(LIMITS, start)).collect();
        assert_eq!(waits[399], Ok(Duration::ZERO));
        assert_eq!(waits[400], Ok(Duration::from_millis(5)));
        assert_eq!(waits[599], Ok(Duration::from_secs(1)));
        assert_eq!(waits[1399], Ok(WAIT_MAX));
        assert_eq!(waits[1400], Err(TooMany));
        assert_eq!(bucket.take(LIMITS, start + Duration::from_millis(5)), Ok(WAIT_MAX));
    }

    #[test]
    fn a_wider_limit_counts_at_once() {
        let bucket = Bucket::default();
        let tight = StormLimits { per_second: 10, burst: 400 };
        let start = Duration::from_secs(10);
        while bucket.take(tight, start).is_ok() {}
        assert!(
            bucket.take(LIMITS, start).is_ok(),
            "what the old one used up is not held against it"
        );
        let more = (0..2000).filter(|_| bucket.take(LIMITS, start).is_ok()).count();
        assert_eq!(more, 999, "but it begins with an empty budget: five seconds' worth may wait");
    }

    #[test]
    fn no_limit_is_no_wait() {
        let bucket = Bucket::default();
        let none = StormLimits { per_second: 0, burst: 0 };
        assert!((0..10_000).all(|_| bucket.take(none, Duration::ZERO) == Ok(Duration::ZERO)));
    }

    #[test]
    fn a_source_is_counted_and_forgotten() {
        let sources = Arc::new(Sources::default());
        let source: IpAddr = "10.0.0.9".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.0.0.9".parse().unwrap();
        let one = sources.admit(source, 2).unwrap();
        let _two = sources.admit(mapped, 2).unwrap();
        assert!(sources.admit(source, 2).is_none(), "both families are one source");
        assert!(sources.admit("10.0.0.8".parse().unwrap(), 2).is_some());
        drop(one);
        assert!(sources.admit(source, 2).is_some());
        drop(_two);
        assert!(sources.0.lock().is_empty());
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(steps in prop::collection::vec(0u64..20_000, 1..2000)) {
            let limits = StormLimits { per_second: 100, burst: 50 };
            let (bucket, mut now, mut started) = (Bucket::default(), 0u64, Vec::new());
            for pause in steps {
                now += pause;
                if let Ok(wait) = bucket.take(limits, Duration::from_micros(now)) {
                    started.push(now + u64::try_from(wait.as_micros()).unwrap());
                }
            }
            started.sort_unstable();
            for (index, begin) in started.iter().enumerate() {
                let in_a_second = started[index..].iter().filter(|at| **at < begin + 1_000_000).count();
                prop_assert!(in_a_second <= 151, "{in_a_second}");
            }
        }
    }
}

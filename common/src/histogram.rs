//! Times in fixed buckets, as Prometheus reads them. All of it is atomics: the data path may add a
//! time at any moment, and no reader holds it up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Upper bounds of the buckets in microseconds: from a fast answer in the same rack to the longest
/// wait that a setting allows. One more bucket holds what is longer.
pub const BOUNDS_US: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000,
];

/// How often times of each length were seen.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What a [`Histogram`] holds, for another process to go on with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramRecord {
    /// How many times of each bucket.
    pub buckets: Vec<u64>,
    /// All times together, in microseconds.
    pub sum_us: u64,
}

impl HistogramRecord {
    /// What was added since `earlier`.
    pub fn subtract(&mut self, earlier: &Self) {
        self.sum_us = self.sum_us.saturating_sub(earlier.sum_us);
        for (count, before) in self.buckets.iter_mut().zip(&earlier.buckets) {
            *count = count.saturating_sub(*before);
        }
    }
}

/// What a [`Histogram`] held at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Of each bound, how many times were not longer; at the end, how many there were.
    pub cumulative: [u64; BOUNDS_US.len() + 1],
    /// All times together.
    pub sum: Duration,
}

impl Histogram {
    /// Adds one time.
    pub fn observe(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What another process needs to go on with it.
    #[must_use]
    pub fn record(&self) -> HistogramRecord {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        HistogramRecord { buckets, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }

    /// Adds what another process measured.
    pub fn add(&self, record: &HistogramRecord) {
        // Other bounds would give the counts another meaning.
        if record.buckets.len() == self.buckets.len() {
            self.sum_us.fetch_add(record.sum_us, Ordering::Relaxed);
            for (own, count) in self.buckets.iter().zip(&record.buckets) {
                own.fetch_add(*count, Ordering::Relaxed);
            }
        }
    }

    /// What it holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut all = 0;
        let cumulative = self.buckets.each_ref().map(|bucket| {
            all += bucket.load(Ordering::Relaxed);
            all
        });
        Snapshot { cumulative, sum: Duration::from_micros(self.sum_us.load(Ordering::Relaxed)) }
    }
}

impl Snapshot {
    /// How many times there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for us in [0, 250, 251, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let seen = histogram.snapshot();
        assert_eq!((seen.cumulative[0], seen.cumulative[1]), (2, 3));
        assert_eq!((seen.cumulative[13], seen.count()), (4, 5));
        assert_eq!(seen.sum, Duration::from_micros(20_000_502));
    }

    proptest! {
        #[test]
        fn it_counts_what_was_observed(times in prop::collection::vec(0_u64..20_000_000, 0..50)) {
            let histogram = Histogram::default();
            times.iter().for_each(|us| histogram.observe(Duration::from_micros(*us)));
            let seen = histogram.snapshot();
            for (bound, count) in BOUNDS_US.iter().zip(seen.cumulative) {
                let within = times.iter().filter(|us| *us <= bound).count() as u64;
                prop_assert_eq!(count, within);
            }
            prop_assert_eq!(seen.count(), times.len() as u64);
        }
    }
}

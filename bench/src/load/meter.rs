//! Counts what comes through. Each thread has a tally of its own, so that no lock is ever waited
//! for while a scenario runs.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// The span of latencies that are told apart, in nanoseconds, and to how many digits. One slower
/// than a minute counts as a minute.
const LATENCY: (u64, u64, u8) = (100, 60_000_000_000, 3);

/// What came through while it was counted.
#[derive(Debug)]
pub(crate) struct Measured {
    /// How long it was counted.
    pub(crate) seconds: f64,
    /// Requests answered.
    pub(crate) operations: u64,
    /// Payload received and sent.
    pub(crate) bytes: u64,
    /// Requests, connections or streams that failed.
    pub(crate) errors: u64,
    /// The first error that was seen, at any time.
    pub(crate) fault: Option<String>,
    /// From the start of each request to the end of its answer, in nanoseconds.
    pub(crate) latencies: Option<Histogram<u64>>,
    /// The same for calls that open a connection of their own beside other work.
    pub(crate) calls: Option<Histogram<u64>>,
}

/// The meters of all threads.
pub(crate) struct Meters {
    shared: Arc<Shared>,
    tallies: Vec<Arc<Mutex<Tally>>>,
}

/// The meter of one thread.
#[derive(Clone)]
pub(crate) struct Meter {
    shared: Arc<Shared>,
    tally: Arc<Mutex<Tally>>,
}

#[derive(Default)]
struct Shared {
    counting: AtomicBool,
    ready: AtomicUsize,
    fault: Mutex<Option<String>>,
}

#[derive(Default)]
struct Tally {
    operations: u64,
    bytes: u64,
    errors: u64,
    latencies: Option<Histogram<u64>>,
    calls: Option<Histogram<u64>>,
}

impl Meters {
    /// Meters for `threads` threads, which do not count yet.
    pub(super) fn new(threads: usize) -> Self {
        let tally = || {
            Arc::new(Mutex::new(Tally {
                latencies: histogram(),
                calls: histogram(),
                ..Tally::default()
            }))
        };
        Self {
            shared: Arc::default(),
            tallies: std::iter::repeat_with(tally).take(threads.max(1)).collect(),
        }
    }

    /// The meter of the thread whose turn the number `turn` is.
    pub(super) fn of_thread(&self, turn: usize) -> Meter {
        let tally = self.tallies.get(turn % self.tallies.len()).cloned().unwrap_or_default();
        Meter { shared: Arc::clone(&self.shared), tally }
    }

    /// Switches counting on or off.
    pub(super) fn count(&self, on: bool) {
        self.shared.counting.store(on, Ordering::Release);
    }

    /// Sessions that have reported themselves ready.
    pub(super) fn ready(&self) -> usize {
        self.shared.ready.load(Ordering::Acquire)
    }

    /// The first error.
    pub(super) fn fault(&self) -> Option<String> {
        self.shared.fault.lock().clone()
    }

    /// Adds all threads up.
    pub(super) fn sum(&self, seconds: f64) -> Measured {
        let mut sum = Measured {
            seconds,
            operations: 0,
            bytes: 0,
            errors: 0,
            fault: self.fault(),
            latencies: histogram(),
            calls: histogram(),
        };
        for tally in &self.tallies {
            let tally = tally.lock();
            sum.operations += tally.operations;
            sum.bytes += tally.bytes;
            sum.errors += tally.errors;
            add(&mut sum.latencies, tally.latencies.as_ref());
            add(&mut sum.calls, tally.calls.as_ref());
        }
        sum
    }
}

impl Meter {
    /// A session has carried something.
    pub(super) fn ready(&self) {
        self.shared.ready.fetch_add(1, Ordering::AcqRel);
    }

    /// A request that was due at `since` has been answered, and `bytes` were received.
    pub(super) fn operation(&self, since: Instant, bytes: u64) {
        if self.counts() {
            let mut tally = self.tally.lock();
            tally.operations += 1;
            tally.bytes += bytes;
            record(&mut tally.latencies, since.elapsed());
        }
    }

    /// An event has arrived, `latency` after it was sent.
    pub(super) fn event(&self, latency: Duration, bytes: u64) {
        if self.counts() {
            let mut tally = self.tally.lock();
            tally.operations += 1;
            tally.bytes += bytes;
            record(&mut tally.latencies, latency);
        }
    }

    /// A call that was due at `since` has been answered over a connection of its own.
    pub(super) fn call(&self, since: Instant, bytes: u64) {
        if self.counts() {
            let mut tally = self.tally.lock();
            tally.operations += 1;
            tally.bytes += bytes;
            record(&mut tally.calls, since.elapsed());
        }
    }

    /// Part of a stream came through.
    pub(super) fn bytes(&self, bytes: usize) {
        if self.counts() {
            self.tally.lock().bytes += bytes as u64;
        }
    }

    /// A request, connection or stream failed.
    pub(super) fn failed(&self, error: &io::Error) {
        self.shared.fault.lock().get_or_insert_with(|| error.to_string());
        if self.counts() {
            self.tally.lock().errors += 1;
        }
    }

    fn counts(&self) -> bool {
        self.shared.counting.load(Ordering::Acquire)
    }
}

fn record(latencies: &mut Option<Histogram<u64>>, latency: Duration) {
    if let Some(latencies) = latencies {
        latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }
}

fn add(sum: &mut Option<Histogram<u64>>, one: Option<&Histogram<u64>>) {
    if let (Some(sum), Some(one)) = (sum, one) {
        // Cannot fail: both have the same span.
        sum.add(one).ok();
    }
}

fn histogram() -> Option<Histogram<u64>> {
    let (low, high, digits) = LATENCY;
    // The span is a constant that the tests have tried.
    Histogram::new_with_bounds(low, high, digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_counts_before_the_beginning() {
        let meters = Meters::new(2);
        let meter = meters.of_thread(3);
        meter.operation(Instant::now(), 10);
        meters.count(true);
        meter.operation(Instant::now(), 64);
        meters.of_thread(0).bytes(6);
        meter.failed(&io::ErrorKind::ConnectionReset.into());
        meters.count(false);
        meter.bytes(1);
        let sum = meters.sum(1.0);
        assert_eq!((sum.operations, sum.bytes, sum.errors), (1, 70, 1));
        assert_eq!(sum.latencies.unwrap().len(), 1);
        assert_eq!(sum.fault.as_deref(), Some("connection reset"));
    }
}

//! How a backend that returns gets its connections back: pure.
//!
//! It has none while the others have many, so least connections alone would send it every new one:
//! its caches are cold, and the flood may be what ends it again. Until it has caught up it therefore
//! takes part in a choice only so often that it gets at most one and a half times an equal share, and
//! in the first 30 s a part of that which grows from a tenth to the whole.

use std::time::Duration;

/// Time in which its part grows to the whole.
pub const LENGTH: Duration = Duration::from_secs(30);

/// Its part at the beginning.
const PART_MIN: f64 = 0.1;

/// Most new connections, as a multiple of an equal share: it catches up, and stays below twice.
const CATCH_UP: f64 = 1.5;

/// A backend has caught up with this part of the mean of the others: what is missing then comes at
/// once, and must be too little to be a flood.
const CAUGHT_UP: f64 = 0.95;

/// The part of its share that it gets after this time.
#[must_use]
pub fn part(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() / LENGTH.as_secs_f64()).clamp(PART_MIN, 1.0)
}

/// Whether it takes part in one choice among `peers` backends, itself included; `random` is from 0
/// to 1.
#[must_use]
pub fn takes_part(elapsed: Duration, peers: usize, random: f64) -> bool {
    let peers = u32::try_from(peers.max(1)).map_or(f64::MAX, f64::from);
    random < CATCH_UP * part(elapsed) / peers || peers <= 1.0
}

/// Whether the slow start is over: its time is, and the backend has caught up with the mean of the
/// others.
#[must_use]
pub fn is_over(elapsed: Duration, load: u32, others_mean: f64) -> bool {
    elapsed >= LENGTH && f64::from(load) >= CAUGHT_UP * others_mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grows_from_a_tenth_to_the_whole() {
        let table = [(0, 0.1), (3, 0.1), (15, 0.5), (30, 1.0), (300, 1.0)];
        for (seconds, expected) in table {
            let found = part(Duration::from_secs(seconds));
            assert!((found - expected).abs() < 1e-9, "{seconds}: {found}");
        }
    }

    #[test]
    fn ends_when_it_has_caught_up() {
        let long = Duration::from_secs(31);
        assert!(!is_over(Duration::from_secs(29), 100, 100.0));
        assert!(!is_over(long, 94, 100.0));
        assert!(is_over(long, 95, 100.0));
        assert!(is_over(long, 0, 0.0));
    }

    proptest! {
        #[test]
        fn less_than_twice_an_equal_share(seconds in 0u64..100, peers in 2usize..10, seed in any::<u64>()) {
            let mut random = fastrand::Rng::with_seed(seed);
            let elapsed = Duration::from_secs(seconds);
            let taken = (0..4000).filter(|_| takes_part(elapsed, peers, random.f64())).count();
            prop_assert!(taken < 2 * 4000 / peers);
        }
    }
}

//! Least connections, as a pure function.
//!
//! The lowest `(connections + 1) / weight` wins, where connections are those established and those
//! being dialled. The one that is added is the connection to place: without it every backend with
//! no connection would look alike, whatever its weight. Ties go to the backend that took the fewest
//! new connections lately, so that short connections spread too, then to chance.

/// Full weight. A fraction of it is given to a backend that should get less.
pub const WEIGHT_FULL: u32 = 100;

/// What the choice needs to know of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the snapshot.
    pub index: usize,
    /// Connections established or being dialled.
    pub load: u32,
    /// From 1 to [`WEIGHT_FULL`].
    pub weight: u32,
    /// A measure of the new connections of late.
    pub recent: u32,
}

/// The candidate that should get the next connection; `random` breaks ties.
#[must_use]
pub fn least_connections(
    candidates: impl Iterator<Item = Candidate>,
    random: u32,
) -> Option<Candidate> {
    let mut best: Option<Candidate> = None;
    let mut equals: u32 = 0;
    for candidate in candidates {
        let order = best.map_or(std::cmp::Ordering::Less, |best| compare(&candidate, &best));
        match order {
            std::cmp::Ordering::Less => {
                best = Some(candidate);
                equals = 1;
            }
            std::cmp::Ordering::Equal => {
                equals += 1;
                // The n-th of n equals replaces the choice with a chance of 1/n: all are as likely.
                if mix(random, equals).is_multiple_of(equals) {
                    best = Some(candidate);
                }
            }
            std::cmp::Ordering::Greater => {}
        }
    }
    best
}

fn compare(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    let score = |this: &Candidate, other: &Candidate| {
        (u64::from(this.load) + 1) * u64::from(other.weight.max(1))
    };
    score(a, b).cmp(&score(b, a)).then(a.recent.cmp(&b.recent))
}

/// A different number for each round from one random number.
fn mix(random: u32, round: u32) -> u32 {
    let mixed = random.wrapping_add(round.wrapping_mul(0x9E37_79B9));
    (mixed ^ (mixed >> 15)).wrapping_mul(0x85EB_CA6B) >> 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(index: usize, load: u32, weight: u32, recent: u32) -> Candidate {
        Candidate { index, load, weight, recent }
    }

    fn chosen(candidates: &[Candidate]) -> usize {
        least_connections(candidates.iter().copied(), 7).unwrap().index
    }

    #[test]
    fn the_rules_in_their_order() {
        let full = WEIGHT_FULL;
        let table = [
            (vec![candidate(0, 3, full, 0), candidate(1, 2, full, 9)], 1, "fewest connections"),
            (vec![candidate(0, 2, full, 5), candidate(1, 2, full, 4)], 1, "then fewest of late"),
            (vec![candidate(0, 0, 10, 0), candidate(1, 8, full, 0)], 1, "a low weight counts up"),
            (vec![candidate(0, 0, 10, 0), candidate(1, 10, full, 0)], 0, "up to its share"),
        ];
        for (candidates, expected, rule) in table {
            assert_eq!(chosen(&candidates), expected, "{rule}");
        }
        assert_eq!(least_connections(std::iter::empty(), 7), None);
    }

    #[test]
    fn equals_are_chosen_equally() {
        let mut counts = [0u32; 3];
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..30_000 {
            let equals = (0..3).map(|index| candidate(index, 4, WEIGHT_FULL, 1));
            counts[least_connections(equals, random.u32(..)).unwrap().index] += 1;
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn held_connections_differ_by_one_at_most(
            backends in 1usize..10, connections in 0u32..500, seed in any::<u64>(),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut loads = vec![0u32; backends];
            for _ in 0..connections {
                let all = loads.iter().enumerate().map(|(i, load)| candidate(i, *load, 100, 0));
                let index = least_connections(all, random.u32(..)).unwrap().index;
                loads[index] += 1;
            }
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
        }
    }
}

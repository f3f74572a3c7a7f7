//! Medians with their spread, and the comparison of one figure with the best of the peers.

use serde::{Deserialize, Serialize};

/// The middle of several rounds, and how far they were apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The middle value; of an even number, the mean of the two in the middle.
    pub(crate) median: f64,
    /// The smallest value.
    pub(crate) min: f64,
    /// The largest value.
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of `values`, unless there are none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self {
            median: f64::midpoint(lower, upper),
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }
}

/// The best of several figures.
pub(crate) fn best(values: impl Iterator<Item = f64>, more_is_better: bool) -> Option<f64> {
    values.reduce(|a, b| if more_is_better { a.max(b) } else { a.min(b) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_the_order() {
        let spread = Spread::of(&[5.0, 1.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { median: 3.0, min: 1.0, max: 5.0 });
        assert_eq!(Spread::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn best_depends_on_the_direction() {
        assert_eq!(best([1.0, 3.0, 2.0].into_iter(), true), Some(3.0));
        assert_eq!(best([1.0, 3.0, 2.0].into_iter(), false), Some(1.0));
        assert_eq!(best(std::iter::empty(), true), None);
    }
}

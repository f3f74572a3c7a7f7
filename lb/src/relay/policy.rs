//! When to copy and when to splice: pure, one for each direction.
//!
//! A splice costs two system calls where a copy costs two as well, but no copying of the bytes; for
//! small messages the pipe is pure cost. Two full reads in a row announce bulk, five short ones its
//! end (prototypes of ours: fewer make the mover flap, more lose a tenth of the bulk rate).

/// A read of at least this many bytes announces bulk: half the scratch buffer.
const FULL: usize = 32 * 1024;

/// Full reads in a row after which a direction splices.
const FULL_READS: u8 = 2;

/// Short splices in a row after which it copies again.
const SHORT_SPLICES: u8 = 5;

/// Which mover a direction uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MoverPolicy {
    splice: bool,
    in_a_row: u8,
}

impl MoverPolicy {
    /// Whether the next bytes go through a pipe.
    pub(super) fn splices(self) -> bool {
        self.splice
    }

    /// The policy after `bytes` were taken from the source at once.
    pub(super) fn after(self, bytes: usize) -> Self {
        let speaks_for_a_switch = (bytes >= FULL) != self.splice;
        let in_a_row = if speaks_for_a_switch { self.in_a_row + 1 } else { 0 };
        let needed = if self.splice { SHORT_SPLICES } else { FULL_READS };
        if in_a_row >= needed {
            Self { splice: !self.splice, in_a_row: 0 }
        } else {
            Self { splice: self.splice, in_a_row }
        }
    }

    /// The policy when no pipe was to be had: copy, and ask again after full reads.
    pub(super) fn without_pipe(self) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(reads: &[usize]) -> MoverPolicy {
        reads.iter().fold(MoverPolicy::default(), |policy, bytes| policy.after(*bytes))
    }

    #[test]
    fn switches_after_runs_only() {
        let (full, short) = (FULL, FULL - 1);
        let table: &[(&[usize], bool)] = &[
            (&[], false),
            (&[full], false),
            (&[full, short, full], false),
            (&[full, full], true),
            (&[full, full, short, short, short, short], true),
            (&[full, full, short, short, short, short, full, short], true),
            (&[full, full, short, short, short, short, short], false),
            (&[short; 100], false),
        ];
        for (reads, splices) in table {
            assert_eq!(after(reads).splices(), *splices, "{reads:?}");
        }
        assert!(!after(&[full, full]).without_pipe().splices());
    }
}

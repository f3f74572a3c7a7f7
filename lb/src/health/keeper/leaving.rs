//! The keeper's part for a membership that is replaced whole: who leaves serves until somebody of
//! the new ones was heard, so that a reload leaves no gap.

use common::member::MEMBERS_MAX;

use super::{Keeper, Ward};
use crate::health::Rank;
use crate::pool::Entry;

impl Keeper {
    /// Keeps those who leave in the snapshot if they serve.
    pub(super) fn let_leave(&mut self, gone: &[Ward]) {
        let serving = gone.iter().map(Ward::entry).filter(|entry| entry.rank != Rank::Never);
        self.leaving.extend(serving);
        self.leaving.truncate(MEMBERS_MAX);
    }

    /// The snapshot's entries: the members, and those who leave if nobody else can serve yet.
    pub(super) fn entries(&mut self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.wards.iter().map(Ward::entry).collect();
        let serves = entries.iter().any(|entry| entry.rank != Rank::Never);
        // A member that was asked and does not serve is what the operator wanted; the one who was
        // never asked may be about to.
        let unheard = self.wards.iter().any(|ward| ward.judge.last().is_none());
        if serves || !unheard {
            let left = std::mem::take(&mut self.leaving).into_iter().map(|entry| entry.backend);
            self.balancer.pool().retire(left);
        }
        let room = MEMBERS_MAX.saturating_sub(entries.len());
        entries.extend(self.leaving.iter().take(room).cloned());
        entries
    }
}

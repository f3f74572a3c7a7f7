//! What the keepers of two processes tell each other.

use std::time::Duration;

use super::{Keeper, Ward};
use crate::handover::{Estate, WardRecord};
use crate::rebalance::Rebalancer;

/// Time in which what another process knew of a member is taken for true: its prober has corrected
/// it by then. Members that come from a cluster need not be in the first membership.
const INHERITED_FOR: Duration = Duration::from_secs(30);

/// What a keeper knows and its successor must know.
#[derive(Clone, Debug, Default)]
pub struct KeeperRecord {
    /// The health of the members.
    pub wards: Vec<WardRecord>,
    /// What was rebalanced of late.
    pub rebalancer: Rebalancer,
}

impl Keeper {
    /// What it knows now.
    pub(super) fn record(&self) -> KeeperRecord {
        let ward = |ward: &Ward| WardRecord {
            addr: ward.backend.member.addr,
            judge: ward.judge.clone(),
            slow_start: ward.slow_start,
            emptied_by: ward.emptied_by,
        };
        let wards = self.wards.iter().map(ward).collect();
        KeeperRecord { wards, rebalancer: self.rebalancer.clone() }
    }

    /// Begins with what another keeper knew: its members are not PENDING again, and nobody who was
    /// drained is not any more. The number of the membership goes on. To be called before [`Keeper::run`].
    pub fn inherit(&mut self, estate: &Estate) {
        self.inherited = (estate.wards.clone(), self.balancer.now().after(INHERITED_FOR));
        self.rebalancer = estate.rebalancer.clone();
        self.earlier = estate.generation;
    }
}

//! The keeper's part that drains: for the operator by name, for a machine that goes down by address.

use std::net::SocketAddr;
use std::time::Duration;

use super::Keeper;
use super::notes::Cause;
use crate::health::DrainedBy;

impl Keeper {
    /// The operator drains the member of this name, or takes that back. Whether there is one.
    pub(super) fn drain(&mut self, name: &str, drained: bool, over: Option<Duration>) -> bool {
        let now = self.balancer.now();
        let ward = self.wards.iter_mut().find(|ward| ward.backend.member.name == name);
        let Some(ward) = ward else {
            return false;
        };
        let addr = ward.backend.member.addr;
        ward.emptied_by = over.filter(|_| drained).map(|over| now.after(over));
        self.hold_back(addr, DrainedBy::Operator, drained);
        self.note_drain(name, drained, over);
        true
    }

    /// The machine of the member at this address goes down, or is back. Whether there is one.
    pub(super) fn going_down(&mut self, addr: SocketAddr, going: bool) -> bool {
        self.hold_back(addr, DrainedBy::Machine, going)
    }

    fn hold_back(&mut self, addr: SocketAddr, by: DrainedBy, drained: bool) -> bool {
        let now = self.balancer.now();
        let Some(ward) = self.ward(addr) else {
            return false;
        };
        let cause = match by {
            DrainedBy::Operator => Cause::Operator,
            DrainedBy::Machine => Cause::Seen,
        };
        match ward.judge.drain(by, drained, now) {
            Some(transition) => self.turn(addr, &transition, cause),
            None => self.publish(),
        }
        true
    }
}

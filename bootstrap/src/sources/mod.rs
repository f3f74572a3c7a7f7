//! One membership out of four sources, as a pure machine: told what each source last said and how
//! the backends are, it says who is a member.
//!
//! In falling order of trust: Static (the configuration), Registered (the coordinator's registry),
//! Kubernetes (`default/kubernetes`), Remembered (the state directory). There is one member for an
//! address; it carries the label of the most trusted source that names it.
//!
//! Taking a member out is what can hurt, so the rules are about that:
//!
//!  * An empty answer of the registry or of Kubernetes says nothing. Only the operator can empty
//!    the membership: by the configuration, or by [`Sources::leave`].
//!  * Whoever left stays out although Kubernetes lists it for up to 25 s more, until Kubernetes
//!    lists it no longer or it registers again.
//!  * A member that only Kubernetes named is kept when Kubernetes drops it, until its backend is
//!    DEAD; one that was never UP goes at once. The same holds for remembered ones.
//!  * A registered member whose agent is missing is left out once it is DEAD too and Kubernetes does
//!    not list it, and is back with its next heartbeat.
//!  * Nobody is left out for being DEAD unless another member serves: when all masters are gone, all
//!    of them are waited for.

mod merge;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use common::member::MEMBERS_MAX;
use common::status::BackendState;
use common::{Member, Source};

/// Addresses that left and are remembered for it; beyond it the oldest is forgotten, and comes back
/// if Kubernetes still lists it.
const LEFT_MAX: usize = MEMBERS_MAX;

/// A member as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its name and address; the source is not looked at.
    pub member: Member,
    /// Whether its agent has not been heard for too long.
    pub missing: bool,
}

/// The last word of each source, and what is known of the backends.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    configured: Vec<Member>,
    registered: Vec<Registered>,
    /// Registered ones that are left out: missing and dead.
    withdrawn: BTreeSet<SocketAddr>,
    /// The last answer of Kubernetes that was not empty.
    listed: BTreeSet<SocketAddr>,
    /// Once listed, not in the last answer, and not dead yet.
    lingering: BTreeSet<SocketAddr>,
    /// Remembered ones that no better source has spoken for.
    candidates: BTreeMap<SocketAddr, Member>,
    /// Names of remembered addresses.
    names: BTreeMap<SocketAddr, String>,
    /// Who left, oldest first.
    left: VecDeque<SocketAddr>,
    states: BTreeMap<SocketAddr, BackendState>,
}

impl Sources {
    /// The operator's list. An empty one empties this source and no other.
    pub fn configure(&mut self, members: Vec<Member>) {
        self.configured = members;
        self.settle();
    }

    /// Everybody in the registry. An empty list says nothing: a registry that was lost must not
    /// take masters out; [`Sources::leave`] does. Whoever is in the list has not left.
    pub fn registered(&mut self, members: Vec<Registered>) {
        if members.is_empty() {
            return;
        }
        self.left.retain(|addr| !members.iter().any(|it| it.member.addr == *addr));
        self.registered = members;
        self.settle();
    }

    /// The addresses that Kubernetes lists as ready. An empty answer says nothing.
    pub fn kubernetes(&mut self, addrs: &[SocketAddr]) {
        let answer: BTreeSet<SocketAddr> = addrs.iter().copied().take(MEMBERS_MAX).collect();
        if answer.is_empty() {
            return;
        }
        self.left.retain(|addr| answer.contains(addr));
        let vanished: Vec<SocketAddr> = self.listed.difference(&answer).copied().collect();
        self.lingering.extend(vanished);
        self.listed = answer;
        self.drop_the_unknown();
        self.settle();
    }

    /// What an earlier run knew, to be tried until a better source speaks.
    pub fn remember(&mut self, members: Vec<Member>) {
        for member in members.into_iter().take(MEMBERS_MAX) {
            self.names.insert(member.addr, member.name.clone());
            let member = Member { source: Source::Remembered, ..member };
            self.candidates.insert(member.addr, member);
        }
        self.settle();
    }

    /// The member at this address goes, whatever registry, Kubernetes or memory say now: the
    /// operator or the member itself said so. A configured one stays.
    pub fn leave(&mut self, addr: SocketAddr) {
        self.registered.retain(|it| it.member.addr != addr);
        self.lingering.remove(&addr);
        self.candidates.remove(&addr);
        self.names.remove(&addr);
        self.left.retain(|other| *other != addr);
        if self.left.len() >= LEFT_MAX {
            self.left.pop_front();
        }
        self.left.push_back(addr);
        self.settle();
    }

    /// The state of every backend.
    pub fn health(&mut self, states: &[(SocketAddr, BackendState)]) {
        self.states = states.iter().copied().collect();
        self.settle();
    }

    /// Those that Kubernetes does not list and that never served have no claim to be members.
    fn drop_the_unknown(&mut self) {
        if self.listed.iter().all(|addr| self.has_left(*addr)) {
            return;
        }
        let known = |addr: &SocketAddr| match self.states.get(addr) {
            None | Some(BackendState::Pending | BackendState::Removed) => false,
            Some(_) => true,
        };
        self.lingering.retain(known);
        self.candidates.retain(|addr, _| self.listed.contains(addr) || known(addr));
    }

    /// Applies the rules that depend on several sources or on the health.
    fn settle(&mut self) {
        self.lingering = &self.lingering - &self.listed;
        let spoken_for: BTreeSet<SocketAddr> = self.better_than_remembered().collect();
        self.candidates.retain(|addr, _| !spoken_for.contains(addr));
        if !self.somebody_serves() {
            self.withdrawn.clear();
            return;
        }
        let states = &self.states;
        let dead = |addr: &SocketAddr| states.get(addr) == Some(&BackendState::Dead);
        let absent = self.registered.iter().filter(|it| it.missing).map(|it| it.member.addr);
        self.withdrawn = absent
            .filter(|addr| !self.listed.contains(addr))
            .filter(|addr| self.withdrawn.contains(addr) || dead(addr))
            .collect();
        self.lingering.retain(|addr| !dead(addr));
        if !self.listed.is_empty() {
            self.candidates.retain(|addr, _| !dead(addr));
        }
    }

    fn somebody_serves(&self) -> bool {
        self.merged().iter().any(|member| {
            let state = self.states.get(&member.addr);
            matches!(state, Some(BackendState::Up | BackendState::Skipped))
        })
    }

    fn has_left(&self, addr: SocketAddr) -> bool {
        self.left.contains(&addr)
    }
}

#[cfg(test)]
mod tests;

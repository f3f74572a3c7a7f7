//! The merge itself: from what each source says to one list of members.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;

use common::member::MEMBERS_MAX;
use common::{Member, Source};

use super::{Registered, Sources};

impl Sources {
    /// The members by falling trust, within a source in its own order (Kubernetes: by address). At
    /// most [`MEMBERS_MAX`]; addresses and names are unique.
    #[must_use]
    pub fn merged(&self) -> Vec<Member> {
        let mut seen = BTreeSet::new();
        let mut names = HashSet::new();
        let mut members = Vec::new();
        for (addr, source) in self.claims() {
            if members.len() < MEMBERS_MAX && seen.insert(addr) {
                let name = unique(&names, self.name(addr), addr);
                names.insert(name.clone());
                members.push(Member { name, addr, source });
            }
        }
        members
    }

    /// Every address with the source that claims it, by falling trust; addresses may repeat.
    fn claims(&self) -> impl Iterator<Item = (SocketAddr, Source)> {
        let candidates = self.candidates.keys().map(|addr| (*addr, Source::Remembered));
        self.strong_claims().chain(candidates.filter(|(addr, _)| !self.has_left(*addr)))
    }

    fn strong_claims(&self) -> impl Iterator<Item = (SocketAddr, Source)> {
        let configured = self.configured.iter().map(|member| (member.addr, Source::Static));
        let registered = self.registered.iter().map(|it| (it.member.addr, Source::Registered));
        let listed = self.listed.iter().chain(&self.lingering);
        let listed = listed.filter(|addr| !self.is_elsewhere(**addr));
        let listed = listed.map(|addr| (*addr, Source::Kubernetes));
        configured
            .chain(registered.filter(|(addr, _)| !self.withdrawn.contains(addr)))
            .chain(listed.filter(|(addr, _)| !self.has_left(*addr)))
    }

    /// Whether the machine of a listed address is known at another port. The cluster lists all
    /// apiservers at the port of the one that wrote the list.
    fn is_elsewhere(&self, listed: SocketAddr) -> bool {
        let configured = self.configured.iter().map(|member| member.addr);
        let registered = self.registered.iter().map(|it| it.member.addr);
        let mut known = configured.chain(registered).filter(|addr| addr.ip() == listed.ip());
        known.any(|addr| addr != listed && !self.listed.contains(&addr)) && !self.is_trusted(listed)
    }

    /// Whether the operator or the machine itself names the address.
    fn is_trusted(&self, addr: SocketAddr) -> bool {
        self.configured.iter().any(|member| member.addr == addr)
            || self.registered.iter().any(|it| it.member.addr == addr)
    }

    /// The addresses for which a remembered member is not needed any more.
    pub(super) fn better_than_remembered(&self) -> impl Iterator<Item = SocketAddr> {
        let registered = self.registered.iter().map(|it| it.member.addr);
        self.strong_claims().map(|(addr, _)| addr).chain(registered)
    }

    /// The name that the most trusted source has for an address, if it is more than the address.
    fn name(&self, addr: SocketAddr) -> Option<&str> {
        let configured = self.configured.iter();
        let registered = self.registered.iter().map(|it: &Registered| &it.member);
        let mut known = configured.chain(registered).filter(|member| member.addr == addr);
        let given = |name: &&str| *name != addr.to_string();
        let name = known.find_map(|member| Some(member.name.as_str()).filter(given));
        name.or_else(|| self.names.get(&addr).map(String::as_str))
    }
}

/// The name if nobody more trusted has it, else the address, which only a name that looks like
/// another's address can have taken.
fn unique(taken: &HashSet<String>, name: Option<&str>, addr: SocketAddr) -> String {
    let free = |name: &String| !taken.contains(name);
    let given = name.map(str::to_owned).filter(free);
    let named = given.or_else(|| Some(addr.to_string()).filter(free));
    let numbered = || (2..).map(|number: u64| format!("{addr}#{number}")).find(free);
    named.or_else(numbered).unwrap_or_else(|| addr.to_string())
}

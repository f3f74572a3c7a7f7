//! The one writer of the membership that the balancer follows.
//!
//! Each source tells it its last word; what follows from all of them is decided in
//! [`crate::sources`]. A change is one new generation.

use std::net::SocketAddr;
use std::sync::Arc;

use common::{HealthFeed, Member, Membership, MembershipFeed};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::info;

use crate::sources::{Registered, Sources};

/// Writes the feed. There is one in a process; any task may tell it what a source says.
#[derive(Debug)]
pub struct MembershipWriter {
    sources: Mutex<Sources>,
    feed: watch::Sender<Arc<Membership>>,
}

impl MembershipWriter {
    /// A writer whose feed begins with the members of the configuration.
    #[must_use]
    pub fn new(configured: Vec<Member>) -> Self {
        Self::remembering(configured, Vec::new())
    }

    /// A writer whose feed begins with the members of the configuration and those of an earlier run.
    #[must_use]
    pub fn remembering(configured: Vec<Member>, remembered: Vec<Member>) -> Self {
        let mut sources = Sources::default();
        sources.configure(configured);
        sources.remember(remembered);
        let first = Membership { generation: 1, members: sources.merged() };
        Self { sources: Mutex::new(sources), feed: watch::Sender::new(Arc::new(first)) }
    }

    /// What the balancer follows.
    #[must_use]
    pub fn feed(&self) -> MembershipFeed {
        self.feed.subscribe()
    }

    /// The operator changed the configured members, perhaps to none.
    pub fn configure(&self, members: Vec<Member>) {
        self.tell(|sources| sources.configure(members));
    }

    /// What another process knew that handed over to this one; see [`Sources::remember`].
    pub fn remember(&self, members: Vec<Member>) {
        self.tell(|sources| sources.remember(members));
    }

    /// Everybody in the registry; see [`Sources::registered`].
    pub fn registered(&self, members: Vec<Registered>) {
        self.tell(|sources| sources.registered(members));
    }

    /// The ready addresses that Kubernetes lists; see [`Sources::kubernetes`].
    pub fn kubernetes(&self, addrs: &[SocketAddr]) {
        self.tell(|sources| sources.kubernetes(addrs));
    }

    /// The member at this address goes, because it or the operator said so. Whoever keeps a
    /// registry takes it out there first.
    pub fn leave(&self, addr: SocketAddr) {
        self.tell(|sources| sources.leave(addr));
    }

    /// Follows the health of the backends until it is dropped. Cancel-safe.
    pub async fn follow(self: Arc<Self>, mut health: HealthFeed) {
        loop {
            let states: Vec<_> = health
                .borrow_and_update()
                .iter()
                .map(|member| (member.addr, member.state))
                .collect();
            self.tell(|sources| sources.health(&states));
            if health.changed().await.is_err() {
                return;
            }
        }
    }

    /// Lets a source speak and publishes what changed. The lock is held while publishing, so that
    /// generations are in the order of the words.
    fn tell(&self, speak: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources.lock();
        speak(&mut sources);
        let members = sources.merged();
        self.feed.send_if_modified(|current| {
            if current.members == members {
                return false;
            }
            tell_changes(&current.members, &members);
            let generation = current.generation.saturating_add(1);
            *current = Arc::new(Membership { generation, members });
            true
        });
    }
}

/// Who came and who went, for the log.
fn tell_changes(before: &[Member], after: &[Member]) {
    let is_in = |members: &[Member], addr| members.iter().any(|member| member.addr == addr);
    for member in after.iter().filter(|member| !is_in(before, member.addr)) {
        let (name, addr, source) = (&member.name, member.addr, member.source);
        info!(name, %addr, %source, "member added");
    }
    for member in before.iter().filter(|member| !is_in(after, member.addr)) {
        let (name, addr, source) = (&member.name, member.addr, member.source);
        info!(name, %addr, %source, "member removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::address::parse_backend;

    #[test]
    fn only_a_change_is_a_new_generation() {
        let members = |texts: &[&str]| -> Vec<Member> {
            texts.iter().map(|text| parse_backend(text).unwrap()).collect()
        };
        let writer = MembershipWriter::new(members(&["10.0.0.1"]));
        let mut feed = writer.feed();
        writer.configure(members(&["10.0.0.1"]));
        writer.kubernetes(&[members(&["10.0.0.1"])[0].addr]);
        writer.kubernetes(&[]);
        assert!(!feed.has_changed().unwrap());
        writer.configure(members(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(feed.borrow_and_update().generation, 2);
        writer.configure(Vec::new());
        let left = feed.borrow().members[0].clone();
        assert_eq!(left.source, common::Source::Kubernetes);
        writer.leave(left.addr);
        assert!(feed.borrow().members.is_empty(), "the operator may empty it");
    }
}

//! The one writer of the membership that the balancer follows.

use std::sync::Arc;

use common::{Member, Membership, MembershipFeed};
use tokio::sync::watch;

/// Writes the feed. There is one in a process.
#[derive(Debug)]
pub struct MembershipWriter {
    feed: watch::Sender<Arc<Membership>>,
}

impl MembershipWriter {
    /// A writer whose feed begins with the members of the configuration.
    #[must_use]
    pub fn new(configured: Vec<Member>) -> Self {
        let first = Membership { generation: 1, members: configured };
        Self { feed: watch::Sender::new(Arc::new(first)) }
    }

    /// What the balancer follows.
    #[must_use]
    pub fn feed(&self) -> MembershipFeed {
        self.feed.subscribe()
    }

    /// The operator changed the configured members, perhaps to none. An unchanged list is no new
    /// generation.
    pub fn configure(&self, members: Vec<Member>) {
        self.feed.send_if_modified(|current| {
            let changed = current.members != members;
            if changed {
                let generation = current.generation.saturating_add(1);
                *current = Arc::new(Membership { generation, members });
            }
            changed
        });
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
        assert!(!feed.has_changed().unwrap());
        writer.configure(members(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(feed.borrow_and_update().generation, 2);
        writer.configure(Vec::new());
        assert!(feed.borrow().members.is_empty(), "the operator may empty it");
    }
}

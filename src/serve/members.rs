//! Who the masters are: the one writer of the membership, with what it listens to.

use std::sync::Arc;

use bootstrap::MembershipWriter;
use bootstrap::remembered::Remembered;
use common::config::Config;
use common::{HealthFeed, Tasks};
use lb::clock::Millis;
use tokio::sync::watch;

use super::handover::ProgramRecord;
use super::{Cluster, health_feed, state_dir};
use crate::admin::Sources;

/// The membership and where it is kept.
pub(super) struct Members {
    /// The one writer.
    pub(super) writer: Arc<MembershipWriter>,
    /// Where members are remembered; none without a state directory.
    pub(super) remembered: Option<Remembered>,
}

impl Members {
    /// The members of the configuration and those of an earlier run.
    pub(super) fn known(config: &Config) -> Self {
        let remembered = state_dir::usable(config).map(Remembered::in_directory);
        let earlier = remembered.as_ref().map(Remembered::load).unwrap_or_default();
        let writer = MembershipWriter::remembering(config.backends.clone(), earlier);
        Self { writer: Arc::new(writer), remembered }
    }

    /// As the report shows them.
    pub(super) fn sources(&self, cluster: &Arc<Cluster>) -> Sources {
        Sources {
            remembered: self.remembered.clone(),
            cluster: Arc::clone(cluster),
            members: self.writer.feed(),
        }
    }

    /// Those that the process before knew, of which the disk may know nothing.
    pub(super) fn inherit(&self, record: &ProgramRecord) {
        self.writer.remember(record.members.clone());
    }

    /// Follows the health of the backends, whose time is now `now`, and remembers every change.
    /// Returns the health for others.
    pub(super) fn follow(
        &self,
        health: lb::health::HealthFeed,
        now: Millis,
        tasks: &Tasks,
    ) -> HealthFeed {
        let (sender, feed) = watch::channel(Arc::default());
        tasks.spawn_until_stopped("health feed", health_feed::translate(health, now, sender));
        let writer = Arc::clone(&self.writer);
        tasks.spawn_until_stopped("membership", writer.follow(feed.clone()));
        if let Some(remembered) = self.remembered.clone() {
            tasks.spawn_until_stopped("remembered members", remembered.keep(self.writer.feed()));
        }
        feed
    }
}

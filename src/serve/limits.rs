//! Raises the limit of open files and derives from it how many connections fit.

use common::config::Config;
use lb::balancer::worker_count;
use lb::budget::{Budget, budget, standing};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Raises the soft limit to the hard one and returns what fits under it.
pub(crate) fn apply(config: &Config) -> Budget {
    let nofile = raise();
    let wanted = config.limits.max_connections;
    let found = budget(nofile, at_rest(config), wanted, config.limits.max_connections_chosen);
    let fitting = fitting(nofile, config);
    if found.connections > fitting {
        warn!(
            nofile,
            fitting,
            chosen = wanted,
            "limits.max_connections is more than open files allow"
        );
    } else if found.connections < wanted {
        let connections = found.connections;
        warn!(
            nofile,
            connections, wanted, "fewer connections than wanted fit under the open files limit"
        );
    }
    info!(nofile, connections = found.connections, pipes = found.pipes, "limits");
    found
}

/// How many connections fit under `nofile` open files.
pub(crate) fn fitting(nofile: u64, config: &Config) -> usize {
    budget(nofile, at_rest(config), usize::MAX, false).connections
}

fn at_rest(config: &Config) -> u64 {
    standing(worker_count(config.workers), config.listen.len())
}

/// The limit of open files after raising it as far as we may.
fn raise() -> u64 {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "cannot raise the limit of open files");
    }
    // No limit at all is written as none; the kernel's own ceiling is then far above any need.
    getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}

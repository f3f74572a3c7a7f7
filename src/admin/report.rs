//! What the program knows of itself, gathered once for status, readiness and metrics, so that they
//! never disagree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use common::drain::StopPhase;
use common::duration;
use common::status::{BackendState, BackendStatus, ConnectionStatus, Status};
use lb::clock::Millis;
use lb::{Backend, Balancer};
use parking_lot::Mutex;

use crate::telemetry::{COMMIT, VERSION};

/// The running program, to be asked by the admin endpoint.
#[derive(Debug)]
pub(crate) struct Report {
    balancer: Arc<Balancer>,
    started: Instant,
    pub(super) started_at: SystemTime,
    phase: Mutex<StopPhase>,
    pub(super) reloads_applied: AtomicU64,
    pub(super) reloads_refused: AtomicU64,
}

impl Report {
    pub(crate) fn new(balancer: Arc<Balancer>) -> Self {
        Self {
            balancer,
            started: Instant::now(),
            started_at: SystemTime::now(),
            phase: Mutex::new(StopPhase::Serving),
            reloads_applied: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
        }
    }

    /// The balancer that is reported on.
    pub(crate) fn balancer(&self) -> &Arc<Balancer> {
        &self.balancer
    }

    /// Notes the phase of a stop.
    pub(crate) fn enter(&self, phase: StopPhase) {
        *self.phase.lock() = phase;
    }

    fn phase(&self) -> StopPhase {
        *self.phase.lock()
    }

    /// Notes the outcome of a reload.
    pub(crate) fn reloaded(&self, applied: bool) {
        let count = if applied {
            &self.reloads_applied
        } else {
            &self.reloads_refused
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a new connection would be served: we do not stop, the port is open, and some backend
    /// has not failed a moment ago.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        if self.phase() != StopPhase::Serving {
            return Err("stopping");
        }
        if !self.balancer.listening() {
            return Err("no backend, the port is closed");
        }
        let now = self.balancer.now();
        if !self.balancer.pool().snapshot().has_usable(now) {
            return Err("every backend failed a moment ago");
        }
        Ok(())
    }

    /// Everything.
    pub(crate) fn status(&self) -> Status {
        let now = self.balancer.now();
        let set = self.balancer.pool().snapshot();
        let retired = self.balancer.pool().retired();
        let members = set
            .backends
            .iter()
            .map(|backend| member_status(backend, now));
        let removed = retired.iter().map(|backend| removed_status(backend, now));
        Status {
            version: VERSION.to_owned(),
            commit: COMMIT.to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            phase: self.phase(),
            ready: self.ready().is_ok(),
            listen: self
                .balancer
                .listen()
                .iter()
                .map(ToString::to_string)
                .collect(),
            listening: self.balancer.listening(),
            generation: set.generation,
            connections: self.connections(),
            backends: members.chain(removed).collect(),
        }
    }

    fn connections(&self) -> ConnectionStatus {
        let closed = self
            .balancer
            .closes()
            .iter()
            .filter(|(_, count)| *count > 0);
        ConnectionStatus {
            open: self.balancer.open_connections() as u64,
            limit: self.balancer.connection_limit() as u64,
            accepted_total: self.balancer.accepted(),
            closed_total: closed
                .map(|(reason, n)| (reason.label().to_owned(), n))
                .collect(),
        }
    }
}

fn member_status(backend: &Backend, now: Millis) -> BackendStatus {
    let refusals = backend.refusals();
    let failures = refusals.in_a_row();
    let (state, why) = if refusals.skipped(now) {
        let wait = duration::exact(refusals.skip_until().since(now));
        (
            BackendState::Skipped,
            format!("{failures} failed dials in a row, next try in {wait}"),
        )
    } else if failures > 0 {
        (
            BackendState::Up,
            format!("{failures} failed dials in a row, the next connection tries it"),
        )
    } else {
        (
            BackendState::Up,
            "no failed dial since the last success".to_owned(),
        )
    };
    status_of(backend, now, state, why)
}

fn removed_status(backend: &Backend, now: Millis) -> BackendStatus {
    let why = "no member any more; its sessions go on".to_owned();
    status_of(backend, now, BackendState::Removed, why)
}

fn status_of(backend: &Backend, now: Millis, state: BackendState, why: String) -> BackendStatus {
    BackendStatus {
        name: backend.member.name.clone(),
        addr: backend.member.addr.to_string(),
        source: backend.member.source,
        state,
        why,
        connections: u64::from(backend.load()),
        connections_total: backend.connections(),
        dial_failures_total: backend.failures().map(|(_, count)| count).sum(),
        received_bytes: backend.received(),
        sent_bytes: backend.sent(),
        age_seconds: now.since(backend.since).as_secs(),
    }
}

//! What `/v1/status` answers and `mainstay status` shows.
//!
//! Times are durations in seconds, so that clocks of two machines need not agree.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Source;
use crate::coordinator::CoordinatorStatus;
use crate::drain::StopPhase;
use crate::duration::age;

/// The whole answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Commit it was built from.
    pub commit: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Serving, or a phase of a stop.
    pub phase: StopPhase,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// Where clients are accepted.
    pub listen: Vec<String>,
    /// Whether the port is open.
    pub listening: bool,
    /// Number of the membership in use.
    pub generation: u64,
    /// Counts over all backends.
    pub connections: ConnectionStatus,
    /// One row a backend; those that were removed stay while a session uses them.
    pub backends: Vec<BackendStatus>,
    /// What the cluster itself tells.
    #[serde(default)]
    pub kubernetes: KubernetesStatus,
    /// What the coordinator knows; nothing where none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<CoordinatorStatus>,
}

/// The cluster's own list of its apiservers, and whether it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesStatus {
    /// Whether there are credentials to ask with; without them nobody asks.
    pub on: bool,
    /// Whether it answers.
    pub connected: bool,
    /// Seconds since it began to answer, or to fail; it was never asked without.
    pub since_seconds: Option<u64>,
    /// Seconds since it last said anything.
    pub answered_seconds_ago: Option<u64>,
    /// The API that answered last.
    pub api: Option<String>,
    /// The apiservers that it listed last.
    pub listed: Vec<String>,
    /// Why it does not answer.
    pub error: Option<String>,
    /// Failures since the start.
    pub failures_total: u64,
}

impl KubernetesStatus {
    /// In one line, for people; the page's script says the same.
    #[must_use]
    pub fn sentence(&self) -> String {
        let since = || age(Duration::from_secs(self.since_seconds.unwrap_or_default()));
        let listed = || match self.listed.len() {
            0 => "nobody".to_owned(),
            _ => self.listed.join(" "),
        };
        match &self.error {
            _ if !self.on => "off: no credentials".to_owned(),
            _ if self.connected => format!("connected for {}, lists {}", since(), listed()),
            Some(error) => {
                format!("not connected for {}, listed {}: {error}", since(), listed())
            }
            None => "not connected yet: it is asked as soon as a master serves".to_owned(),
        }
    }
}

/// Counts over all backends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Client connections open now.
    pub open: u64,
    /// Most at once.
    pub limit: u64,
    /// Accepted since the start.
    pub accepted_total: u64,
    /// Ended since the start, by reason; reasons that never happened are left out.
    pub closed_total: std::collections::BTreeMap<String, u64>,
}

/// One backend.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackendStatus {
    /// The member's name.
    pub name: String,
    /// Address of its apiserver.
    pub addr: String,
    /// Where we learnt of it.
    pub source: Source,
    /// What it may get.
    pub state: BackendState,
    /// Why, in a few words.
    pub why: String,
    /// Connections to it now, being dialled or established.
    pub connections: u64,
    /// Connections that it accepted since the start.
    pub connections_total: u64,
    /// Attempts that failed since the start.
    pub dial_failures_total: u64,
    /// Bytes from it to clients.
    pub received_bytes: u64,
    /// Bytes from clients to it.
    pub sent_bytes: u64,
    /// Seconds since it was added.
    pub age_seconds: u64,
    /// How long it took to answer the last probe that it answered, in microseconds.
    #[serde(default)]
    pub answer_us: Option<u64>,
}

/// What a backend may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum BackendState {
    /// Known, never ready yet: nothing.
    Pending,
    /// New connections.
    Up,
    /// New connections only if no other backend takes them: a dial failed a moment ago.
    Skipped,
    /// No new connections; established ones go on.
    Drain,
    /// New connections only if no other backend is UP; established ones go on.
    Suspect,
    /// Nothing; established connections are reset.
    Frozen,
    /// Nothing; established connections are reset.
    Dead,
    /// No new connections: it is no member any more; its sessions go on.
    Removed,
}

impl BackendState {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Up,
        Self::Skipped,
        Self::Drain,
        Self::Suspect,
        Self::Frozen,
        Self::Dead,
        Self::Removed,
    ];

    /// As the table and the JSON name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Up => "UP",
            Self::Skipped => "SKIPPED",
            Self::Drain => "DRAIN",
            Self::Suspect => "SUSPECT",
            Self::Frozen => "FROZEN",
            Self::Dead => "DEAD",
            Self::Removed => "REMOVED",
        }
    }
}

/// Why a backend is in its state: the answer of `/v1/members/NAME`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The backend.
    pub backend: BackendStatus,
    /// Seconds since it is in its state.
    pub since_seconds: u64,
    /// What would end the state.
    pub clears: String,
    /// What the last probe saw, if there was one.
    pub last_probe: Option<String>,
    /// The last changes, oldest first.
    pub history: Vec<Change>,
}

/// What a rebalancing would do or did: the answer of `/v1/rebalance`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebalancing {
    /// The backend whose sessions are closed; none if there is nothing to do.
    pub backend: Option<String>,
    /// How many sessions.
    pub sessions: u32,
    /// Why so many, or why none.
    pub reason: String,
}

/// Hand-overs to a new process: the answer of `/v1/upgrade`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// Process id of who answers.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// How far the one that is under way is.
    pub stage: Option<String>,
    /// How many were given up.
    pub failed: u64,
    /// Why the last of them was.
    pub reason: Option<String>,
    /// How this process took over, if it did.
    pub took_over: Option<TookOver>,
}

/// How a process took over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TookOver {
    /// Process id of the one before.
    pub from_pid: u32,
    /// Sessions that went on without a reset.
    pub sessions: u64,
    /// Milliseconds in which they stood still, at most.
    pub paused_ms: u64,
}

/// One change of state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Seconds ago.
    pub seconds_ago: u64,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// What was seen.
    pub signal: String,
    /// The rule that it met.
    pub rule: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_in_one_line() {
        let mut known = KubernetesStatus::default();
        assert_eq!(known.sentence(), "off: no credentials");
        known.on = true;
        assert!(known.sentence().starts_with("not connected yet"));
        known.error = Some("connection refused".into());
        known.since_seconds = Some(61);
        let failing = "not connected for 1m, listed nobody: connection refused";
        assert_eq!(known.sentence(), failing);
        known.error = None;
        known.connected = true;
        known.listed = vec!["10.0.0.11:6443".into(), "10.0.0.12:6443".into()];
        let connected = "connected for 1m, lists 10.0.0.11:6443 10.0.0.12:6443";
        assert_eq!(known.sentence(), connected);
        known.on = false;
        assert_eq!(known.sentence(), "off: no credentials", "they were taken away");
    }
}

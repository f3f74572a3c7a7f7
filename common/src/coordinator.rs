//! The coordinator's part of the status: who registered, who joins, which tickets and certificates
//! there are. The coordinator fills it, screens show it; nothing in it is secret.

use serde::{Deserialize, Serialize};

/// Most rows of each list that are shown; the lists themselves are bounded where they are kept.
pub const ROWS_MAX: usize = 64;

/// What the coordinator knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    /// Machines that registered.
    #[serde(default)]
    pub members: Vec<RegisteredMember>,
    /// Machines that join or wait for their turn, first in line first.
    #[serde(default)]
    pub joins: Vec<JoinStatus>,
    /// Tickets that are good.
    #[serde(default)]
    pub tickets: Vec<TicketStatus>,
    /// Certificates whose end matters.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// Tickets that are good, also those beyond the rows that are shown.
    #[serde(default)]
    pub tickets_good: u64,
    /// Credentials of ended joins that an agent has still to take back.
    #[serde(default)]
    pub revocations: u64,
}

/// A machine that registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredMember {
    /// Its name; it chose it, so escape it.
    pub name: String,
    /// Address of its apiserver.
    pub addr: String,
    /// Where in its life it is: `pending`, `admitted`, `leaving`.
    pub life: String,
    /// Seconds since its last heartbeat; none was heard without one.
    pub heartbeat_seconds_ago: Option<u64>,
    /// Whether its heartbeat is missing for too long.
    pub missing: bool,
}

/// A machine that joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinStatus {
    /// Its name; it chose it, so escape it.
    pub name: String,
    /// What it waits for, in a few words: `waits for its turn`, `kubeadm runs`.
    pub step: String,
    /// Seconds since it asked.
    pub seconds: u64,
    /// Seconds until its turn ends; none while it waits for it.
    pub seconds_left: Option<u64>,
}

/// A ticket, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketStatus {
    /// Its public half.
    pub id: String,
    /// What the operator wrote about it.
    pub description: String,
    /// Seconds until it ends; it never does without.
    pub seconds_left: Option<u64>,
    /// How often it may still be used; without, as often as one likes.
    pub uses_left: Option<u64>,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Whose it is.
    pub name: String,
    /// Seconds until it ends; negative since it has ended.
    pub seconds_left: i64,
}

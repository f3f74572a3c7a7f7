//! The data of a hand-over, as they travel. Readers take what they know: a field that is new must
//! have a default, one that changes its meaning a new name or a new version of the format.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use common::Member;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::health::HealthJudge;
use crate::measures::{MeasuresRecord, subtract_each};
use crate::rebalance::Rebalancer;
use crate::refusal::Refusals;

/// How far one direction of a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamRecord {
    /// The source may give more.
    #[default]
    Open,
    /// The source has ended; the sink is to be told when nothing is held any more.
    Ending,
    /// The sink was told.
    Ended,
}

/// What one direction has taken and not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldRecord {
    /// Nothing.
    #[default]
    Nothing,
    /// So many bytes, which travel with the record.
    Bytes(usize),
    /// So many bytes in a pipe, whose two ends travel with the record.
    Piped {
        /// Bytes in it.
        filled: u32,
    },
}

impl HeldRecord {
    /// Bytes that travel with the record.
    #[must_use]
    pub fn bytes(self) -> usize {
        if let Self::Bytes(bytes) = self { bytes } else { 0 }
    }

    /// Descriptors that travel with the record.
    #[must_use]
    pub fn descriptors(self) -> usize {
        if matches!(self, Self::Piped { .. }) { 2 } else { 0 }
    }
}

/// One direction of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionRecord {
    /// How far it is.
    #[serde(default)]
    pub stream: StreamRecord,
    /// What it holds.
    #[serde(default)]
    pub held: HeldRecord,
}

/// One established session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its worker; another process may have fewer.
    pub worker: usize,
    /// Address of the client.
    pub client: SocketAddr,
    /// Address of the backend.
    pub backend: SocketAddr,
    /// When its backend accepted it.
    pub opened: Millis,
    /// When the last byte passed.
    pub active: Millis,
    /// Whether one direction has ended.
    pub half_closed: bool,
    /// Whether it has the socket options of a session that lasts.
    pub grown: bool,
    /// Whether its sockets wait longer, because a reader has paused.
    pub patient: bool,
    /// From the client to the backend.
    pub up: DirectionRecord,
    /// From the backend to the client.
    pub down: DirectionRecord,
    /// Its entry in the ledger, if one is kept.
    #[serde(default)]
    pub ledger: Option<LedgerRecord>,
}

/// The entry of a session in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRecord {
    /// Milliseconds since the client connected.
    pub lasted_ms: u64,
    /// Our own address towards the backend.
    pub local: Option<SocketAddr>,
    /// The name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// Bytes from the backend.
    pub received: u64,
    /// Bytes to the backend.
    pub sent: u64,
}

impl SessionRecord {
    /// Descriptors that travel with it: client, backend, and the pipes of both directions.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        2 + self.up.held.descriptors() + self.down.held.descriptors()
    }

    /// Bytes that travel with it, first those to the backend. `None` if they are absurdly many.
    #[must_use]
    pub fn bytes(&self) -> Option<usize> {
        self.up.held.bytes().checked_add(self.down.held.bytes())
    }
}

/// One address on which clients are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRecord {
    /// The address.
    pub addr: SocketAddr,
    /// How many sockets of it travel with the record, one for each worker.
    pub sockets: usize,
}

/// One backend, whether it still is a member or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRecord {
    /// Who it is.
    pub member: Member,
    /// When it was added.
    pub since: Millis,
    /// What its failed dials say.
    #[serde(default)]
    pub refusals: Refusals,
    /// How far its budget of new connections is used.
    #[serde(default)]
    pub budget: u64,
    /// Connections that it accepted.
    pub connections: u64,
    /// Bytes from it.
    pub received: u64,
    /// Bytes to it.
    pub sent: u64,
    /// Failed attempts by kind.
    pub failures: BTreeMap<String, u64>,
    /// What was measured.
    #[serde(default)]
    pub measures: MeasuresRecord,
}

/// The health of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WardRecord {
    /// Address of its apiserver.
    pub addr: SocketAddr,
    /// What is known of it.
    pub judge: HealthJudge,
    /// Since when it is in its slow start.
    pub slow_start: Option<Millis>,
    /// Until when its sessions are closed, if it is drained over a time.
    pub emptied_by: Option<Millis>,
}

/// What was counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Client connections accepted.
    pub accepted: u64,
    /// Failed accepts.
    pub accept_errors: u64,
    /// Clients whose backend was found by a race.
    pub races_won: u64,
    /// First flights given to another backend.
    pub replays: u64,
    /// Times that no pipe was to be had.
    pub pipes_denied: u64,
    /// Lines of the ledger that were written.
    pub ledger_written: u64,
    /// Lines of the ledger that were lost.
    pub ledger_lost: u64,
    /// Ended sessions by reason.
    pub closes: BTreeMap<String, u64>,
}

/// Everything but the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Estate {
    /// Whether clients are accepted.
    pub listening: bool,
    /// Where, in the order in which the sockets travel.
    pub ports: Vec<PortRecord>,
    /// What was counted.
    pub counters: Counters,
    /// Backends with their counts.
    pub backends: Vec<BackendRecord>,
    /// The members' health.
    pub wards: Vec<WardRecord>,
    /// What was rebalanced of late.
    pub rebalancer: Rebalancer,
    /// Number of the membership.
    pub generation: u64,
}

impl Estate {
    /// Descriptors that travel with it: the sockets of all ports.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.ports.iter().fold(0, |sum, port| sum.saturating_add(port.sockets))
    }

    /// What was counted since `earlier`; all else is as it is now.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        self.counters.subtract(&earlier.counters);
        for backend in &mut self.backends {
            let before = earlier.backends.iter().find(|b| b.member.addr == backend.member.addr);
            if let Some(before) = before {
                backend.subtract(before);
            }
        }
        self
    }
}

impl Counters {
    fn subtract(&mut self, earlier: &Self) {
        let less = u64::saturating_sub;
        self.accepted = less(self.accepted, earlier.accepted);
        self.accept_errors = less(self.accept_errors, earlier.accept_errors);
        self.races_won = less(self.races_won, earlier.races_won);
        self.replays = less(self.replays, earlier.replays);
        self.pipes_denied = less(self.pipes_denied, earlier.pipes_denied);
        self.ledger_written = less(self.ledger_written, earlier.ledger_written);
        self.ledger_lost = less(self.ledger_lost, earlier.ledger_lost);
        subtract_each(&mut self.closes, &earlier.closes);
    }
}

impl BackendRecord {
    fn subtract(&mut self, earlier: &Self) {
        self.connections = self.connections.saturating_sub(earlier.connections);
        self.received = self.received.saturating_sub(earlier.received);
        self.sent = self.sent.saturating_sub(earlier.sent);
        self.measures.subtract(&earlier.measures);
        subtract_each(&mut self.failures, &earlier.failures);
    }
}

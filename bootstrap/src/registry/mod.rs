//! What the coordinator knows, as plain data and rules: no I/O, no clock, no randomness.
//!
//! The [`Registry`] brings the parts together: who may register ([`tickets`], [`attempts`]), who did
//! ([`members`]), what they said of the cluster ([`cluster`]), whose turn it is to join ([`turns`]).
//! It takes the time as an argument and returns what to answer; what must survive a restart is one
//! value, [`Saved`].

pub mod attempts;
pub mod cluster;
pub mod members;
pub mod policy;
pub mod refusal;
pub mod tickets;
pub mod turns;

use std::time::Duration;

use common::MemberState;
use common::status::BackendState;
use serde::{Deserialize, Serialize};

use crate::kubeadm::CaPin;
use crate::protocol::{
    Heartbeat, HeartbeatAnswer, Intent, JoinAnswer, JoinOutcome, JoinRequest, WorkResult,
};
use cluster::ClusterRecord;
use members::{Claim, Life, MemberBook, MemberRecord};
use refusal::Refused;
use tickets::TicketBook;
use turns::{JoinTurns, SavedTurns, TurnEvent};

/// A moment on both clocks: the wall's for what survives a restart, the program's own for the rest,
/// because the wall's may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970.
    pub unix: u64,
    /// Since the start of the program.
    pub run: Duration,
}

/// What survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Tickets, as hashes.
    pub tickets: TicketBook,
    /// Registered members.
    pub members: Vec<MemberRecord>,
    /// What is known of the cluster.
    pub cluster: ClusterRecord,
    /// The join in progress, and what is to be taken back.
    pub turns: SavedTurns,
}

/// Something for the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryEvent {
    /// A master registered, or came again.
    Registered {
        /// Its name.
        name: String,
        /// Of its apiserver.
        address: std::net::SocketAddr,
        /// Id of the ticket; none if it proved its registered key instead.
        ticket: Option<String>,
    },
    /// A member's apiserver is in rotation for the first time.
    Admitted(String),
    /// A member is gone.
    Left(String),
    /// The heartbeats of a member stopped.
    Missing(String),
    /// They came back.
    Returned(String),
    /// The cluster's CA is known from now on.
    Pinned(String),
    /// About a join.
    Turn(TurnEvent),
}

/// Everything the coordinator knows.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// The tickets.
    pub tickets: TicketBook,
    /// The members.
    pub members: MemberBook,
    /// The cluster.
    pub cluster: ClusterRecord,
    /// The turns.
    pub turns: JoinTurns,
    health: Vec<MemberState>,
    missing: Vec<String>,
    events: Vec<RegistryEvent>,
}

impl Registry {
    /// Goes on where an earlier run ended. `seed` is random; see [`JoinTurns::restored`].
    #[must_use]
    pub fn restored(saved: Saved, seed: u64) -> Self {
        Self {
            tickets: saved.tickets,
            members: MemberBook::restored(saved.members),
            cluster: saved.cluster,
            turns: JoinTurns::restored(saved.turns, seed),
            ..Self::default()
        }
    }

    /// What must survive a restart.
    #[must_use]
    pub fn saved(&self) -> Saved {
        Saved {
            tickets: self.tickets.clone(),
            members: self.members.records().cloned().collect(),
            cluster: self.cluster.clone(),
            turns: self.turns.saved(),
        }
    }

    /// What happened since this was asked last.
    pub fn take_events(&mut self) -> Vec<RegistryEvent> {
        let turns = self.turns.take_events().into_iter().map(RegistryEvent::Turn);
        let mut events = std::mem::take(&mut self.events);
        events.extend(turns);
        events
    }

    /// Lets a master in. `ticket`: the checked ticket; none if it proved the key that is registered,
    /// and then it stays at its address.
    ///
    /// # Errors
    /// [`Refused`], for whoever wants in.
    pub fn register(
        &mut self,
        mut claim: Claim,
        ticket: Option<&str>,
        cas: &[CaPin],
        now: Now,
    ) -> Result<MemberRecord, Refused> {
        let known = self.members.with_key(&claim.name, &claim.key);
        let first_time = known.is_none();
        match (known, ticket) {
            (None, None) => return Err(Refused::ticket("a ticket is needed to register")),
            (Some(known), None) => claim.address = known.address,
            (_, Some(_)) => {}
        }
        // A master that is alone may have begun anew.
        if first_time || !self.is_alone(&claim.name) {
            self.cluster.agrees(cas)?;
        }
        let name = claim.name.clone();
        let address = claim.address;
        self.members.register(claim, now.unix, now.run)?;
        if let Some(id) = ticket.filter(|_| first_time) {
            self.tickets.spend(id);
        }
        let ticket = ticket.map(str::to_owned);
        self.events.push(RegistryEvent::Registered { name: name.clone(), address, ticket });
        self.note_health(&name, now);
        self.members.of(&name).cloned().ok_or_else(|| Refused::unknown(&name))
    }

    /// Whether a member may say what the cluster is: a master in rotation, or the first one while
    /// there is none. A machine that only has a ticket may not.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn may_teach(&self, name: &str) -> Result<(), Refused> {
        let record = self.members.of(name).ok_or_else(|| Refused::unknown(name))?;
        let admitted = |record: &MemberRecord| record.life == Life::Admitted;
        let first = record.intent != Intent::Join && !self.members.records().any(admitted);
        if admitted(record) || first {
            return Ok(());
        }
        Err(Refused::forbidden("only a master in rotation, or the first one, names the cluster"))
    }

    /// Whether no other master has ever been in rotation. Its cluster is then what it says: after a
    /// `kubeadm init` that failed and was reset, the CA is another one.
    fn is_alone(&self, name: &str) -> bool {
        let other = |record: &MemberRecord| record.name != name && record.life == Life::Admitted;
        !self.members.records().any(other)
    }

    /// Notes what a member says of its cluster.
    ///
    /// # Errors
    /// [`Refused`] if it speaks of another cluster than the one that is known.
    pub fn learn(
        &mut self,
        name: &str,
        ca: Option<&str>,
        kubeconfig: Option<zeroize::Zeroizing<String>>,
    ) -> Result<(), Refused> {
        let learnt = match ca {
            Some(ca) if self.is_alone(name) => self.cluster.learn_anew(ca, kubeconfig)?,
            ca => self.cluster.learn(ca, kubeconfig)?,
        };
        if let Some(pins) = learnt {
            self.events.push(RegistryEvent::Pinned(pins));
        }
        Ok(())
    }

    /// A member is there, and perhaps has time for work.
    ///
    /// # Errors
    /// [`Refused`] if it is no member.
    pub fn heartbeat(
        &mut self,
        name: &str,
        heartbeat: &Heartbeat,
        now: Now,
    ) -> Result<HeartbeatAnswer, Refused> {
        let record = self.members.of(name).ok_or_else(|| Refused::unknown(name))?;
        let address = record.address;
        self.members.hear(name, now.run, heartbeat);
        if let Some(at) = self.missing.iter().position(|missing| missing == name) {
            self.missing.swap_remove(at);
            self.events.push(RegistryEvent::Returned(name.to_owned()));
        }
        let seen = self.health.iter().find(|seen| seen.addr == address);
        let (state, why) = seen.map_or_else(
            || (String::new(), "it is not among the backends yet".to_owned()),
            |seen| (seen.state.name().to_owned(), seen.why.clone()),
        );
        let work = if self.may_issue(name) { self.turns.work_for(name, now.run) } else { None };
        Ok(HeartbeatAnswer { state, why, work })
    }

    /// A member wants to join, or still does.
    ///
    /// # Errors
    /// [`Refused`] if it is no member.
    pub fn join(
        &mut self,
        name: &str,
        request: &JoinRequest,
        now: Now,
    ) -> Result<JoinAnswer, Refused> {
        if self.members.of(name).is_none() {
            return Err(Refused::unknown(name));
        }
        let said = self.members.heard(name).map(|heard| heard.said).unwrap_or_default();
        let alive = Heartbeat { draining: said.draining, can_issue: said.can_issue, seen: None };
        self.members.hear(name, now.run, &alive);
        Ok(self.turns.ask(name, request, now.run, now.unix))
    }

    /// A joiner says how kubeadm ended.
    pub fn joined(&mut self, name: &str, outcome: &JoinOutcome, now: Now) {
        self.turns.outcome(name, outcome, now.run, now.unix);
        self.note_health(name, now);
    }

    /// An agent says how its work went.
    ///
    /// # Errors
    /// [`Refused`] if it is nobody to be given work.
    pub fn worked(&mut self, name: &str, result: WorkResult, now: Now) -> Result<(), Refused> {
        let admitted = self.members.of(name).is_some_and(|record| record.life == Life::Admitted);
        if !admitted {
            return Err(Refused::forbidden("only a master in rotation makes credentials"));
        }
        self.turns.result(name, result, now.run, now.unix);
        Ok(())
    }

    /// Forgets a member; whether there was one.
    pub fn leave(&mut self, name: &str, now: Now) -> bool {
        let gone = self.members.remove(name);
        if gone {
            self.missing.retain(|missing| missing != name);
            self.turns.gone(name, now.run, now.unix);
            self.events.push(RegistryEvent::Left(name.to_owned()));
        }
        gone
    }

    /// The balancer's word on the backends.
    pub fn observe(&mut self, health: &[MemberState], now: Now) {
        health.clone_into(&mut self.health);
        let names: Vec<String> = self.members.records().map(|record| record.name.clone()).collect();
        for name in names {
            self.note_health(&name, now);
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Now) {
        self.turns.advance(now.run, now.unix);
        for name in self.members.stranded(now.run) {
            self.leave(&name, now);
        }
        let heard = |record: &&MemberRecord| self.members.heard(&record.name).is_some();
        let missing: Vec<String> = self
            .members
            .records()
            .filter(heard)
            .filter(|record| self.members.is_missing(&record.name, now.run))
            .map(|record| record.name.clone())
            .collect();
        for name in missing.iter().filter(|name| !self.missing.contains(name)) {
            self.events.push(RegistryEvent::Missing(name.clone()));
        }
        self.missing = missing;
    }

    /// State of a member's backend, if it is one.
    #[must_use]
    pub fn state_of(&self, name: &str) -> Option<&MemberState> {
        let address = self.members.of(name)?.address;
        self.health.iter().find(|seen| seen.addr == address)
    }

    /// Whether an agent may be given work: a master in rotation that has what it takes and does not
    /// go down.
    fn may_issue(&self, name: &str) -> bool {
        let said = self.members.heard(name).map(|heard| heard.said).unwrap_or_default();
        let up = self.state_of(name).is_some_and(|seen| seen.state == BackendState::Up);
        up && said.can_issue && !said.draining
    }

    fn note_health(&mut self, name: &str, now: Now) {
        let up = self.state_of(name).is_some_and(|seen| seen.state == BackendState::Up);
        if !up {
            return;
        }
        if self.members.enter(name, Life::Admitted) {
            self.events.push(RegistryEvent::Admitted(name.to_owned()));
        }
        self.turns.is_up(name, now.run, now.unix);
    }

    /// Whether work waits for this member, without the effects of a heartbeat.
    #[must_use]
    pub fn has_work(&self, name: &str, now: Now) -> bool {
        self.may_issue(name) && self.turns.has_work_for(name, now.run)
    }
}

#[cfg(test)]
mod tests;

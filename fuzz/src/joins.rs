//! What an operator carries to a new master, and what masters say to the coordinator.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::str::from_utf8;
use std::time::Duration;

use bootstrap::authority::Authority;
use bootstrap::kubeadm::{CaPin, is_dns_subdomain};
use bootstrap::protocol::{
    ClusterFacts, Heartbeat, JoinOutcome, JoinRequest, Made, Registration, Renewal, Task, Work,
    WorkOutcome, WorkResult,
};
use bootstrap::registry::members::Claim;
use bootstrap::registry::turns::{JoinTurns, QUEUE_MAX, REVOCATIONS_MAX, REVOKE_MAX_SECONDS};
use bootstrap::registry::{Now, Registry, Saved, policy};
use bootstrap::ticket::{CoordinatorAddr, JoinTicket};
use common::MemberState;
use common::member::MEMBERS_MAX;
use common::status::BackendState;

use crate::words::Words;

/// A ticket's words, a line each: addresses, then the token, then pins. What is read is written so
/// that it is read as the same.
pub(crate) fn ticket(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    let (mut addresses, mut token, mut pins) = (Vec::new(), None, Vec::new());
    for line in text.lines() {
        if let Ok(pin) = line.parse::<CaPin>() {
            pins.push(pin);
        } else if let Ok(good) = line.parse() {
            token = Some(good);
        } else {
            addresses.push(line.to_owned());
        }
        if let Ok(addr) = line.parse::<CoordinatorAddr>() {
            assert!(addr.port() != 0 && !addr.host().is_empty());
            assert_eq!(addr.to_string().parse(), Ok(addr));
        }
    }
    let Some(token) = token else { return };
    if let Ok(ticket) = JoinTicket::new(&addresses, token, pins) {
        let arguments = ticket.to_arguments();
        let written: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let count = ticket.coordinators.len();
        let again = JoinTicket::new(&written[..count], ticket.token.clone(), ticket.pins.clone());
        assert_eq!(again.as_ref(), Ok(&ticket));
    }
}

/// Requests to a coordinator, a line each: a digit for who asks, the name of the request, its body.
pub(crate) fn requests(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    let mut registry = Registry::default();
    for (second, line) in (0..).zip(text.lines().take(100)) {
        let now = Now { unix: 1_000 + second, run: Duration::from_secs(second) };
        let mut parts = line.splitn(3, ' ');
        let (Some(who), Some(kind), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let host = who.bytes().next().unwrap_or_default();
        let addr = SocketAddr::from(([10, 0, 0, host], 6443));
        let name = registry.members.records().find(|record| record.address == addr);
        let name = name.map_or_else(String::new, |record| record.name.clone());
        ask(&mut registry, &name, addr, kind, body, now);
        registry.tick(now);
        must_hold(&registry);
    }
}

/// One request, checked as the join API checks it.
fn ask(
    registry: &mut Registry,
    name: &str,
    addr: SocketAddr,
    kind: &str,
    body: &str,
    now: Now,
) -> Option<()> {
    match kind {
        "register" => {
            let wish: Registration = serde_json::from_str(body).ok()?;
            let key = Authority::request(&wish.csr).map(|request| request.key());
            let key = key.unwrap_or_else(|_| wish.csr.clone());
            let cas = wish.cluster_ca.as_ref().map(|pem| CaPin::of_bundle(pem.as_bytes()));
            let cas = cas.transpose().ok()?.unwrap_or_default();
            let address = policy::address(addr.ip(), wish.address, wish.port, &[]).ok()?;
            assert!(address.ip() == addr.ip() && address.port() != 0);
            let Registration { name, intent, force, .. } = wish;
            let claim = Claim { name: name.clone(), address, key, intent, force };
            registry.register(claim, Some("abcdef"), &cas, now).ok()?;
            registry.may_teach(&name).ok()?;
            registry.learn(&name, wish.cluster_ca.as_deref(), None).ok()
        }
        "heartbeat" => {
            let heartbeat: Heartbeat = serde_json::from_str(body).ok()?;
            registry.heartbeat(name, &heartbeat, now).ok().map(drop)
        }
        "join" => {
            let request: JoinRequest = serde_json::from_str(body).ok()?;
            bootstrap::sealing::public_bytes(&request.sealing_key).ok()?;
            registry.join(name, &request, now).ok().map(drop)
        }
        "outcome" => {
            registry.joined(name, &serde_json::from_str::<JoinOutcome>(body).ok()?, now);
            Some(())
        }
        "work" => registry.worked(name, serde_json::from_str(body).ok()?, now).ok(),
        "learn" => {
            let facts: ClusterFacts = serde_json::from_str(body).ok()?;
            registry.may_teach(name).ok()?;
            registry.learn(name, facts.ca.as_deref(), facts.kubeconfig).ok()
        }
        "renew" => {
            let wish: Renewal = serde_json::from_str(body).ok()?;
            let request = Authority::request(&wish.csr).ok()?;
            let ours = request.common_name() == Some(name);
            ours.then(|| registry.members.certified(name, &request.key(), now.unix))
        }
        "up" => {
            let state = MemberState {
                name: name.to_owned(),
                addr,
                state: BackendState::Up,
                since: std::time::Instant::now(),
                why: String::new(),
            };
            registry.observe(&[state], now);
            Some(())
        }
        "leave" => registry.leave(name, now).then_some(()),
        _ => None,
    }
}

/// What holds whatever was asked.
fn must_hold(registry: &Registry) {
    let records: Vec<_> = registry.members.records().collect();
    let addrs: BTreeSet<_> = records.iter().map(|record| record.address).collect();
    assert_eq!(addrs.len(), records.len(), "addresses are unique");
    assert!(records.len() <= MEMBERS_MAX);
    assert!(records.iter().all(|record| is_dns_subdomain(&record.name)));
    let text = serde_json::to_string(&registry.saved()).unwrap();
    let again: Saved = serde_json::from_str(&text).unwrap();
    assert_eq!(again, registry.saved());
}

/// Turns of up to four machines, three bytes each: whatever happens, one has the turn at most, and
/// every credential that was ever made is held by that turn or waits to be taken back.
pub(crate) fn turns(events: &[u8]) {
    let mut words = Words(events);
    let mut play = Play::default();
    while let (Some(kind), Some(who), Some(number)) = (words.below(9), words.below(4), words.next())
    {
        play.step(kind, &format!("m{who}"), number);
        if play.unix >= REVOKE_MAX_SECONDS {
            return;
        }
        let saved = serde_json::to_string(&play.turns.saved()).unwrap();
        for token in &play.alive {
            assert!(saved.contains(token.as_str()), "{token} is forgotten");
        }
        assert!(play.turns.waiting().count() <= QUEUE_MAX);
        assert!(play.turns.revocations().len() <= REVOCATIONS_MAX);
    }
}

#[derive(Default)]
struct Play {
    turns: JoinTurns,
    now: Duration,
    unix: u64,
    works: Vec<(String, Work)>,
    alive: BTreeSet<String>,
    made: u32,
    runs: u64,
}

impl Play {
    fn step(&mut self, kind: u8, who: &str, number: u8) {
        let (now, unix) = (self.now, self.unix);
        match kind {
            0 | 1 => {
                let sealing_key = if number < 230 { "key" } else { "another" }.to_owned();
                let turn_only = number.is_multiple_of(5);
                let request = JoinRequest { sealing_key, turn_only, seen: None };
                self.turns.ask(who, &request, now, unix);
            }
            2 => {
                let outcome =
                    JoinOutcome { joined: number.is_multiple_of(2), reason: "r".to_owned() };
                self.turns.outcome(who, &outcome, now, unix);
            }
            3 => {
                let expected = self.turns.has_work_for(who, now);
                let work = self.turns.work_for(who, now);
                assert_eq!(work.is_some(), expected);
                self.works.extend(work.map(|work| (who.to_owned(), work)));
            }
            4 if !self.works.is_empty() => {
                let index = usize::from(number) / 4 % self.works.len();
                self.answer(index, !number.is_multiple_of(4), number.is_multiple_of(8));
            }
            5 => self.turns.is_up(who, now, unix),
            6 => self.turns.gone(who, now, unix),
            7 => {
                let seconds = u64::from(number) * 2;
                self.now += Duration::from_secs(seconds);
                self.unix += seconds;
                self.turns.advance(self.now, self.unix);
            }
            8 => {
                self.runs += 1;
                let saved = serde_json::to_string(&self.turns.saved()).unwrap();
                let saved = serde_json::from_str(&saved).unwrap();
                self.turns = JoinTurns::restored(saved, self.runs << 32);
                self.now = Duration::ZERO;
            }
            _ => {}
        }
    }

    fn answer(&mut self, index: usize, good: bool, wait: bool) {
        let (agent, work) = self.works.remove(index);
        let result = match work.task {
            _ if !good => WorkOutcome::Failed { reason: "f".to_owned(), wait },
            Task::Issue { .. } => {
                self.made += 1;
                let token_id = format!("t{:05}", self.made);
                self.alive.insert(token_id.clone());
                let made = Made { owner_id: format!("o{token_id}"), token_id, certs_uid: None };
                WorkOutcome::Issued { sealed: "s".to_owned(), made }
            }
            Task::Revoke { made } => {
                self.alive.remove(&made.token_id);
                WorkOutcome::Revoked
            }
        };
        let result = WorkResult { id: work.id, result };
        self.turns.result(&agent, result, self.now, self.unix);
    }
}

//! The masters that registered: who may call itself what, at which address, and who was heard when.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::member::MEMBERS_MAX;
use serde::{Deserialize, Serialize};

use crate::kubeadm::is_dns_subdomain;
use crate::protocol::{Heartbeat, Intent, MISSING_AFTER};

/// A joiner that was never admitted is forgotten when it was not heard for this long: its operator
/// may run `mainstay join` again until then, and after that as if for the first time.
pub const STRANDED_AFTER: Duration = Duration::from_secs(3600);

/// The life of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// Registered; its apiserver never served yet.
    Pending,
    /// Its apiserver proved its identity and served.
    Admitted,
}

/// A registered member, as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Unique.
    pub name: String,
    /// Of its apiserver, unique.
    pub address: SocketAddr,
    /// SHA-256 of its public key, hexadecimal: whoever holds the key is the member.
    pub key: String,
    /// What it wanted when it registered.
    pub intent: Intent,
    /// Where it is in its life.
    pub life: Life,
    /// Seconds since 1970 when it registered first.
    pub since: u64,
    /// Seconds since 1970 when its newest certificate ends.
    pub certificate_ends: u64,
}

/// What was heard of a member in this run of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When last, since the start of the program.
    pub at: Duration,
    /// What it said.
    pub said: Said,
}

/// The parts of a heartbeat that are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// It is shutting down.
    pub draining: bool,
    /// It can make credentials.
    pub can_issue: bool,
}

/// Somebody who wants to be a member, with a proof that it holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// As what.
    pub name: String,
    /// Where its apiserver is; allowed by the address policy.
    pub address: SocketAddr,
    /// SHA-256 of its public key, hexadecimal.
    pub key: String,
    /// What it wants.
    pub intent: Intent,
    /// Whether it wants to be the first master although there is another.
    pub force: bool,
}

/// All registered members.
#[derive(Clone, Debug, Default)]
pub struct MemberBook {
    records: BTreeMap<String, MemberRecord>,
    heard: BTreeMap<String, Heard>,
}

/// Why somebody is no member. The sentence is for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefusal {
    /// A name that no node can have.
    #[error("`{0}` is no name of a node: use lower-case letters, digits, `-` and `.`, at most 253")]
    Name(String),
    /// Another key has this name.
    #[error(
        "the name {0} is registered with another key; if that machine is gone for good, remove it \
         on the balancer with `mainstay forget {0}`"
    )]
    NameTaken(String),
    /// Another member has this address.
    #[error("the address {address} is registered by {by}; a master has an address of its own")]
    AddressTaken {
        /// The address.
        address: SocketAddr,
        /// By whom.
        by: String,
    },
    /// There is a first master.
    #[error(
        "the cluster has a master already ({0}), so this one cannot be the first; use `mainstay \
         join`, or --first if the old cluster is gone for good"
    )]
    NotFirst(String),
    /// Too many.
    #[error("there are {MEMBERS_MAX} members already; remove some with `mainstay forget NAME`")]
    Full,
    /// No such member.
    #[error("{0} is not registered; register again with a ticket")]
    Unknown(String),
}

impl MemberBook {
    /// The members of an earlier run.
    #[must_use]
    pub fn restored(records: Vec<MemberRecord>) -> Self {
        let records = records.into_iter().map(|record| (record.name.clone(), record)).collect();
        Self { records, heard: BTreeMap::new() }
    }

    /// All members by name.
    pub fn records(&self) -> impl Iterator<Item = &MemberRecord> {
        self.records.values()
    }

    /// The member of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&MemberRecord> {
        self.records.get(name)
    }

    /// The member of this name, if `key` is its key.
    #[must_use]
    pub fn with_key(&self, name: &str, key: &str) -> Option<&MemberRecord> {
        self.of(name).filter(|record| record.key == key)
    }

    /// What was heard of a member.
    #[must_use]
    pub fn heard(&self, name: &str) -> Option<Heard> {
        self.heard.get(name).copied()
    }

    /// Whether a claim would be let in, without letting it in.
    ///
    /// # Errors
    /// [`ClaimRefusal`], a sentence for whoever claims.
    pub fn admits(&self, claim: &Claim) -> Result<(), ClaimRefusal> {
        if !is_dns_subdomain(&claim.name) {
            return Err(ClaimRefusal::Name(claim.name.chars().take(60).collect()));
        }
        let known = self.of(&claim.name);
        if known.is_some_and(|record| record.key != claim.key) {
            return Err(ClaimRefusal::NameTaken(claim.name.clone()));
        }
        let others = || self.records().filter(|record| record.name != claim.name);
        if let Some(other) = others().find(|record| record.address == claim.address) {
            let by = other.name.clone();
            return Err(ClaimRefusal::AddressTaken { address: claim.address, by });
        }
        let first =
            others().find(|record| record.intent == Intent::Init || record.life == Life::Admitted);
        match first {
            // The first master may come again, however many have joined it meanwhile.
            _ if known.is_some_and(|record| record.intent == Intent::Init) => Ok(()),
            Some(first) if claim.intent == Intent::Init && !claim.force => {
                Err(ClaimRefusal::NotFirst(first.name.clone()))
            }
            _ if known.is_none() && self.records.len() >= MEMBERS_MAX => Err(ClaimRefusal::Full),
            _ => Ok(()),
        }
    }

    /// Enters a claim; a member that comes again keeps what it is.
    ///
    /// # Errors
    /// As [`MemberBook::admits`].
    pub fn register(&mut self, claim: Claim, unix: u64, now: Duration) -> Result<(), ClaimRefusal> {
        self.admits(&claim)?;
        let known = self.of(&claim.name);
        let life = match known {
            // Another address is another apiserver.
            Some(record) if record.address == claim.address => record.life,
            _ => Life::Pending,
        };
        let since = known.map_or(unix, |record| record.since);
        let certificate_ends = known.map_or(0, |record| record.certificate_ends);
        let Claim { name, address, key, intent, force: _ } = claim;
        self.hear(&name, now, &Heartbeat::default());
        let record = MemberRecord {
            name: name.clone(),
            address,
            key,
            intent,
            life,
            since,
            certificate_ends,
        };
        self.records.insert(name, record);
        Ok(())
    }

    /// Notes until when its newest certificate is valid, and for which key.
    pub fn certified(&mut self, name: &str, key: &str, ends: u64) {
        if let Some(record) = self.records.get_mut(name) {
            key.clone_into(&mut record.key);
            record.certificate_ends = ends;
        }
    }

    /// Notes a heartbeat.
    pub fn hear(&mut self, name: &str, now: Duration, heartbeat: &Heartbeat) {
        let said = Said { draining: heartbeat.draining, can_issue: heartbeat.can_issue };
        self.heard.insert(name.to_owned(), Heard { at: now, said });
    }

    /// Moves a member on in its life; whether that is a change.
    pub fn enter(&mut self, name: &str, life: Life) -> bool {
        let record = self.records.get_mut(name).filter(|record| record.life != life);
        if let Some(record) = record {
            record.life = life;
            return true;
        }
        false
    }

    /// Forgets a member; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.heard.remove(name);
        self.records.remove(name).is_some()
    }

    /// Whether nothing was heard of it for too long. One that never sent a heartbeat in this run
    /// counts from the start of the program.
    #[must_use]
    pub fn is_missing(&self, name: &str, now: Duration) -> bool {
        let last = self.heard(name).map_or(Duration::ZERO, |heard| heard.at);
        now.saturating_sub(last) > MISSING_AFTER
    }

    /// Joiners that never served and fell silent long ago.
    #[must_use]
    pub fn stranded(&self, now: Duration) -> Vec<String> {
        let silent = |name: &str| {
            let last = self.heard(name).map_or(Duration::ZERO, |heard| heard.at);
            now.saturating_sub(last) > STRANDED_AFTER
        };
        self.records()
            .filter(|record| record.life == Life::Pending && record.intent == Intent::Join)
            .filter(|record| silent(&record.name))
            .map(|record| record.name.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, host: u8, intent: Intent) -> Claim {
        Claim {
            name: name.to_owned(),
            address: SocketAddr::from(([10, 0, 0, host], 6443)),
            key: format!("key of {name}"),
            intent,
            force: false,
        }
    }

    fn book(claims: &[Claim]) -> MemberBook {
        let mut book = MemberBook::default();
        for claim in claims {
            book.register(claim.clone(), 1_000, Duration::ZERO).unwrap();
        }
        book
    }

    #[test]
    fn names_and_addresses_are_somebodys() {
        let book =
            book(&[claim("master-0", 10, Intent::Init), claim("master-1", 11, Intent::Join)]);
        let other_key = Claim { key: "stolen".into(), ..claim("master-1", 11, Intent::Join) };
        let other_address = claim("master-2", 11, Intent::Join);
        let second_first = claim("master-2", 12, Intent::Init);
        let table = [
            (other_key, "registered with another key"),
            (other_address, "10.0.0.11:6443 is registered by master-1"),
            (second_first, "has a master already (master-0)"),
            (claim("Master", 13, Intent::Join), "is no name of a node"),
            (claim("", 13, Intent::Join), "is no name of a node"),
            (claim("a..b", 13, Intent::Join), "is no name of a node"),
        ];
        for (claim, expected) in table {
            let said = book.admits(&claim).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
        assert!(book.admits(&claim("master-2", 12, Intent::Join)).is_ok());
        assert!(book.admits(&claim("master-0", 10, Intent::Init)).is_ok(), "a re-run of init");
        let mut joined = book.clone();
        joined.enter("master-1", Life::Admitted);
        assert!(joined.admits(&claim("master-0", 10, Intent::Init)).is_ok(), "it was away");
        assert!(joined.admits(&claim("master-1", 11, Intent::Init)).is_err());
        let forced = Claim { force: true, ..claim("master-2", 12, Intent::Init) };
        assert!(book.admits(&forced).is_ok());
    }

    #[test]
    fn coming_again_changes_nothing_and_moving_begins_anew() {
        let mut book = book(&[claim("master-0", 10, Intent::Init)]);
        book.enter("master-0", Life::Admitted);
        book.certified("master-0", "key of master-0", 5_000);
        let before = book.of("master-0").unwrap().clone();
        book.register(claim("master-0", 10, Intent::Init), 2_000, Duration::ZERO).unwrap();
        assert_eq!(*book.of("master-0").unwrap(), before);
        book.register(claim("master-0", 20, Intent::Register), 2_000, Duration::ZERO).unwrap();
        assert_eq!(book.of("master-0").unwrap().life, Life::Pending);
    }

    #[test]
    fn silence_is_seen_and_strands_only_joiners() {
        let mut book =
            book(&[claim("master-0", 10, Intent::Init), claim("master-1", 11, Intent::Join)]);
        let at = Duration::from_secs;
        assert!(!book.is_missing("master-1", at(30)) && book.is_missing("master-1", at(31)));
        book.hear("master-1", at(40), &Heartbeat::default());
        assert!(!book.is_missing("master-1", at(70)));
        assert_eq!(book.stranded(at(3_640)), Vec::<String>::new());
        assert_eq!(book.stranded(at(3_641)), ["master-1"]);
        book.enter("master-1", Life::Admitted);
        assert!(book.stranded(at(9_999)).is_empty());
    }

    #[test]
    fn there_is_an_end_to_members() {
        let mut book = MemberBook::default();
        for number in 0..u8::try_from(MEMBERS_MAX).unwrap() {
            let claim = claim(&format!("m{number}"), number, Intent::Join);
            book.register(claim, 0, Duration::ZERO).unwrap();
        }
        assert_eq!(book.admits(&claim("more", 200, Intent::Join)), Err(ClaimRefusal::Full));
        assert!(book.remove("m1") && !book.remove("m1"));
        assert!(book.admits(&claim("more", 200, Intent::Join)).is_ok());
    }
}

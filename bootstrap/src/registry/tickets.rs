//! The tickets that let strangers register: made by the operator, good for a time and a number of
//! uses, kept as hashes only.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::ticket::JoinToken;

/// Most tickets at once: an operator makes a few, a script gone wild is stopped here.
pub const TICKETS_MAX: usize = 256;

/// Longest description that is kept.
pub const DESCRIPTION_MAX: usize = 200;

/// How long a ticket is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Seconds until it ends; none for one that never does.
    pub ttl_seconds: Option<u64>,
    /// How many masters may register with it; none for any number.
    pub uses: Option<u32>,
    /// For people.
    pub description: String,
}

/// One ticket, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// SHA-256 of the whole token, hexadecimal. 82 random bits need no slow hash.
    hash: String,
    /// Seconds since 1970 when it was made.
    pub created: u64,
    /// Seconds since 1970 when it ends.
    pub expires: Option<u64>,
    /// Uses that are left.
    pub uses_left: Option<u32>,
    /// Masters that registered with it.
    pub used: u32,
    /// For people.
    pub description: String,
}

impl Ticket {
    /// Whether it is good at this time.
    #[must_use]
    pub fn is_good(&self, unix: u64) -> bool {
        self.expires.is_none_or(|end| unix < end) && self.uses_left != Some(0)
    }
}

/// All tickets by their public id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TicketBook(BTreeMap<String, Ticket>);

/// Why there is no such ticket. The reason is for the log; who asks learns nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketRejection {
    /// Not of the form of a token.
    #[error("malformed")]
    Malformed,
    /// No ticket of this id, or another secret.
    #[error("unknown")]
    Unknown,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Used up.
    #[error("used_up")]
    UsedUp,
}

/// Why a ticket cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketBookError {
    /// Ids are unique.
    #[error("there is a ticket of this id already; revoke it or choose another token")]
    Taken,
    /// Too many.
    #[error("there are {TICKETS_MAX} tickets already; revoke some with `mainstay ticket revoke`")]
    Full,
}

impl TicketBook {
    /// Enters a ticket. An id that is taken by a ticket that is no good any more is free again.
    ///
    /// # Errors
    /// [`TicketBookError`] if the id is taken or there are too many.
    pub fn add(
        &mut self,
        token: &JoinToken,
        terms: Terms,
        unix: u64,
    ) -> Result<(), TicketBookError> {
        self.forget_ended(unix);
        let id = token.id().to_string();
        if self.0.contains_key(&id) {
            return Err(TicketBookError::Taken);
        }
        if self.0.len() >= TICKETS_MAX {
            return Err(TicketBookError::Full);
        }
        let ticket = Ticket {
            hash: hash_of(token),
            created: unix,
            expires: terms.ttl_seconds.map(|ttl| unix.saturating_add(ttl)),
            uses_left: terms.uses,
            used: 0,
            description: terms.description.chars().take(DESCRIPTION_MAX).collect(),
        };
        self.0.insert(id, ticket);
        Ok(())
    }

    /// The id of the ticket that this text is the token of. Takes the same time for every wrong
    /// secret.
    ///
    /// # Errors
    /// [`TicketRejection`] for the log.
    pub fn check(&self, text: &str, unix: u64) -> Result<String, TicketRejection> {
        let token: JoinToken = text.parse().map_err(|_| TicketRejection::Malformed)?;
        let known = self.0.get(token.id().as_str());
        let expected = known.map_or("", |ticket| ticket.hash.as_str());
        let same: bool = hash_of(&token).as_bytes().ct_eq(expected.as_bytes()).into();
        match known {
            Some(ticket) if same && ticket.is_good(unix) => Ok(token.id().to_string()),
            Some(ticket) if same && ticket.uses_left == Some(0) => Err(TicketRejection::UsedUp),
            Some(_) if same => Err(TicketRejection::Expired),
            _ => Err(TicketRejection::Unknown),
        }
    }

    /// Notes that a master registered with it.
    pub fn spend(&mut self, id: &str) {
        if let Some(ticket) = self.0.get_mut(id) {
            ticket.uses_left = ticket.uses_left.map(|left| left.saturating_sub(1));
            ticket.used = ticket.used.saturating_add(1);
        }
    }

    /// Makes a ticket worthless; whether there was one.
    pub fn revoke(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    /// All tickets that are still good, by id.
    pub fn good(&self, unix: u64) -> impl Iterator<Item = (&String, &Ticket)> {
        self.0.iter().filter(move |(_, ticket)| ticket.is_good(unix))
    }

    fn forget_ended(&mut self, unix: u64) {
        self.0.retain(|_, ticket| ticket.is_good(unix));
    }
}

fn hash_of(token: &JoinToken) -> String {
    HEXLOWER.encode(digest(&SHA256, token.to_text().as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str = "abcdef.0123456789abcdef";

    fn book(terms: Terms) -> TicketBook {
        let mut book = TicketBook::default();
        book.add(&TOKEN.parse().unwrap(), terms, 1_000).unwrap();
        book
    }

    #[test]
    fn is_good_for_its_time_and_uses() {
        let terms = Terms { ttl_seconds: Some(60), uses: Some(2), ..Terms::default() };
        let mut book = book(terms);
        assert_eq!(book.check(TOKEN, 1_059).unwrap(), "abcdef");
        assert_eq!(book.check(TOKEN, 1_060), Err(TicketRejection::Expired));
        book.spend("abcdef");
        assert!(book.check(TOKEN, 1_000).is_ok());
        book.spend("abcdef");
        assert_eq!(book.check(TOKEN, 1_000), Err(TicketRejection::UsedUp));
        assert_eq!(book.good(1_000).count(), 0);
    }

    #[test]
    fn wrong_ones_are_told_apart_for_the_log_only() {
        let mut book = book(Terms::default());
        let table = [
            ("abcdef.0123456789abcdee", TicketRejection::Unknown),
            ("abcdeg.0123456789abcdef", TicketRejection::Unknown),
            ("abcdef", TicketRejection::Malformed),
            ("", TicketRejection::Malformed),
        ];
        for (text, rejection) in table {
            assert_eq!(book.check(text, 1_000), Err(rejection), "{text}");
        }
        assert!(book.check(TOKEN, u64::MAX).is_ok(), "no end was set");
        assert!(book.revoke("abcdef") && !book.revoke("abcdef"));
        assert_eq!(book.check(TOKEN, 1_000), Err(TicketRejection::Unknown));
    }

    #[test]
    fn ids_are_unique_until_they_end_and_few() {
        let mut book = book(Terms { ttl_seconds: Some(10), ..Terms::default() });
        let token: JoinToken = TOKEN.parse().unwrap();
        assert_eq!(book.add(&token, Terms::default(), 1_009), Err(TicketBookError::Taken));
        book.add(&token, Terms::default(), 1_010).unwrap();
        for number in 1..TICKETS_MAX {
            let token = format!("{number:06}.0123456789abcdef").parse().unwrap();
            book.add(&token, Terms::default(), 1_010).unwrap();
        }
        let one_more = "zzzzzz.0123456789abcdef".parse().unwrap();
        assert_eq!(book.add(&one_more, Terms::default(), 1_010), Err(TicketBookError::Full));
    }

    #[test]
    fn the_secret_is_not_kept() {
        let saved = serde_json::to_string(&book(Terms::default())).unwrap();
        assert!(!saved.contains("0123456789abcdef"), "{saved}");
        assert!(serde_json::from_str::<TicketBook>(&saved).unwrap().check(TOKEN, 1).is_ok());
    }

    proptest! {
        /// However it is used, a ticket admits no more than its uses, and nobody after its end.
        #[test]
        fn never_admits_more_than_its_terms(uses in 0u32..5, ttl in 0u64..50, at in proptest::collection::vec(0u64..80, 0..20)) {
            let mut book = book(Terms { ttl_seconds: Some(ttl), uses: Some(uses), ..Terms::default() });
            let mut admitted = 0;
            for after in at {
                if let Ok(id) = book.check(TOKEN, 1_000 + after) {
                    prop_assert!(after < ttl);
                    book.spend(&id);
                    admitted += 1;
                }
            }
            prop_assert!(admitted <= uses);
        }
    }
}

//! What the two processes say to each other: JSON, followed by bytes that sessions hold.
//!
//! A newer version may add fields and kinds of frames that older ones pass over; what they cannot
//! pass over is a new [`FORMAT`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use common::Member;
use common::config::Config;
use common::events::JournalRecord;
use lb::balancer::Predecessor;
use lb::handover::{Arrival, Estate, Parcel, SessionRecord};
use serde::{Deserialize, Serialize};

use super::channel::{Channel, Message};

/// Version of the format. The old process refuses a new one that speaks another.
pub(super) const FORMAT: u32 = 1;

/// Sessions in one frame: with two descriptors each, one packet of the channel.
pub(super) const BATCH: usize = 100;

/// Bytes before the JSON, which say how long it is.
const LENGTH_BYTES: usize = size_of::<u32>();

/// One thing said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Frame {
    /// New: I speak this.
    Hello {
        /// [`FORMAT`].
        format: u32,
        /// For people.
        version: String,
    },
    /// New: I will not, because.
    Refuse {
        /// One sentence.
        reason: String,
    },
    /// Old: this is what there is. With the reader of the token and the named sockets.
    Offer(Offer),
    /// New: I am ready.
    Ready,
    /// Old: everything but the sessions. With the sockets of the ports.
    Estate {
        /// Of the balancer.
        estate: Box<Estate>,
        /// Of the program.
        #[serde(default)]
        program: ProgramRecord,
        /// Milliseconds for which the sessions stand still already.
        #[serde(default)]
        standing_ms: u64,
    },
    /// Old: some sessions. With their descriptors and bytes.
    Sessions {
        /// In the order of descriptors and bytes.
        sessions: Vec<SessionRecord>,
    },
    /// Old: that was all.
    All {
        /// Sessions in all.
        sessions: usize,
    },
    /// New: I have everything.
    Holding {
        /// Sessions in all.
        sessions: usize,
    },
    /// Old: the token can be read.
    Yours,
    /// New: I have read the token.
    Taken,
    /// Old: nothing is left here; this was counted since.
    Bye {
        /// Differences.
        later: Box<Estate>,
        /// Whether the old process was asked to stop, which then is for the new one to do.
        #[serde(default)]
        stop: bool,
    },
}

/// What the new process must know before it is ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Offer {
    /// Process id of the old one.
    pub(super) pid: u32,
    /// Of the balancer.
    pub(super) predecessor: Predecessor,
    /// What cannot change while sockets are passed on.
    pub(super) fixed: Fixed,
    /// Names of the sockets that travel along, in their order, after the reader of the token.
    pub(super) sockets: Vec<String>,
}

/// Configuration that only a restart can change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fixed {
    listen: Vec<String>,
    admin: String,
    workers: usize,
}

/// What the program counts itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProgramRecord {
    /// Reloads that were applied.
    pub(crate) reloads_applied: u64,
    /// Reloads that were refused.
    pub(crate) reloads_refused: u64,
    /// Hand-overs that were done.
    pub(crate) handovers_done: u64,
    /// Hand-overs that were given up.
    pub(crate) handovers_failed: u64,
    /// What was decided.
    pub(crate) journal: JournalRecord,
    /// Members that are not in the configuration: there may be no state directory to find them in.
    pub(crate) members: Vec<Member>,
}

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            listen: config.listen.iter().map(|addr| addr.0.to_string()).collect(),
            admin: config.admin.to_string(),
            workers: config.workers,
        }
    }

    /// What is different there.
    pub(super) fn differs(&self, other: &Self) -> Option<&'static str> {
        let keys = [
            ("listen", self.listen != other.listen),
            ("admin", self.admin != other.admin),
            ("workers", self.workers != other.workers),
        ];
        keys.into_iter().find_map(|(key, differs)| differs.then_some(key))
    }
}

impl Channel {
    /// Says something with descriptors.
    pub(super) async fn say(
        &mut self,
        frame: &Frame,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.send(&encoded(frame, &[])?, descriptors).await
    }

    /// Sends sessions.
    pub(super) async fn say_sessions(&mut self, parcels: Vec<Parcel<'_>>) -> io::Result<()> {
        let (mut sessions, mut descriptors, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for parcel in parcels {
            sessions.push(parcel.record);
            descriptors.extend(parcel.descriptors);
            bytes.extend(parcel.bytes);
        }
        let encoded = encoded(&Frame::Sessions { sessions }, &bytes)?;
        self.send(&encoded, &descriptors).await
    }

    /// What the other one says next, with descriptors and bytes; `None` when it is gone.
    pub(super) async fn hear(&mut self) -> io::Result<Option<(Frame, Vec<OwnedFd>, Vec<u8>)>> {
        match self.receive().await? {
            Some(message) => decoded(message).map(Some),
            None => Ok(None),
        }
    }
}

/// Handles as they are lent to a message.
pub(super) fn lent(handles: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    handles.iter().map(AsFd::as_fd).collect()
}

pub(super) fn encoded(frame: &Frame, bytes: &[&[u8]]) -> io::Result<Vec<u8>> {
    let mut text = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut text, frame)?;
    let length = u32::try_from(text.len() - LENGTH_BYTES).map_err(io::Error::other)?;
    if let Some(head) = text.first_chunk_mut() {
        *head = length.to_le_bytes();
    }
    bytes.iter().for_each(|part| text.extend_from_slice(part));
    Ok(text)
}

pub(super) fn decoded(message: Message) -> io::Result<(Frame, Vec<OwnedFd>, Vec<u8>)> {
    let mut bytes = message.bytes;
    let length = bytes.first_chunk().map(|head: &[u8; LENGTH_BYTES]| u32::from_le_bytes(*head));
    let end = length.and_then(|length| usize::try_from(length).ok()?.checked_add(LENGTH_BYTES));
    let end = end.ok_or(io::ErrorKind::InvalidData)?;
    let text = bytes.get(LENGTH_BYTES..end).ok_or(io::ErrorKind::InvalidData)?;
    let frame = serde_json::from_slice(text)?;
    let held = bytes.split_off(end);
    Ok((frame, message.descriptors, held))
}

/// Gives each session its descriptors and bytes; `None` if they are not as many as the records say.
pub(super) fn arrivals(
    sessions: Vec<SessionRecord>,
    descriptors: Vec<OwnedFd>,
    bytes: &[u8],
) -> Option<Vec<Arrival>> {
    let mut descriptors = descriptors.into_iter();
    let mut rest = bytes;
    let mut arrivals = Vec::with_capacity(sessions.len());
    for record in sessions {
        let (own, after) = rest.split_at_checked(record.bytes()?)?;
        rest = after;
        let count = record.descriptors();
        let own_descriptors: Vec<_> = descriptors.by_ref().take(count).collect();
        if own_descriptors.len() != count {
            return None;
        }
        arrivals.push(Arrival { record, descriptors: own_descriptors, bytes: own.to_vec() });
    }
    (rest.is_empty() && descriptors.next().is_none()).then_some(arrivals)
}

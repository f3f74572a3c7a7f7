//! What the clients of one balancer noticed in one scenario.

use std::time::{Duration, Instant};

use crate::clients::{Attempt, Load};
use crate::peer::Peer;
use crate::stage::Outage;
use crate::watches::{Session, Watches};

/// New connections in a second.
const RATE: u32 = 20;

/// The time that it takes to cut a cable or to kill a process, from the note of it.
const ACT: Duration = Duration::from_millis(250);

/// The clients of one balancer.
pub(crate) struct Clients {
    watches: Watches,
    load: Load,
}

impl Clients {
    /// Opens the streams and begins with new connections.
    pub(crate) fn start(peer: &Peer) -> Self {
        peer.client.inside(|| {
            let watches = Watches::open(peer.addr(), &peer.trust);
            let load = Load::start(peer.addr(), &peer.trust, RATE);
            Self { watches, load }
        })
    }

    /// The scenario begins.
    pub(crate) fn mark(&self) {
        self.watches.mark();
    }

    /// The scenario has ended.
    pub(crate) fn stop(self, begun: Instant, outages: &[Outage]) -> Figures {
        let silence = self.watches.longest_silence();
        let sessions = self.watches.sessions();
        drop(self.watches);
        let attempts = self.load.stop();
        Figures::new(&attempts, &sessions, silence, begun, outages)
    }
}

/// The figures of one balancer in one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// New connections since the fault.
    pub(crate) tried: usize,
    /// Of those, not answered within 10 s, or ended before.
    pub(crate) failed: usize,
    /// The longest wait of one that was answered.
    pub(crate) slowest: Duration,
    /// Sessions of streams that ended although their master was there.
    pub(crate) needless: usize,
    /// Sessions that a lost master had.
    pub(crate) lost: usize,
    /// Of those, not ended before the master was back.
    pub(crate) left: usize,
    /// From a loss to the end of the last of its sessions that ended.
    pub(crate) cut_after: Duration,
    /// The longest time in which a talking stream heard nothing.
    pub(crate) silence: Duration,
}

impl Figures {
    fn new(
        attempts: &[Attempt],
        sessions: &[Session],
        silence: Duration,
        begun: Instant,
        outages: &[Outage],
    ) -> Self {
        // Nobody can go on with a connection that a master had answered before it was lost.
        let excused = |attempt: &&Attempt| {
            let end = attempt.begun + attempt.took;
            let within = |outage: &Outage| attempt.begun < outage.from + ACT && outage.from <= end;
            attempt.ended.is_err() && attempt.heard && outages.iter().any(within)
        };
        let tried: Vec<_> = attempts
            .iter()
            .filter(|attempt| attempt.begun + attempt.took >= begun && !excused(attempt))
            .collect();
        let answered = tried.iter().filter(|attempt| attempt.ended.is_ok());
        let slowest = answered.clone().map(|attempt| attempt.took).max().unwrap_or_default();
        let (mut lost, mut left, mut cut_after) = (0, 0, Duration::ZERO);
        for outage in outages {
            for session in sessions.iter().filter(|session| was_lost(session, outage)) {
                lost += 1;
                match session.ended.filter(|ended| outage.holds(*ended)) {
                    Some(ended) => {
                        cut_after = cut_after.max(ended.saturating_duration_since(outage.from));
                    }
                    None => left += 1,
                }
            }
        }
        Self {
            tried: tried.len(),
            failed: tried.len() - answered.count(),
            slowest,
            needless: sessions
                .iter()
                .filter(|session| is_needless(session, begun, outages))
                .count(),
            lost,
            left,
            cut_after,
            silence,
        }
    }
}

fn was_lost(session: &Session, outage: &Outage) -> bool {
    session.master == outage.master
        && session.begun < outage.from
        && session.ended.is_none_or(|ended| ended >= outage.from)
}

fn is_needless(session: &Session, begun: Instant, outages: &[Outage]) -> bool {
    let Some(ended) = session.ended.filter(|ended| *ended >= begun) else {
        return false;
    };
    !outages.iter().any(|outage| outage.master == session.master && outage.holds(ended))
}

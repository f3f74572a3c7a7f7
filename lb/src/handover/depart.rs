//! The side that gives: lets everything stand still, shows what there is, and then either goes on
//! itself or lets go.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::{Counters, Estate, PortRecord, SessionRecord, Standing};
use crate::balancer::Balancer;
use crate::close_reason::CloseReason;

/// One standing session, ready to travel.
#[derive(Debug)]
pub struct Parcel<'a> {
    /// What is known of it.
    pub record: SessionRecord,
    /// The descriptors of the record.
    pub descriptors: Vec<BorrowedFd<'a>>,
    /// The bytes of the record, in two parts.
    pub bytes: [&'a [u8]; 2],
}

/// Handles of the sockets of one address.
#[derive(Debug)]
pub struct PortSockets {
    /// The address.
    pub addr: SocketAddr,
    /// A handle for each worker; up to four are of one socket.
    pub sockets: Vec<OwnedFd>,
}

/// Standing sessions on their way. Dropping it lets go of them: their sockets are closed here and
/// stay open where they went to.
#[derive(Debug, Default)]
pub struct Departure {
    by_worker: Vec<Vec<Standing>>,
}

impl Departure {
    /// How many sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_worker.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_worker.iter().all(Vec::is_empty)
    }

    /// Resets all of them: nobody knows what another process did with their bytes.
    pub fn reset(self) {
        for Standing { relay, permit } in self.by_worker.into_iter().flatten() {
            relay.reset();
            relay.session().ended(CloseReason::Stopping);
            permit.ended(CloseReason::Stopping);
        }
    }

    /// Each session as it travels, those of the workers in turn: so the workers of the process that
    /// takes them have something to do at the same time.
    pub fn parcels(&self) -> impl Iterator<Item = Parcel<'_>> {
        let most = self.by_worker.iter().map(Vec::len).max().unwrap_or(0);
        (0..most).flat_map(move |place| {
            let workers = self.by_worker.iter().enumerate();
            workers.filter_map(move |(worker, sessions)| Some(parcel(worker, sessions.get(place)?)))
        })
    }
}

fn parcel(worker: usize, Standing { relay, .. }: &Standing) -> Parcel<'_> {
    Parcel {
        record: SessionRecord { worker, ..relay.record() },
        descriptors: relay.descriptors(),
        bytes: relay.held_bytes(),
    }
}

impl Balancer {
    /// Stops accepting and lets every established session stand still. The ports stay open, clients
    /// wait in the kernel's queue. Connections whose backend is being searched are not waited for;
    /// once they are established they stand too. Undone by [`Balancer::go_on`], also half way.
    pub async fn stand_still(&self) -> Departure {
        self.pause_accepting();
        let (done, mut gathered) = tokio::sync::mpsc::channel(self.workers().len().max(1));
        for worker in self.workers() {
            let done = done.clone();
            worker.gather(async move {
                // Whoever does not wait any more goes on without it.
                done.send(()).await.ok();
            });
        }
        drop(done);
        while gathered.recv().await.is_some() {}
        self.departed()
    }

    /// The sessions that stand, and are not on their way yet.
    #[must_use]
    pub fn departed(&self) -> Departure {
        let standing = self.workers().iter().map(|worker| worker.seat.sessions.standing.take());
        Departure { by_worker: standing.collect() }
    }

    /// Everything but the sessions. What the keeper knows is for the caller to add.
    #[must_use]
    pub fn estate(&self) -> Estate {
        let shared = self.shared();
        let relaxed = Ordering::Relaxed;
        let closes = shared.closes.iter().filter(|(_, count)| *count > 0);
        let counters = Counters {
            accepted: self.accepted(),
            accept_errors: self.accept_errors(),
            races_won: self.races_won(),
            replays: self.replays(),
            pipes_denied: self.pipes().denied(),
            ledger_written: self.ledger().map_or(0, |counts| counts.written.load(relaxed)),
            ledger_lost: self.ledger().map_or(0, |counts| counts.lost.load(relaxed)),
            closes: closes.map(|(reason, n)| (reason.label().to_owned(), n)).collect(),
        };
        let set = self.pool().snapshot();
        let members = set.entries.iter().map(|entry| entry.backend.record());
        let retired = self.pool().retired();
        let backends = members.chain(retired.iter().map(|backend| backend.record())).collect();
        let listening = self.listening();
        Estate { listening, counters, backends, generation: set.generation, ..Estate::default() }
    }

    /// Handles of the sockets on which clients are accepted, or will be.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn port_sockets(&self) -> io::Result<Vec<PortSockets>> {
        self.gate_sockets()
    }

    /// Goes on with every standing session and accepts again.
    pub async fn go_on(&self, departure: Departure) {
        let mut by_worker = departure.by_worker.into_iter();
        let mut gone_on = Vec::new();
        for worker in self.workers() {
            let (done, resumed) = oneshot::channel();
            worker.go_on(by_worker.next().unwrap_or_default(), done);
            gone_on.push(resumed);
        }
        for resumed in gone_on {
            // A worker that ended by a panic has no sessions.
            resumed.await.ok();
        }
        self.resume_accepting();
    }

    /// Lets go of the ports: another process accepts on them. Connections whose backend is still
    /// searched go on here until they stand.
    pub fn let_go(&self) {
        self.leave_ports();
    }
}

impl PortSockets {
    /// How they are announced.
    #[must_use]
    pub fn record(&self) -> PortRecord {
        PortRecord { addr: self.addr, sockets: self.sockets.len() }
    }
}

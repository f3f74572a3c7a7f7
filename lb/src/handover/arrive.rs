//! The side that takes: makes what another process had its own, and moves no byte before it is told.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{BackendRecord, Estate, SessionRecord, Standing};
use crate::balancer::{Balancer, Shared};
use crate::health::Rank;
use crate::listener::ClientPermit;
use crate::pool::{BackendSet, Entry};
use crate::relay::Relay;
use crate::session::{Session, Sessions};
use crate::{Backend, CloseReason};

/// Sessions that the workers are making their own.
#[derive(Debug, Default)]
pub struct Arriving {
    answers: Vec<oneshot::Receiver<io::Result<usize>>>,
}

impl Arriving {
    /// Waits until all of them stand here. How many came since the last time.
    ///
    /// # Errors
    /// A record does not fit what came with it, or the system refuses a socket.
    pub async fn arrived(&mut self) -> io::Result<usize> {
        let mut taken = 0;
        for answered in self.answers.drain(..) {
            taken += answered.await.map_err(|_| io::ErrorKind::BrokenPipe)??;
        }
        Ok(taken)
    }
}

/// One session that came from another process.
#[derive(Debug)]
pub struct Arrival {
    /// What is known of it.
    pub record: SessionRecord,
    /// The descriptors of the record.
    pub descriptors: Vec<OwnedFd>,
    /// The bytes of the record.
    pub bytes: Vec<u8>,
}

impl Balancer {
    /// Takes over ports, backends and counts. To be called once, before there are members.
    ///
    /// # Errors
    /// The sockets are not those that were announced.
    pub fn inherit(&self, estate: &Estate, sockets: Vec<OwnedFd>) -> io::Result<()> {
        self.adopt_ports(&estate.ports, sockets, estate.listening)?;
        // As the other keeper judged them, until ours has published: clients do not wait for it.
        let entry = |record: &BackendRecord| {
            let ward = estate.wards.iter().find(|ward| ward.addr == record.member.addr);
            Entry {
                backend: Arc::new(Backend::revived(record)),
                rank: ward.map_or(Rank::Never, |ward| ward.judge.rank()),
                slow_start: ward.and_then(|ward| ward.slow_start),
            }
        };
        let entries = estate.backends.iter().map(entry).collect();
        self.pool().publish(BackendSet { generation: estate.generation, entries });
        self.add_counters(estate);
        Ok(())
    }

    /// Adds what the other process counted after its estate was read.
    pub fn add_later(&self, later: &Estate) {
        self.add_counters(later);
        for record in &later.backends {
            if let Some(backend) = self.pool().backend_at(record.member.addr) {
                backend.add(record);
            }
        }
    }

    fn add_counters(&self, estate: &Estate) {
        let (shared, counters) = (self.shared(), &estate.counters);
        shared.add(counters);
        self.pipes().add_denied(counters.pipes_denied);
    }

    /// Takes sessions, which stand still until [`Balancer::go_on`]. The workers do it, while the caller
    /// reads the next ones; `arriving` says when they have.
    pub fn receive(&self, arrivals: Vec<Arrival>, arriving: &mut Arriving) {
        let workers = self.workers();
        let mut by_worker: Vec<Vec<Arrival>> = workers.iter().map(|_| Vec::new()).collect();
        let count = by_worker.len().max(1);
        for arrival in arrivals {
            if let Some(of_worker) = by_worker.get_mut(arrival.record.worker % count) {
                of_worker.push(arrival);
            }
        }
        for (worker, arrivals) in workers.iter().zip(by_worker) {
            let (answer, answered) = oneshot::channel();
            let (shared, sessions) = (Arc::clone(self.shared()), Arc::clone(&worker.seat.sessions));
            worker.run(async move {
                // Whoever does not wait any more does not want to know.
                answer.send(revive_all(&shared, &sessions, arrivals)).ok();
            });
            arriving.answers.push(answered);
        }
    }
}

fn revive_all(
    shared: &Arc<Shared>,
    sessions: &Arc<Sessions>,
    arrivals: Vec<Arrival>,
) -> io::Result<usize> {
    let count = arrivals.len();
    for Arrival { record, descriptors, bytes } in arrivals {
        let backend = shared.pool.backend_of_guest(record.backend, record.opened);
        let noted =
            record.ledger.as_ref().and_then(|ledger| shared.ledger.go_on(record.client, ledger));
        let session = Session::revived(&record, backend.reserve_anyway()).noted(noted);
        let entry = sessions.add(session);
        entry.cut(CloseReason::HandedOver);
        let tools = Arc::clone(&shared.tools);
        let relay = Relay::revived(&record, descriptors, &bytes, entry, tools)?;
        let permit = ClientPermit::revived(shared, record.client.ip());
        sessions.standing.add(Standing { relay, permit });
    }
    Ok(count)
}

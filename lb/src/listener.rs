//! The loop that accepts clients: with a permit each, never without pause when that fails, and for
//! the worker that shall serve them.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{SockRef, Socket};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use tracing::warn;

use crate::balancer::Shared;
use crate::close_reason::CloseReason;
use crate::socket_options;
use crate::storm::SourceGuard;
use crate::worker::Seat;

/// First pause after a failed accept.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Longest pause after a failed accept.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// How long after a failed accept each client is accepted only with a descriptor for its backend.
const SCARCE: Duration = Duration::from_secs(5);

/// Want of descriptors or memory, as failed accepts tell it.
#[derive(Debug, Default)]
struct Scarcity {
    pause: Option<Duration>,
    until: Option<Instant>,
}

impl Scarcity {
    /// An accept failed. The pause that follows doubles up to 0.2 s.
    fn failed(&mut self, now: Instant) -> Duration {
        let pause = self.pause.map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX));
        self.pause = Some(pause);
        self.until = Some(now + SCARCE);
        pause
    }

    /// The next pause is short again.
    fn accepted(&mut self) {
        self.pause = None;
    }

    /// Whether one failed lately.
    fn lasts(&mut self) -> bool {
        self.until = self.until.filter(|until| Instant::now() < *until);
        self.until.is_some()
    }
}

/// Whether the error is about one connection that is gone already, not about us.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted)
}

/// A client connection that counts against the limit until it is dropped.
#[derive(Debug)]
pub(crate) struct ClientPermit {
    shared: Arc<Shared>,
    _source: SourceGuard,
}

impl ClientPermit {
    /// `None` if the source has its limit of connections already.
    fn new(shared: &Arc<Shared>, permit: OwnedSemaphorePermit, source: IpAddr) -> Option<Self> {
        let source = shared.sources.admit(source, shared.settings.load().per_source)?;
        shared.open.fetch_add(1, Ordering::Relaxed);
        // Given back by number when this is dropped: every session would keep two words for it.
        permit.forget();
        Some(Self { shared: Arc::clone(shared), _source: source })
    }

    /// For a session that another process accepted: it is counted, also beyond the limits.
    pub(crate) fn revived(shared: &Arc<Shared>, source: IpAddr) -> Self {
        if shared.permits.try_acquire().map(SemaphorePermit::forget).is_err() {
            shared.without_place.fetch_add(1, Ordering::Relaxed);
        }
        let source = shared.sources.admit(source, shared.settings.load().per_source);
        shared.open.fetch_add(1, Ordering::Relaxed);
        let source = source.unwrap_or_default();
        Self { shared: Arc::clone(shared), _source: source }
    }

    /// Counts why the session ended.
    pub(crate) fn ended(&self, reason: CloseReason) {
        self.shared.closes.add(reason);
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        let relaxed = Ordering::Relaxed;
        let one_less = |count: usize| count.checked_sub(1);
        // Its place goes to one that has none, or else to the next client.
        if self.shared.without_place.fetch_update(relaxed, relaxed, one_less).is_err() {
            self.shared.permits.add_permits(1);
        }
    }
}

/// A listening socket that says when a client waits, before the client is accepted.
///
/// tokio's own listener can only accept, and `AsyncFd` needs `unsafe`; its `TcpStream` waits for a
/// socket of any kind to become readable, and nothing else is asked of it here.
#[derive(Debug)]
pub(crate) struct Waiting(TcpStream);

impl Waiting {
    pub(crate) fn new(listener: TcpListener) -> io::Result<Self> {
        let socket = Socket::from(listener);
        TcpStream::from_std(socket.into()).map(Self)
    }

    /// Accepts one client that waits already; if descriptors are scarce, only while there is one for
    /// its backend too.
    fn accept(&self, scarce: bool) -> io::Result<(OwnedFd, SocketAddr)> {
        let _for_its_backend = scarce.then(|| self.0.as_fd().try_clone_to_owned()).transpose()?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accept = || Ok(acceptfrom_with(&self.0, flags)?);
        let (client, addr) = self.0.try_io(Interest::READABLE, accept)?;
        // The kernel names every client of a TCP port.
        let addr = addr.and_then(|addr| SocketAddr::try_from(addr).ok());
        let addr = addr.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((client, addr))
    }
}

/// Accepts until it is dropped. A permit is taken first, so that overload waits in the kernel's
/// queue and not in our memory; and only while a client waits, so that no worker keeps a permit
/// from the others. No error ends the loop, and none makes it spin. Cancel-safe.
pub(crate) async fn accept_loop(
    shared: Arc<Shared>,
    seat: Seat,
    listener: Arc<Waiting>,
    seats: Arc<[Seat]>,
) {
    let mut scarcity = Scarcity::default();
    loop {
        // Both fail only when everything ends.
        if listener.0.readable().await.is_err() {
            return;
        }
        let Some(permit) = place(&shared).await else {
            return;
        };
        let scarce = scarcity.lasts();
        let accepted = listener
            .accept(scarce)
            .and_then(|(client, addr)| admit(&shared, seat.or_fewer(&seats), client, addr, permit));
        match accepted {
            Ok(()) => {
                scarcity.accepted();
                if scarce {
                    // It takes the descriptor for its backend before the next one is accepted.
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                shared.accept_errors.fetch_add(1, Ordering::Relaxed);
                if !scarce {
                    warn!(%error, "cannot accept; pausing, clients wait in the kernel's queue");
                }
                let _waits = shared.crowd.enter();
                tokio::time::sleep(scarcity.failed(Instant::now())).await;
            }
        }
    }
}

/// Serves a client, or resets it if its source has its limit of connections already.
fn admit(
    shared: &Arc<Shared>,
    seat: &Seat,
    client: OwnedFd,
    addr: SocketAddr,
    permit: OwnedSemaphorePermit,
) -> io::Result<()> {
    let client = seat.watch(client)?;
    shared.accepted.fetch_add(1, Ordering::Relaxed);
    if let Some(permit) = ClientPermit::new(shared, permit, addr.ip()) {
        seat.serve(shared, client, addr, permit);
    } else {
        shared.closes.add(CloseReason::SourceLimit);
        shared.ledger.unserved(addr, Instant::now(), CloseReason::SourceLimit);
        socket_options::reset_on_close(&SockRef::from(&client));
    }
    Ok(())
}

/// A place for the client that waits; `None` when everything ends. Cancel-safe.
async fn place(shared: &Shared) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(&shared.permits).try_acquire_owned() {
        return Some(permit);
    }
    let _waits = shared.crowd.enter();
    Arc::clone(&shared.permits).acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_a_limit() {
        let (mut scarcity, now) = (Scarcity::default(), Instant::now());
        assert!(!scarcity.lasts());
        let millis: Vec<_> = (0..4).map(|_| scarcity.failed(now).as_millis()).collect();
        assert_eq!(millis, [50, 100, 200, 200]);
        scarcity.accepted();
        assert_eq!(scarcity.failed(now), PAUSE_MIN);
        assert!(scarcity.lasts(), "one success does not end it");
    }

    #[test]
    fn scarcity_ends() {
        let mut scarcity = Scarcity::default();
        let Some(long_ago) = Instant::now().checked_sub(SCARCE) else { return };
        scarcity.failed(long_ago);
        assert!(!scarcity.lasts());
    }
}

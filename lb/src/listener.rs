//! The loop that accepts clients: with a permit each, never without pause when that fails, and for
//! the worker that shall serve them.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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

/// How long a client that waits for a place is taken to wait still: another worker may have it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Want of descriptors or memory, as the failed accepts of all workers tell it.
#[derive(Debug, Default)]
pub(crate) struct Scarcity(Mutex<Option<Instant>>);

impl Scarcity {
    /// An accept failed.
    fn begins(&self, now: Instant) {
        *self.0.lock() = Some(now + SCARCE);
    }

    /// Whether one failed lately.
    fn lasts(&self) -> bool {
        self.0.lock().is_some_and(|until| Instant::now() < until)
    }
}

/// The pauses of one accept loop.
#[derive(Debug, Default)]
struct Pause(Option<Duration>);

impl Pause {
    /// The pause after one more failure: it doubles up to 0.2 s.
    fn longer(&mut self) -> Duration {
        let pause = self.0.map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX));
        self.0 = Some(pause);
        pause
    }

    /// The next one is short again.
    fn over(&mut self) {
        self.0 = None;
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

    /// Whether a client waits: after the last one was accepted, or another worker took it, tokio still
    /// believes so.
    fn has_client(&self) -> bool {
        let look = || {
            let mut asked = [PollFd::new(&self.0, PollFlags::IN)];
            let found = poll(&mut asked, Some(&Timespec::default()))?;
            if found == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        let looked = self.0.try_io(Interest::READABLE, look);
        // Who cannot look supposes one: only "none" lets the loop wait without a pause.
        looked.err().is_none_or(|error| error.kind() != io::ErrorKind::WouldBlock)
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
    let mut pause = Pause::default();
    loop {
        // Fails only when everything ends.
        if listener.0.readable().await.is_err() {
            return;
        }
        let Some(permit) = place(&shared, &listener).await else {
            continue;
        };
        let scarce = shared.scarcity.lasts();
        let accepted = listener.accept(scarce).and_then(|(client, addr)| {
            // Here it takes the descriptor for its backend before the next one is accepted.
            let to = if scarce { &seat } else { seat.or_fewer(&seats) };
            admit(&shared, to, client, addr, permit)
        });
        match accepted {
            Ok(()) => {
                pause.over();
                if scarce {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if concerns_one_connection(&error) => {}
            // The kernel looks for a descriptor first, and for a client then.
            Err(_) if !listener.has_client() => {}
            Err(error) => {
                shared.accept_errors.fetch_add(1, Ordering::Relaxed);
                if !scarce {
                    warn!(%error, "cannot accept; pausing, clients wait in the kernel's queue");
                }
                shared.scarcity.begins(Instant::now());
                let _waits = shared.crowd.enter();
                tokio::time::sleep(pause.longer()).await;
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

/// A place for the client that waits; `None` if none waits any more, or if it is time to look again.
/// Cancel-safe.
async fn place(shared: &Shared, listener: &Waiting) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(&shared.permits).try_acquire_owned() {
        return Some(permit);
    }
    if !listener.has_client() {
        return None;
    }
    let _waits = shared.crowd.enter();
    let permit = Arc::clone(&shared.permits).acquire_owned();
    // Nobody closes the semaphore.
    tokio::time::timeout(LOOK_AGAIN, permit).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_a_limit() {
        let mut pause = Pause::default();
        let millis: Vec<_> = (0..4).map(|_| pause.longer().as_millis()).collect();
        assert_eq!(millis, [50, 100, 200, 200]);
        pause.over();
        assert_eq!(pause.longer(), PAUSE_MIN);
    }

    #[test]
    fn scarcity_ends_by_itself() {
        let scarcity = Scarcity::default();
        assert!(!scarcity.lasts());
        scarcity.begins(Instant::now());
        assert!(scarcity.lasts());
        let Some(long_ago) = Instant::now().checked_sub(SCARCE) else { return };
        scarcity.begins(long_ago);
        assert!(!scarcity.lasts());
    }
}

//! The ports on which clients are accepted, and the loop that accepts them.
//!
//! Each worker has a listening socket of its own for each address (`SO_REUSEPORT`), so that
//! accepting needs no hand-over between threads. While the port is closed the sockets stay bound
//! and do not listen: clients are refused at once and nobody else can take the port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::config::ListenAddr;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use tracing::warn;

use crate::balancer::Shared;
use crate::close_reason::CloseReason;
use crate::handover::{PortRecord, PortSockets};
use crate::socket_options;
use crate::storm::SourceGuard;
use crate::worker::Seat;

/// Connections that may wait in the kernel for an accept; the kernel lowers it to `somaxconn`.
const BACKLOG: i32 = 4096;

/// First pause after a failed accept.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Longest pause after a failed accept.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// How long after a failed accept each client is accepted only with a descriptor for its backend.
const SCARCE: Duration = Duration::from_secs(5);

/// An address could not be bound. Retrying helps only after the operator acted.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}")]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

/// The bound addresses, each with one socket for each worker.
#[derive(Debug)]
pub struct Ports {
    workers: usize,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    addr: SocketAddr,
    /// Bound and not listening, one for each worker; empty while the port is open.
    waiting: Vec<Socket>,
}

impl Ports {
    /// Binds every address; none listens yet. Port 0 becomes a free port.
    ///
    /// # Errors
    /// The first address that cannot be bound.
    pub fn bind(listen: &[ListenAddr], workers: usize) -> Result<Self, BindError> {
        let group = |addr: &ListenAddr| bind_exclusively(addr.0, workers);
        Ok(Self { workers, groups: listen.iter().map(group).collect::<Result<_, _>>()? })
    }

    /// No address yet: those of another process will come.
    #[must_use]
    pub fn none(workers: usize) -> Self {
        Self { workers, groups: Vec::new() }
    }

    /// Takes the sockets of another process, in the order of the records. They may listen already.
    ///
    /// # Errors
    /// They are not as many as the records say.
    pub fn adopt(&mut self, records: &[PortRecord], sockets: Vec<OwnedFd>) -> io::Result<()> {
        let mut sockets = sockets.into_iter().map(Socket::from);
        for record in records {
            let waiting: Vec<_> = sockets.by_ref().take(record.sockets).collect();
            if waiting.len() != record.sockets || waiting.len() != self.workers {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.groups.push(Group { addr: record.addr, waiting });
        }
        if sockets.next().is_some() { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    /// Handles of the sockets that do not listen.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn waiting(&self) -> io::Result<Vec<PortSockets>> {
        let handles = |group: &Group| -> io::Result<PortSockets> {
            let sockets = group.waiting.iter().map(|socket| socket.try_clone().map(Into::into));
            Ok(PortSockets { addr: group.addr, sockets: sockets.collect::<Result<_, _>>()? })
        };
        self.groups.iter().map(handles).collect()
    }

    /// For how many workers there are sockets.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The addresses that are bound.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.groups.iter().map(|group| group.addr)
    }

    /// Starts to listen; the sockets of each worker in turn. Nothing if the port is open.
    ///
    /// # Errors
    /// The kernel refused to listen, or to bind anew after the last close.
    pub fn open(&mut self) -> Result<Vec<Vec<TcpListener>>, BindError> {
        let mut listeners: Vec<Vec<_>> = (0..self.workers).map(|_| Vec::new()).collect();
        for group in &mut self.groups {
            for (socket, worker) in group.waiting.drain(..).zip(&mut listeners) {
                let addr = group.addr;
                // So that its connections do not keep the next process from the port.
                socket.set_reuse_address(true).map_err(|source| BindError { addr, source })?;
                socket.listen(BACKLOG).map_err(|source| BindError { addr, source })?;
                // Accepted sockets inherit it; what was set before the listening began is forgotten.
                socket_options::ride_acknowledgements(&SockRef::from(&socket));
                worker.push(socket.into());
            }
        }
        Ok(listeners)
    }

    /// Binds the sockets for the next opening, before the caller closes those that listen now: so
    /// the port is ours without a gap.
    ///
    /// # Errors
    /// The kernel refused to bind.
    pub fn prepare_reopening(&mut self) -> Result<(), BindError> {
        for group in &mut self.groups {
            if group.waiting.is_empty() {
                group.waiting = bind_group(group.addr, self.workers)?;
            }
        }
        Ok(())
    }
}

/// Binds an address for all workers, refusing one on which somebody listens: `SO_REUSEPORT` alone
/// would let two balancers of one user share a port without a word.
fn bind_exclusively(addr: SocketAddr, workers: usize) -> Result<Group, BindError> {
    let failed = |source| BindError { addr, source };
    let addr = match bind_socket(addr, false).and_then(|socket| socket.local_addr()) {
        Ok(bound) => bound.as_socket().unwrap_or(addr),
        Err(error) if no_ipv6(&error) && addr.ip().is_unspecified() => {
            warn!(%addr, "this host has no IPv6; listening on IPv4 only");
            let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port());
            return bind_exclusively(v4, workers);
        }
        Err(error) => return Err(failed(error)),
    };
    Ok(Group { addr, waiting: bind_group(addr, workers)? })
}

fn bind_group(addr: SocketAddr, workers: usize) -> Result<Vec<Socket>, BindError> {
    let sockets = (0..workers).map(|_| bind_socket(addr, true));
    sockets.collect::<Result<_, _>>().map_err(|source| BindError { addr, source })
}

/// A socket of the group of an address, or one to try the address with.
fn bind_socket(addr: SocketAddr, shared: bool) -> io::Result<Socket> {
    // With SO_REUSEADDR every server that sets it could take the port while we do not listen. Without
    // it the kernel refuses us while connections of a process of another user are not quite gone.
    match bind_as(addr, shared, !shared) {
        Err(error) if shared && error.kind() == io::ErrorKind::AddrInUse => {
            bind_as(addr, shared, true)
        }
        bound => bound,
    }
}

fn bind_as(addr: SocketAddr, shared: bool, reuse: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(reuse)?;
    socket.set_reuse_port(shared)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket_options::apply(&SockRef::from(&socket))?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Whether the host has IPv6 switched off.
fn no_ipv6(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
        || number == Some(rustix::io::Errno::ADDRNOTAVAIL.raw_os_error())
}

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
    fn accept(&self, scarce: bool) -> io::Result<(TcpStream, SocketAddr)> {
        let _for_its_backend = scarce.then(|| self.0.as_fd().try_clone_to_owned()).transpose()?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accept = || Ok(acceptfrom_with(&self.0, flags)?);
        let (client, addr) = self.0.try_io(Interest::READABLE, accept)?;
        // The kernel names every client of a TCP port.
        let addr = addr.and_then(|addr| SocketAddr::try_from(addr).ok());
        let addr = addr.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((TcpStream::from_std(client.into())?, addr))
    }
}

/// Accepts until it is dropped. A permit is taken first, so that overload waits in the kernel's
/// queue and not in our memory; and only while a client waits, so that no worker keeps a permit
/// from the others. No error ends the loop, and none makes it spin. Cancel-safe.
pub(crate) async fn accept_loop(shared: Arc<Shared>, seat: Seat, listener: Arc<Waiting>) {
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
        match listener.accept(scarce) {
            Ok((client, addr)) => {
                scarcity.accepted();
                admit(&shared, &seat, client, addr, permit);
                if scarce {
                    // It takes the descriptor for its backend before the next one is accepted.
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                drop(permit);
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
    client: TcpStream,
    addr: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    shared.accepted.fetch_add(1, Ordering::Relaxed);
    if let Some(permit) = ClientPermit::new(shared, permit, addr.ip()) {
        seat.serve(shared, client, addr, permit);
    } else {
        shared.closes.add(CloseReason::SourceLimit);
        shared.ledger.unserved(addr, Instant::now(), CloseReason::SourceLimit);
        socket_options::reset_on_close(&SockRef::from(&client));
    }
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

    fn any_port() -> ListenAddr {
        ListenAddr::parse("127.0.0.1:0").unwrap()
    }

    #[test]
    fn a_port_that_is_taken_is_refused() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = ListenAddr(taken.local_addr().unwrap());
        let error = Ports::bind(&[addr], 2).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_bound_port_refuses_until_it_is_opened() {
        let mut ports = Ports::bind(&[any_port()], 2).unwrap();
        let addr = ports.addrs().next().unwrap();
        let refused = || std::net::TcpStream::connect(addr).unwrap_err().kind();
        assert_eq!(refused(), io::ErrorKind::ConnectionRefused);
        let listeners = ports.open().unwrap();
        assert_eq!(listeners.len(), 2);
        assert!(std::net::TcpStream::connect(addr).is_ok());
        ports.prepare_reopening().unwrap();
        drop(listeners);
        assert_eq!(refused(), io::ErrorKind::ConnectionRefused);
        assert_eq!(ports.open().unwrap().len(), 2);
    }

    #[test]
    fn nobody_takes_a_port_that_is_closed() {
        let mut ports = Ports::bind(&[any_port()], 2).unwrap();
        let addr = ports.addrs().next().unwrap();
        // What most servers do: the standard library sets SO_REUSEADDR.
        let taken = || std::net::TcpListener::bind(addr).unwrap_err().kind();
        assert_eq!(taken(), io::ErrorKind::AddrInUse, "before it was open");
        let other = Ports::bind(&[ListenAddr(addr)], 2).unwrap_err();
        assert_eq!(other.source.kind(), io::ErrorKind::AddrInUse, "another balancer");
        let listeners = ports.open().unwrap();
        let client = std::net::TcpStream::connect(addr).unwrap();
        let accepted = listeners.iter().flatten().find_map(|listener| listener.accept().ok());
        ports.prepare_reopening().unwrap();
        drop(listeners);
        assert_eq!(taken(), io::ErrorKind::AddrInUse, "closed again, with a session");
        drop((accepted, client));
        assert_eq!(ports.open().unwrap().len(), 2);
    }

    #[test]
    fn accepted_sockets_let_acknowledgements_ride() {
        let mut ports = Ports::bind(&[any_port()], 1).unwrap();
        let addr = ports.addrs().next().unwrap();
        let listener = ports.open().unwrap().remove(0).remove(0);
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(addr).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(!SockRef::from(&accepted).tcp_quickack().unwrap());
    }

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

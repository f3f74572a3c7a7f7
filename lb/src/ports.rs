//! The ports on which clients are accepted.
//!
//! Each address has a listening socket for up to four workers (`SO_REUSEPORT`), who share it: whoever
//! has time takes the next client. While the port is closed the sockets stay bound and do not listen:
//! clients are refused at once and nobody else can take the port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use common::config::ListenAddr;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tracing::warn;

use crate::handover::{PortRecord, PortSockets};
use crate::socket_options;

/// Connections that may wait in the kernel for an accept; the kernel lowers it to `somaxconn`.
const BACKLOG: i32 = 4096;

/// Workers that accept from one socket: more of them, and a client rarely waits behind a busy one;
/// fewer, and it wakes fewer for nothing.
const WORKERS_OF_A_SOCKET: usize = 4;

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

/// The bound addresses, each with one handle of a socket for each worker.
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
    handles(addr, workers).map_err(|source| BindError { addr, source })
}

/// A handle for each worker; the sockets go round the workers.
fn handles(addr: SocketAddr, workers: usize) -> io::Result<Vec<Socket>> {
    let count = workers.div_ceil(WORKERS_OF_A_SOCKET);
    let bound = (0..count).map(|_| bind_socket(addr, true));
    let mut sockets = bound.collect::<Result<Vec<_>, _>>()?;
    let further: Vec<_> = (sockets.iter().cycle().take(workers - count))
        .map(Socket::try_clone)
        .collect::<Result<_, _>>()?;
    sockets.extend(further);
    Ok(sockets)
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
    fn at_most_four_workers_share_a_socket() {
        for (workers, sockets) in [(1, 1), (2, 1), (4, 1), (5, 2), (8, 2), (9, 3), (64, 16)] {
            let ports = Ports::bind(&[any_port()], workers).unwrap();
            let mut sharing = std::collections::HashMap::new();
            for handle in &ports.groups[0].waiting {
                *sharing
                    .entry(rustix::net::sockopt::socket_cookie(handle).unwrap())
                    .or_insert(0) += 1;
            }
            assert_eq!(sharing.values().sum::<usize>(), workers);
            assert_eq!(sharing.len(), sockets, "{workers} workers");
            assert!(sharing.values().all(|handles| *handles <= WORKERS_OF_A_SOCKET));
        }
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
}

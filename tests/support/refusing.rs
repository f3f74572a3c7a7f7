//! Backends that do not serve: one that refuses, one that never answers.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use super::backend::{Backend, Behaviour};

/// More connections than the shortest queue of a listening socket takes.
const FILLERS: usize = 4;

/// A port that is taken and on which nobody listens: connections are refused.
pub(crate) struct Refusing {
    socket: Socket,
    pub(crate) addr: SocketAddr,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        Self::on(bound((Ipv4Addr::LOCALHOST, 0).into()))
    }

    /// On a bound socket that does not listen.
    pub(crate) fn on(socket: Socket) -> Self {
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        Self { socket, addr }
    }

    /// Comes back to life on the same port.
    pub(crate) fn revive(self, behaviour: Behaviour) -> Backend {
        Backend::on(self.socket, behaviour)
    }
}

/// A port where a handshake is never answered: its queue is full and nobody accepts.
pub(crate) struct BlackHole {
    _socket: Socket,
    _fillers: Vec<Socket>,
    pub(crate) addr: SocketAddr,
}

impl BlackHole {
    pub(crate) fn new() -> Self {
        Self::on(bound((Ipv4Addr::LOCALHOST, 0).into()))
    }

    /// On a socket from which nobody accepts; if it listens already, its queue is shortened.
    pub(crate) fn on(socket: Socket) -> Self {
        socket.listen(0).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        let filler = |_| {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            // In progress is all that can be had.
            filler.connect(&addr.into()).ok();
            filler
        };
        let fillers = (0..FILLERS).map(filler).collect();
        Self { _socket: socket, _fillers: fillers, addr }
    }
}

/// A socket that is bound and does not listen.
pub(crate) fn bound(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&addr.into()).unwrap();
    socket
}

//! Finds a backend that accepts the connection: the one with the fewest connections first, then
//! every other one, within one budget of time.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tracing::debug;

use crate::backend::ConnectionGuard;
use crate::clock::Clock;
use crate::close_reason::CloseReason;
use crate::pool::{BackendSet, Tried};
use crate::socket_options;

/// Why a backend could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialFailure {
    /// It answered that nobody listens, or reset the connection.
    Refused,
    /// It did not answer in time.
    TimedOut,
    /// The network knows no way to it.
    Unreachable,
    /// We ran out of descriptors, memory or source ports.
    Local,
}

impl DialFailure {
    /// All failures, in the order of their numbers.
    pub const ALL: &[Self] = &[Self::Refused, Self::TimedOut, Self::Unreachable, Self::Local];

    /// As the metric names it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Local => "local",
        }
    }

    fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused | Kind::ConnectionReset | Kind::ConnectionAborted => {
                Self::Refused
            }
            Kind::TimedOut => Self::TimedOut,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => {
                Self::Unreachable
            }
            _ => Self::Local,
        }
    }
}

/// How long the search may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialLimits {
    /// For one backend.
    pub connect: Duration,
    /// In all.
    pub total: Duration,
}

/// Connects to a backend of `set`.
///
/// # Errors
/// Every backend failed ([`CloseReason::NoBackend`]), time is up ([`CloseReason::DialTimeout`]), or
/// we are at a limit of our own ([`CloseReason::LocalLimit`]). The client is then to be reset.
pub async fn dial(
    set: &BackendSet,
    clock: &Clock,
    limits: DialLimits,
) -> Result<(TcpStream, ConnectionGuard), CloseReason> {
    let deadline = Instant::now() + limits.total;
    let mut tried = Tried::default();
    let mut last = DialFailure::Refused;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CloseReason::DialTimeout);
        }
        let begun = clock.now();
        let Some(guard) = set.pick(&mut tried, begun, limits.connect) else {
            let at_limit = last == DialFailure::Local;
            return Err(if at_limit { CloseReason::LocalLimit } else { CloseReason::NoBackend });
        };
        let backend = guard.backend();
        match connect(backend.member.addr, limits.connect.min(left)).await {
            Ok(stream) => {
                backend.connected();
                return Ok((stream, guard));
            }
            Err(failure) => {
                backend.failed(failure, begun, clock.now());
                debug!(
                    backend.name = backend.member.name,
                    failure = failure.label(),
                    "dial failed"
                );
                last = failure;
            }
        }
    }
}

/// Connects to one address with the options of a backend socket.
async fn connect(addr: SocketAddr, limit: Duration) -> Result<TcpStream, DialFailure> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|_| DialFailure::Local)?;
    socket_options::apply_to_backend(&SockRef::from(&socket)).map_err(|_| DialFailure::Local)?;
    match timeout(limit, socket.connect(addr)).await {
        Ok(connected) => connected.map_err(|error| DialFailure::of(&error)),
        Err(_) => Err(DialFailure::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let table = [
            (io::ErrorKind::ConnectionRefused, DialFailure::Refused),
            (io::ErrorKind::TimedOut, DialFailure::TimedOut),
            (io::ErrorKind::HostUnreachable, DialFailure::Unreachable),
            (io::ErrorKind::AddrNotAvailable, DialFailure::Local),
        ];
        for (kind, failure) in table {
            assert_eq!(DialFailure::of(&kind.into()), failure);
        }
    }
}

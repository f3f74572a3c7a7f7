//! Finds a backend that accepts the connection: the one with the fewest connections first, then
//! every other one, within one budget of time. One that takes long to connect is raced by the next.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until};
use tracing::debug;

use crate::backend::ConnectionGuard;
use crate::clock::{Clock, Millis};
use crate::close_reason::CloseReason;
use crate::pool::{BackendSet, Tried};
use crate::socket_options;
use crate::storm::StormLimits;

/// Time without a connection after which the next backend is dialled too: the common failover is
/// then not noticed, and a slow master is not yet taken for a failed one.
pub const RACE_AFTER: Duration = Duration::from_millis(300);

/// Most backends that are dialled at once for one client.
const RACERS_MAX: usize = 3;

/// Why a backend could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialFailure {
    /// It answered that nobody listens, or reset the connection.
    Refused,
    /// It did not answer in time.
    TimedOut,
    /// The network knows no way to it.
    Unreachable,
    /// It had not connected when another one that was started later had.
    Outraced,
    /// It connected and did not answer the client's first bytes in time.
    Silent,
    /// It connected and closed before it answered anything.
    ClosedEarly,
    /// We ran out of descriptors, memory or source ports.
    Local,
}

impl DialFailure {
    /// All failures, in the order of their numbers.
    pub const ALL: &[Self] = &[
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
        Self::Outraced,
        Self::Silent,
        Self::ClosedEarly,
        Self::Local,
    ];

    /// As the metric names it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Outraced => "outraced",
            Self::Silent => "silent",
            Self::ClosedEarly => "closed_early",
            Self::Local => "local",
        }
    }

    pub(crate) fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused | Kind::ConnectionReset | Kind::ConnectionAborted => {
                Self::Refused
            }
            Kind::TimedOut => Self::TimedOut,
            // A firewall or a route that forbids: over IPv6, and over IPv4 on this host, as EACCES.
            Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::PermissionDenied => Self::Unreachable,
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
    /// New connections of each backend.
    pub storm: StormLimits,
}

/// One backend that is being dialled.
struct Attempt {
    guard: ConnectionGuard,
    begun: Millis,
    until: Instant,
    connecting: Pin<Box<dyn Future<Output = Result<TcpStream, DialFailure>> + Send>>,
}

/// The search of one client connection for a backend. It may go on after a success: the next
/// backend is then another one, within the same budget of time.
pub struct Dialer<'a> {
    set: &'a BackendSet,
    clock: &'a Clock,
    limits: DialLimits,
    deadline: Instant,
    tried: Tried,
    last: DialFailure,
    attempts: Vec<Attempt>,
    /// When the next backend starts too.
    race_at: Instant,
    /// Whether a backend had no place for one more.
    shed: bool,
    races_won: u32,
}

impl<'a> Dialer<'a> {
    /// A search that begins now.
    #[must_use]
    pub fn new(set: &'a BackendSet, clock: &'a Clock, limits: DialLimits) -> Self {
        let deadline = Instant::now() + limits.total;
        let (tried, last) = (Tried::default(), DialFailure::Refused);
        Self {
            set,
            clock,
            limits,
            deadline,
            tried,
            last,
            attempts: Vec::new(),
            race_at: deadline,
            shed: false,
            races_won: 0,
        }
    }

    /// How often a later attempt was faster than an earlier one.
    #[must_use]
    pub fn races_won(&self) -> u32 {
        self.races_won
    }

    /// Connects to a backend that was not tried yet. After [`RACE_AFTER`] without a connection the
    /// next one starts too; the first that connects wins. Cancel-safe: a later call goes on.
    ///
    /// # Errors
    /// Every backend failed ([`CloseReason::NoBackend`]), time is up ([`CloseReason::DialTimeout`]),
    /// or we are at a limit of our own ([`CloseReason::LocalLimit`]).
    pub async fn next(&mut self) -> Result<(TcpStream, ConnectionGuard), CloseReason> {
        loop {
            if self.attempts.is_empty() && !self.start_another() {
                return Err(self.gave_up());
            }
            // One timer for all that time can bring about: this path is the cost of a connection.
            let race = if self.may_race() { self.race_at } else { self.deadline };
            let alarm = self.attempts.iter().map(|attempt| attempt.until).fold(race, Instant::min);
            tokio::select! {
                biased;
                (index, connected) = first_of(&mut self.attempts) => {
                    if let Some(found) = self.settle(index, connected) {
                        return Ok(found);
                    }
                }
                () = sleep_until(alarm.min(self.deadline).into()) => self.ring()?,
            }
        }
    }

    /// Does what is due by now.
    fn ring(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(CloseReason::DialTimeout);
        }
        while let Some(late) = self.attempts.iter().position(|attempt| attempt.until <= now) {
            self.settle(late, Err(DialFailure::TimedOut));
        }
        if now >= self.race_at && self.may_race() {
            self.start_another();
        }
        Ok(())
    }

    /// Starts to dial the next backend that has a place for one more; whether there was one.
    fn start_another(&mut self) -> bool {
        loop {
            let begun = self.clock.now();
            let Some(guard) = self.set.pick(&mut self.tried, begun, self.limits.connect) else {
                return false;
            };
            let Ok(wait) = guard.backend().place(self.limits.storm, self.clock.elapsed()) else {
                self.shed = true;
                continue;
            };
            // A wait for its place is no slowness of the backend, so it starts no race.
            let starts = Instant::now() + wait;
            let until = starts + self.limits.connect;
            self.race_at = starts + RACE_AFTER;
            let addr = guard.backend().member.addr;
            let connecting = Box::pin(async move {
                if !wait.is_zero() {
                    sleep(wait).await;
                }
                connect(addr).await
            });
            let begun = begun.after(wait);
            self.attempts.push(Attempt { guard, begun, until, connecting });
            return true;
        }
    }

    fn may_race(&self) -> bool {
        self.attempts.len() < RACERS_MAX && self.set.has_untried(self.tried)
    }

    /// Takes note of how an attempt ended; the connection if it is one.
    fn settle(
        &mut self,
        index: usize,
        connected: Result<TcpStream, DialFailure>,
    ) -> Option<(TcpStream, ConnectionGuard)> {
        let attempt = self.attempts.remove(index);
        let backend = attempt.guard.backend();
        match connected {
            Ok(stream) => {
                backend.connected();
                let begun = attempt.until.checked_sub(self.limits.connect);
                if let Some(begun) = begun {
                    backend.measures().dial.observe(begun.elapsed());
                }
                self.races_won += u32::from(index > 0);
                self.leave_behind();
                Some((stream, attempt.guard))
            }
            Err(failure) => {
                backend.failed(failure, attempt.begun, self.clock.now());
                debug!(backend = backend.member.name, failure = failure.label(), "dial failed");
                self.last = failure;
                None
            }
        }
    }

    /// Ends the attempts that lost the race; those that had time enough are held against their
    /// backends.
    fn leave_behind(&mut self) {
        let now = self.clock.now();
        for attempt in self.attempts.drain(..) {
            if now.since(attempt.begun) >= RACE_AFTER {
                attempt.guard.backend().failed(DialFailure::Outraced, attempt.begun, now);
            }
        }
    }

    fn gave_up(&self) -> CloseReason {
        match self.last {
            _ if self.shed => CloseReason::Shed,
            DialFailure::Local => CloseReason::LocalLimit,
            _ => CloseReason::NoBackend,
        }
    }
}

/// The first attempt that ends, with its place.
async fn first_of(attempts: &mut [Attempt]) -> (usize, Result<TcpStream, DialFailure>) {
    poll_fn(|cx| {
        for (index, attempt) in attempts.iter_mut().enumerate() {
            if let Poll::Ready(ended) = attempt.connecting.as_mut().poll(cx) {
                return Poll::Ready((index, ended));
            }
        }
        Poll::Pending
    })
    .await
}

/// Connects to one address. Only the options that the first bytes need are set: the others follow
/// when the session has lasted a while.
async fn connect(addr: SocketAddr) -> Result<TcpStream, DialFailure> {
    let stream = begin(addr).map_err(|error| DialFailure::of(&error))?;
    poll_fn(|cx| stream.poll_write_ready(cx)).await.map_err(|error| DialFailure::of(&error))?;
    // A connection that failed is reported as an error together with its readiness, so that the
    // usual one need not be asked for.
    if stream.try_io(Interest::ERROR, || Ok(())).is_ok()
        && let Some(error) = stream.take_error().ok().flatten()
    {
        return Err(DialFailure::of(&error));
    }
    Ok(stream)
}

/// A socket that is connecting.
fn begin(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), None)?;
    socket.set_tcp_nodelay(true)?;
    socket_options::ride_acknowledgements(&SockRef::from(&socket));
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        Ok(()) | Err(_) => TcpStream::from_std(socket.into()),
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

//! Moves the bytes of a session between its two sockets.
//!
//! Adaptive: small traffic is read into a scratch buffer of the thread and written at once, so an
//! idle session holds no buffer; when a direction keeps filling that buffer it moves its bytes
//! through a pipe with `splice(2)` and never sees them ([`policy`]). Each direction is a machine of
//! its own ([`direction`]); this future drives the two, keeps half-closes, and says why it ended.
//!
//! What is promised: no byte is lost, repeated or reordered, in either mover and in any switch.

mod direction;
mod parcel;
mod pipes;
mod policy;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::net::TcpStream;

pub use self::pipes::Pipes;
use crate::clock::Clock;
use crate::close_reason::CloseReason;
use crate::session::{Chore, SessionEntry};
use crate::socket_options::{self, reset_on_close};
use direction::{Direction, Fault, Side};

/// What all relays of a process share.
#[derive(Debug)]
pub struct RelayTools {
    /// Moved on by the sweepers.
    pub clock: Clock,
    /// For bulk data.
    pub pipes: Pipes,
}

/// The two sockets of a session while bytes move. Resolves when the session is over; its sockets
/// are closed when it is dropped, by a reset unless both streams ended in order.
#[derive(Debug)]
pub struct Relay {
    client: TcpStream,
    backend: TcpStream,
    up: Direction,
    down: Direction,
    /// Whether the sockets wait longer, because a reader has paused.
    patient: bool,
    session: SessionEntry,
    tools: Arc<RelayTools>,
}

impl Relay {
    /// A relay that has moved nothing yet.
    #[must_use]
    pub fn new(
        client: TcpStream,
        backend: TcpStream,
        session: SessionEntry,
        tools: Arc<RelayTools>,
    ) -> Self {
        let (up, down) = (Direction::default(), Direction::default());
        Self { client, backend, up, down, patient: false, session, tools }
    }

    /// Moves what can be moved now. `Ready` with the reason when the session is over.
    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        if let Some(reason) = self.session.poll_cut(cx.waker()) {
            return Poll::Ready(reason);
        }
        if let Some(reason) = self.client_gone() {
            return Poll::Ready(reason);
        }
        match self.session.chore() {
            Some(Chore::Options) => {
                // A socket that refuses an option is about to fail by itself.
                socket_options::apply(&SockRef::from(&self.backend)).ok();
                self.patient = false;
            }
            Some(Chore::LookForPause) => self.be_patient(self.holds() || self.has_unsent()),
            None => {}
        }
        let backend_first = self.down.ended();
        let pipes = &self.tools.pipes;
        let sent = self.up.poll(cx, &mut self.client, &mut self.backend, pipes, self.down.ended());
        // Also after a fault: what the backend said before it closed still reaches the client.
        let received =
            self.down.poll(cx, &mut self.backend, &mut self.client, pipes, self.up.ended());
        let moved = (self.down.take_moved(), self.up.take_moved());
        let gave = self.down.take_gave() | self.up.take_gave();
        if gave || moved != (0, 0) {
            self.session.moved(&self.tools.clock, moved.0, moved.1);
        }
        if self.up.holds() {
            self.session.stall();
        }
        if self.holds() {
            self.be_patient(true);
        }
        match (sent, received) {
            (Poll::Ready(Err(fault)), _) => Poll::Ready(reason_up(&fault)),
            (_, Poll::Ready(Err(fault))) => Poll::Ready(reason_down(&fault)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(if backend_first {
                CloseReason::BackendEnded
            } else {
                CloseReason::ClientEnded
            }),
            (Poll::Ready(Ok(())), Poll::Pending) | (Poll::Pending, Poll::Ready(Ok(()))) => {
                self.session.half_closed();
                Poll::Pending
            }
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        }
    }

    fn holds(&self) -> bool {
        self.up.holds() || self.down.holds()
    }

    /// Whether the kernel holds bytes for a reader that has paused, though we hold none.
    fn has_unsent(&self) -> bool {
        [&self.client, &self.backend]
            .into_iter()
            .any(|socket| socket_options::has_unsent(&SockRef::from(socket)))
    }

    fn be_patient(&mut self, patient: bool) {
        if self.patient != patient {
            self.patient = patient;
            socket_options::be_patient(&SockRef::from(&self.client), patient);
            socket_options::be_patient(&SockRef::from(&self.backend), patient);
        }
    }

    /// Why the client is gone, looked for once a sweep while a backend that does not read keeps us
    /// from reading the client, and so from noticing its reset.
    fn client_gone(&self) -> Option<CloseReason> {
        if !self.up.holds() || self.session.stalled() {
            return None;
        }
        let error = self.client.take_error().ok().flatten()?;
        Some(reason_up(&Fault::source(error)))
    }
}

impl Future for Relay {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let polled = self.poll_move(cx);
        if let Poll::Ready(reason) = polled {
            self.session.ended(reason);
            if reason.is_backends() {
                self.session.backend().suspect();
            }
        }
        if let Poll::Ready(reason) = polled
            && reason.is_reset()
        {
            reset_on_close(&SockRef::from(&self.client));
            reset_on_close(&SockRef::from(&self.backend));
        }
        polled
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.up.abandon(&self.tools.pipes);
        self.down.abandon(&self.tools.pipes);
    }
}

/// A fault of the direction that reads the client and writes the backend.
fn reason_up(fault: &Fault) -> CloseReason {
    match (fault.side, lost(&fault.error)) {
        (Side::Source, false) => CloseReason::ClientReset,
        (Side::Source, true) => CloseReason::ClientLost,
        (Side::Sink, false) => CloseReason::BackendReset,
        (Side::Sink, true) => CloseReason::BackendLost,
    }
}

/// A fault of the direction that reads the backend and writes the client.
fn reason_down(fault: &Fault) -> CloseReason {
    match (fault.side, lost(&fault.error)) {
        (Side::Source, false) => CloseReason::BackendReset,
        (Side::Source, true) => CloseReason::BackendLost,
        (Side::Sink, false) => CloseReason::ClientReset,
        (Side::Sink, true) => CloseReason::ClientLost,
    }
}

/// Whether the peer went silent instead of resetting the connection.
fn lost(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::TimedOut | Kind::HostUnreachable | Kind::NetworkUnreachable)
}

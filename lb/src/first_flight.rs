//! Hold and replay: the client's first bytes are kept until a backend answers them.
//!
//! A frozen apiserver accepts connections and says nothing; one that restarts closes them. As long
//! as no byte of a backend has reached the client, the same first bytes can go to another backend
//! and the client never knows. Only a TLS handshake is replayed: a ClientHello has no effect but an
//! answer, while a request of another protocol might be carried out twice.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::backend::{Backend, ConnectionGuard};
use crate::clock::{Clock, Millis};
use crate::close_reason::CloseReason;
use crate::crowd::{Crowd, HURRIED};
use crate::dial::{DialFailure, Dialer};

/// Wait for the answer of the first backend: far above a handshake, and with the next wait below
/// the 10 s after which client-go gives up.
const FIRST_WAIT: Duration = Duration::from_millis(1_500);

/// Wait for the answer of each further backend.
const NEXT_WAIT: Duration = Duration::from_secs(3);

/// Most bytes that are kept: a ClientHello with every extension is below 4 KiB, one with
/// post-quantum keys below 8 KiB.
pub const FLIGHT_BYTES_MAX: usize = 16 * 1024;

/// First byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// First byte of the handshake message that a client begins with.
const CLIENT_HELLO: u8 = 1;

/// One backend that has got the client's first bytes.
struct Leg {
    stream: TcpStream,
    guard: ConnectionGuard,
    begun: Millis,
}

/// A backend that did not answer.
struct Unanswered {
    backend: Arc<Backend>,
    failure: DialFailure,
    begun: Millis,
}

/// A client connection whose backend has not answered yet.
pub(crate) struct Hold<'a> {
    client: &'a mut TcpStream,
    dialer: Dialer<'a>,
    clock: &'a Clock,
    legs: Vec<Leg>,
    flight: Vec<u8>,
    /// When a client that has said nothing is given up.
    speak_until: Instant,
    /// When it is next looked whether others wait for its place.
    look_at: Instant,
    crowd: &'a Crowd,
    /// When the next backend gets the flight; `None` while there is nothing to answer or nobody
    /// else to ask.
    answer_until: Option<Instant>,
    /// Whether every backend was asked.
    exhausted: bool,
    /// Backends that did not answer these bytes. It is held against them once another one has
    /// answered the same: what nobody answers may be the client's fault.
    unanswered: Vec<Unanswered>,
    replays: u32,
}

/// What ended a wait.
enum Event {
    /// The client said something; 0 bytes are its end.
    Client(io::Result<usize>),
    /// A backend said something, or ended.
    Backend(usize, io::Result<usize>),
    ClientSilent,
    BackendSilent,
}

/// How a step went on.
enum Step {
    Wait,
    /// This backend serves the client.
    Settled(usize),
}

/// The backend that serves the client, and what it took to find it.
pub(crate) struct Found {
    pub(crate) stream: TcpStream,
    pub(crate) guard: ConnectionGuard,
    /// Bytes that the client has sent to it already.
    pub(crate) flight: Vec<u8>,
    pub(crate) replays: u32,
    pub(crate) races_won: u32,
}

impl<'a> Hold<'a> {
    pub(crate) fn new(
        client: &'a mut TcpStream,
        dialer: Dialer<'a>,
        clock: &'a Clock,
        first_byte: Duration,
        crowd: &'a Crowd,
    ) -> Self {
        let now = Instant::now();
        let (legs, flight) = (Vec::new(), Vec::new());
        Self {
            client,
            dialer,
            clock,
            legs,
            flight,
            speak_until: now + first_byte,
            look_at: now + first_byte.min(HURRIED),
            crowd,
            answer_until: None,
            exhausted: false,
            unanswered: Vec::new(),
            replays: 0,
        }
    }

    /// Finds the backend that answers the client.
    ///
    /// # Errors
    /// The reason to reset the client.
    pub(crate) async fn find(mut self) -> Result<Found, CloseReason> {
        self.add_leg().await?;
        loop {
            let step = match self.event().await {
                Event::Client(said) => self.client_said(said).await?,
                Event::Backend(leg, said) => self.backend_said(leg, said).await?,
                Event::ClientSilent => self.client_silent()?,
                Event::BackendSilent => self.ask_another().await,
            };
            if let Step::Settled(leg) = step {
                return Ok(self.found(leg));
            }
        }
    }

    fn found(mut self, leg: usize) -> Found {
        let leg = self.legs.swap_remove(leg);
        Found {
            stream: leg.stream,
            guard: leg.guard,
            flight: self.flight,
            replays: self.replays,
            races_won: self.dialer.races_won(),
        }
    }

    /// The next thing that happens. Cancel-safe.
    async fn event(&mut self) -> Event {
        let (look_at, answer_until) = (self.look_at, self.answer_until);
        let silent = !self.asked();
        tokio::select! {
            biased;
            (leg, said) = first_word(&self.legs) => Event::Backend(leg, said),
            said = read_more(self.client, &mut self.flight) => Event::Client(said),
            () = sleep_until(answer_until.unwrap_or(look_at)), if answer_until.is_some() => {
                Event::BackendSilent
            }
            () = sleep_until(look_at), if silent => Event::ClientSilent,
        }
    }

    /// It goes when its time is over, or when somebody else waits for its place.
    fn client_silent(&mut self) -> Result<Step, CloseReason> {
        if self.crowd.waits() || self.look_at >= self.speak_until {
            return Err(CloseReason::ClientSilent);
        }
        self.look_at = self.speak_until.min(self.look_at + HURRIED);
        Ok(Step::Wait)
    }

    async fn client_said(&mut self, said: io::Result<usize>) -> Result<Step, CloseReason> {
        let count = said.map_err(|_| CloseReason::ClientReset)?;
        if count == 0 {
            // The relay sees the end of the stream again and passes it on.
            return Ok(Step::Settled(0));
        }
        let new = self.flight.len() - count;
        self.give(new).await;
        if self.legs.is_empty() {
            self.replace_leg().await?;
        }
        if !self.may_replay() {
            // Whether it answers is not ours to wait for.
            self.trust(0);
            return Ok(Step::Settled(0));
        }
        if self.asked() {
            self.answer_until.get_or_insert(Instant::now() + FIRST_WAIT);
        }
        Ok(Step::Wait)
    }

    /// Whether the client's hello is here whole: before that no backend has anything to answer, so
    /// a client that sends a part of one must not make backends look silent.
    fn asked(&self) -> bool {
        let [TLS_HANDSHAKE, _, _, high, low, CLIENT_HELLO, a, b, c, hello @ ..] =
            self.flight.as_slice()
        else {
            return false;
        };
        let record = usize::from(u16::from_be_bytes([*high, *low]));
        let message = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        // A record without room for the message's head is no hello yet.
        (4..=hello.len() + 4).contains(&record) && hello.len() >= message
    }

    /// Whether the same bytes may go to another backend.
    fn may_replay(&self) -> bool {
        self.flight.first().is_none_or(|first| *first == TLS_HANDSHAKE)
            && self.flight.len() < FLIGHT_BYTES_MAX
    }

    async fn backend_said(
        &mut self,
        leg: usize,
        said: io::Result<usize>,
    ) -> Result<Step, CloseReason> {
        if matches!(said, Ok(1..)) {
            self.trust(leg);
            self.hold_against_the_others();
            return Ok(Step::Settled(leg));
        }
        if !self.may_replay() {
            return Ok(Step::Settled(leg));
        }
        self.lose(leg, DialFailure::ClosedEarly);
        if self.legs.is_empty() {
            self.replace_leg().await?;
        }
        Ok(Step::Wait)
    }

    /// The backends asked so far are silent: asks one more, while they may still answer.
    async fn ask_another(&mut self) -> Step {
        if let Some(leg) = self.legs.last().filter(|_| !self.exhausted) {
            let (backend, begun) = (Arc::clone(leg.guard.backend()), leg.begun);
            self.note(Unanswered { backend, failure: DialFailure::Silent, begun });
        }
        let dialled = tokio::select! {
            biased;
            // The next event looks at that word again.
            _ = first_word(&self.legs) => return Step::Wait,
            dialled = self.dialer.next() => dialled,
        };
        let Ok((stream, guard)) = dialled else {
            // Nobody is left to ask. They are slow, not dead: after one more wait for whoever speaks
            // first, the one that was asked last keeps the client.
            if self.legs.len() == 1 || std::mem::replace(&mut self.exhausted, true) {
                return Step::Settled(self.legs.len().saturating_sub(1));
            }
            self.answer_until = Some(Instant::now() + NEXT_WAIT);
            return Step::Wait;
        };
        self.legs.push(Leg { stream, guard, begun: self.clock.now() });
        self.replays += 1;
        self.give_to_last().await;
        self.answer_until = Some(Instant::now() + NEXT_WAIT);
        Step::Wait
    }

    async fn add_leg(&mut self) -> Result<(), CloseReason> {
        let (stream, guard) = self.dialer.next().await?;
        self.legs.push(Leg { stream, guard, begun: self.clock.now() });
        Ok(())
    }

    /// Finds another backend for one that was lost and gives it what the client said so far.
    async fn replace_leg(&mut self) -> Result<(), CloseReason> {
        loop {
            self.add_leg().await?;
            self.replays += 1;
            self.give_to_last().await;
            if !self.legs.is_empty() {
                // It was asked just now, so it has its own time to answer.
                if let Some(until) = &mut self.answer_until {
                    *until = Instant::now() + NEXT_WAIT;
                }
                return Ok(());
            }
        }
    }

    async fn give_to_last(&mut self) {
        if let Some(leg) = self.legs.last_mut()
            && leg.stream.write_all(&self.flight).await.is_err()
        {
            self.lose(self.legs.len() - 1, DialFailure::ClosedEarly);
        }
    }

    /// Gives the flight from `new` on to every backend that is asked.
    async fn give(&mut self, new: usize) {
        let mut at = 0;
        while let Some(leg) = self.legs.get_mut(at) {
            let bytes = self.flight.get(new..).unwrap_or_default();
            match leg.stream.write_all(bytes).await {
                Ok(()) => at += 1,
                Err(_) => self.lose(at, DialFailure::ClosedEarly),
            }
        }
    }

    fn trust(&self, leg: usize) {
        if let Some(leg) = self.legs.get(leg) {
            leg.guard.backend().answered();
        }
    }

    fn lose(&mut self, leg: usize, failure: DialFailure) {
        if leg < self.legs.len() {
            let leg = self.legs.remove(leg);
            let backend = Arc::clone(leg.guard.backend());
            self.note(Unanswered { backend, failure, begun: leg.begun });
        }
    }

    /// Its probes look at once whether it is there.
    fn note(&mut self, unanswered: Unanswered) {
        unanswered.backend.suspect();
        self.unanswered.push(unanswered);
    }

    fn hold_against_the_others(&mut self) {
        let now = self.clock.now();
        for Unanswered { backend, failure, begun } in self.unanswered.drain(..) {
            backend.failed(failure, begun, now);
        }
    }
}

/// The first backend that says something, how many bytes are there to be seen, and nothing taken.
async fn first_word(legs: &[Leg]) -> (usize, io::Result<usize>) {
    poll_fn(|cx| {
        for (index, leg) in legs.iter().enumerate() {
            let mut byte = [0];
            if let Poll::Ready(said) = leg.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
                return Poll::Ready((index, said));
            }
        }
        Poll::Pending
    })
    .await
}

/// Appends what the client says to `flight`, up to its limit.
async fn read_more(client: &mut TcpStream, flight: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut bytes = [0; 4096];
        let room = FLIGHT_BYTES_MAX.saturating_sub(flight.len()).min(bytes.len());
        let mut buffer = ReadBuf::new(bytes.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(&mut *client).poll_read(cx, &mut buffer))?;
        flight.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

#[cfg(test)]
mod tests;

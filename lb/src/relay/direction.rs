//! One direction of a session: takes bytes from a source socket and gives them to a sink socket.
//!
//! It takes new bytes only when it holds none. That bounds what it holds to one scratch buffer or
//! one pipe, keeps the order when the mover changes, and makes `EAGAIN` of a splice unambiguous: an
//! empty pipe always has room, so the socket is what is not ready.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::pipe::{SpliceFlags, splice};
use socket2::SockRef;
use std::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::pipes::{PIPE_BYTES, Pipe, Pipes};
use super::policy::MoverPolicy;
use crate::handover::{DirectionRecord, HeldRecord, StreamRecord};

/// Size of the scratch buffer of each thread.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Takes and gives of one direction before other sessions of the thread get their turn.
const ROUNDS_MAX: u32 = 16;

thread_local! {
    /// Holds bytes between one read and the write that follows at once, never across an await.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Which socket of a direction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Sink,
}

/// Why a direction cannot go on.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) side: Side,
    pub(super) error: io::Error,
}

impl Fault {
    pub(super) fn source(error: io::Error) -> Self {
        Self { side: Side::Source, error }
    }

    fn sink(error: io::Error) -> Self {
        Self { side: Side::Sink, error }
    }
}

/// Bytes that were taken and not yet given.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Copied(Box<Rest>),
    /// A pipe with `filled` bytes in it; 0 between two rounds of a burst.
    Piped {
        pipe: Pipe,
        filled: u32,
    },
}

/// What the sink did not take of a scratch buffer, from `given` on. Boxed in [`Held`], because every
/// idle session has room for two of those.
#[derive(Debug)]
struct Rest {
    bytes: Box<[u8]>,
    given: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stream {
    #[default]
    Open,
    /// The source has ended; the sink is to be told when nothing is held any more.
    Ending,
    /// The sink was told.
    Ended,
}

impl From<Stream> for StreamRecord {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Open => Self::Open,
            Stream::Ending => Self::Ending,
            Stream::Ended => Self::Ended,
        }
    }
}

impl From<StreamRecord> for Stream {
    fn from(stream: StreamRecord) -> Self {
        match stream {
            StreamRecord::Open => Self::Open,
            StreamRecord::Ending => Self::Ending,
            StreamRecord::Ended => Self::Ended,
        }
    }
}

/// One direction of a session.
#[derive(Debug, Default)]
pub(super) struct Direction {
    held: Held,
    stream: Stream,
    policy: MoverPolicy,
    /// Of one poll, so at most [`ROUNDS_MAX`] pipes.
    moved: u32,
    /// Whether the sink took bytes since the last look.
    gave: bool,
}

impl Direction {
    /// What another process must know to go on with it.
    pub(super) fn record(&self) -> DirectionRecord {
        let held = match &self.held {
            Held::Nothing | Held::Piped { filled: 0, .. } => HeldRecord::Nothing,
            Held::Copied(_) => HeldRecord::Bytes(self.held_bytes().len()),
            Held::Piped { filled, .. } => HeldRecord::Piped { filled: *filled },
        };
        DirectionRecord { stream: self.stream.into(), held }
    }

    /// The bytes that it holds in memory.
    pub(super) fn held_bytes(&self) -> &[u8] {
        match &self.held {
            Held::Copied(rest) => rest.bytes.get(rest.given..).unwrap_or_default(),
            Held::Nothing | Held::Piped { .. } => &[],
        }
    }

    /// The pipe that holds bytes, if one does.
    pub(super) fn held_pipe(&self) -> Option<&Pipe> {
        match &self.held {
            Held::Piped { pipe, filled } if *filled > 0 => Some(pipe),
            Held::Nothing | Held::Copied(_) | Held::Piped { .. } => None,
        }
    }

    /// The direction that another process had. `None` if what it held is not what came.
    pub(super) fn revived(
        record: &DirectionRecord,
        bytes: &[u8],
        pipe: Option<Pipe>,
    ) -> Option<Self> {
        let held = match (record.held, pipe) {
            (HeldRecord::Nothing, None) => Held::Nothing,
            (HeldRecord::Bytes(length), None) if length == bytes.len() => {
                Held::Copied(Box::new(Rest { bytes: bytes.into(), given: 0 }))
            }
            (HeldRecord::Piped { filled }, Some(pipe)) => Held::Piped { pipe, filled },
            _ => return None,
        };
        Some(Self { held, stream: record.stream.into(), ..Self::default() })
    }

    /// Whether the source has ended and the sink was told.
    pub(super) fn ended(&self) -> bool {
        self.stream == Stream::Ended
    }

    /// Whether bytes were taken that the sink has not taken yet.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.held, Held::Nothing | Held::Piped { filled: 0, .. })
    }

    /// Whether the sink took bytes since the last call: a slow reader is not silent.
    pub(super) fn take_gave(&mut self) -> bool {
        std::mem::take(&mut self.gave)
    }

    /// Bytes that the source gave since the last call.
    pub(super) fn take_moved(&mut self) -> u64 {
        std::mem::take(&mut self.moved).into()
    }

    /// Moves until a socket is not ready. `Ready(Ok)` once the stream has ended. If it is the `last`
    /// of the two directions, the sink is told by the close of its socket, which follows at once.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut TcpStream,
        sink: &mut TcpStream,
        pipes: &Pipes,
        last: bool,
    ) -> Poll<Result<(), Fault>> {
        for _ in 0..ROUNDS_MAX {
            if self.stream == Stream::Ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.give(cx, sink))?;
            if self.stream == Stream::Ending {
                self.release(pipes);
                if !last {
                    end(sink)?;
                }
                // Said at once, whatever the round: which side ended first depends on it.
                self.stream = Stream::Ended;
                return Poll::Ready(Ok(()));
            }
            let taken = match self.take(cx, source, sink, pipes) {
                Poll::Ready(taken) => taken?,
                Poll::Pending => {
                    self.release(pipes);
                    return Poll::Pending;
                }
            };
            self.moved = self.moved.saturating_add(bounded(taken));
            if taken == 0 {
                self.stream = Stream::Ending;
            } else {
                self.policy = self.policy.after(taken);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes bytes from the source, by the mover that the policy names. 0 is the end of the stream.
    fn take(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut TcpStream,
        sink: &mut TcpStream,
        pipes: &Pipes,
    ) -> Poll<Result<usize, Fault>> {
        if !self.policy.splices() {
            self.release(pipes);
            return self.copy(cx, source, sink);
        }
        if matches!(self.held, Held::Nothing) {
            match pipes.take() {
                Some(pipe) => self.held = Held::Piped { pipe, filled: 0 },
                None => self.policy = self.policy.without_pipe(),
            }
        }
        match &mut self.held {
            Held::Piped { pipe, filled } => {
                let taken = ready!(poll_fill(cx, source, pipe)).map_err(Fault::source)?;
                *filled = bounded(taken);
                Poll::Ready(Ok(taken))
            }
            Held::Nothing | Held::Copied(_) => self.copy(cx, source, sink),
        }
    }

    /// Reads into the scratch buffer and writes at once; keeps what the sink does not take.
    fn copy(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut TcpStream,
        sink: &mut TcpStream,
    ) -> Poll<Result<usize, Fault>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(source).poll_read(cx, &mut buffer)).map_err(Fault::source)?;
            let bytes = buffer.filled();
            let mut rest = bytes;
            while !rest.is_empty() {
                match Pin::new(&mut *sink).poll_write(cx, rest) {
                    Poll::Ready(Ok(given)) => rest = rest.get(given..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Fault::sink(error))),
                    Poll::Pending => {
                        self.held = Held::Copied(Box::new(Rest { bytes: rest.into(), given: 0 }));
                        break;
                    }
                }
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }

    /// Gives everything that is held to the sink.
    fn give(&mut self, cx: &mut Context<'_>, sink: &mut TcpStream) -> Poll<Result<(), Fault>> {
        match &mut self.held {
            Held::Nothing => {}
            Held::Copied(held) => {
                while let Some(rest) = held.bytes.get(held.given..).filter(|rest| !rest.is_empty())
                {
                    let wrote = Pin::new(&mut *sink).poll_write(cx, rest);
                    held.given += ready!(wrote).map_err(Fault::sink)?;
                    self.gave = true;
                }
                self.held = Held::Nothing;
            }
            Held::Piped { pipe, filled } => {
                while *filled > 0 {
                    let drained = ready!(poll_drain(cx, sink, pipe, *filled));
                    *filled = filled.saturating_sub(bounded(drained.map_err(Fault::sink)?));
                    self.gave = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the pipe back if it is empty.
    fn release(&mut self, pipes: &Pipes) {
        if matches!(self.held, Held::Piped { filled: 0, .. })
            && let Held::Piped { pipe, .. } = std::mem::take(&mut self.held)
        {
            pipes.give_back(pipe);
        }
    }

    /// Gives the pipe back, whatever is in it: the session is over.
    pub(super) fn abandon(&mut self, pipes: &Pipes) {
        self.release(pipes);
        if let Held::Piped { pipe, .. } = std::mem::take(&mut self.held) {
            pipes.discard(pipe);
        }
    }
}

/// A number of bytes that went through a buffer or a pipe at once: none holds 4 GiB.
fn bounded(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Tells the sink that no more bytes come.
fn end(sink: &TcpStream) -> Result<(), Fault> {
    match SockRef::from(sink).shutdown(Shutdown::Write) {
        // The sink is gone already; its own direction says how.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        ended => ended.map_err(Fault::sink),
    }
}

/// Fills the empty pipe from the socket.
fn poll_fill(cx: &mut Context<'_>, source: &TcpStream, pipe: &Pipe) -> Poll<io::Result<usize>> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        ready!(source.poll_read_ready(cx))?;
        let fill = || Ok(splice(source, None, &pipe.writer, None, PIPE_BYTES, flags)?);
        match source.try_io(Interest::READABLE, fill) {
            Err(error) if is_transient(&error) => {}
            filled => return Poll::Ready(filled),
        }
    }
}

/// Drains up to `filled` bytes of the pipe into the socket.
fn poll_drain(
    cx: &mut Context<'_>,
    sink: &TcpStream,
    pipe: &Pipe,
    filled: u32,
) -> Poll<io::Result<usize>> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        ready!(sink.poll_write_ready(cx))?;
        let drain = || Ok(splice(&pipe.reader, None, sink, None, filled as usize, flags)?);
        match sink.try_io(Interest::WRITABLE, drain) {
            Err(error) if is_transient(&error) => {}
            // A pipe that holds bytes has no end to report.
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            drained => return Poll::Ready(drained),
        }
    }
}

/// Not ready after all, or interrupted: ask again.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

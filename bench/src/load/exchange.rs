//! Requests and responses over connections that stay, each connection in a closed loop: the next
//! request leaves when the answer to the last one is complete.

use std::{convert::Infallible, io, net::SocketAddr, time::Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{RETRY_PAUSE, meter::Meter};
use crate::wire::Request;

/// Answers are read in parts of at most this size.
const ANSWER_ROOM: u64 = 64 * 1024;

/// One client of the closed loop.
pub(super) struct Client {
    stream: TcpStream,
    request: [u8; crate::wire::SMALL_REQUEST_BYTES],
    answer: u64,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to `target`; every request will ask for `answer` bytes.
    pub(super) async fn connect(target: SocketAddr, answer: u64) -> io::Result<Self> {
        Self::new(TcpStream::connect(target).await?, answer)
    }

    /// Uses a connection that is already there.
    pub(super) fn new(stream: TcpStream, answer: u64) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let room = usize::try_from(answer.min(ANSWER_ROOM)).unwrap_or_default();
        Ok(Self { stream, request: Request::small(answer), answer, buffer: vec![0; room] })
    }

    /// One request and its whole answer.
    pub(super) async fn exchange(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request).await?;
        let mut rest = self.answer;
        while rest > 0 {
            let part = usize::try_from(rest).unwrap_or(usize::MAX).min(self.buffer.len());
            let room = self.buffer.get_mut(..part).unwrap_or_default();
            match self.stream.read(room).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => rest -= more as u64,
            }
        }
        Ok(())
    }

    /// The number of the backend that gave the last answer.
    pub(super) fn answered_by(&self) -> Option<u8> {
        self.buffer.first().copied()
    }
}

/// Repeats requests for `answer` bytes for ever; connects again after an error.
pub(super) async fn repeat(target: SocketAddr, answer: u64, meter: Meter) {
    let mut announced = false;
    loop {
        let Err(error) = converse(target, answer, &meter, &mut announced).await;
        meter.failed(&error);
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn converse(
    target: SocketAddr,
    answer: u64,
    meter: &Meter,
    announced: &mut bool,
) -> io::Result<Infallible> {
    let mut client = Client::connect(target, answer).await?;
    loop {
        let started = Instant::now();
        client.exchange().await?;
        meter.operation(started, answer);
        if !*announced {
            *announced = true;
            meter.ready();
        }
    }
}

//! The traffic of a control plane at a steady rate: kubelets and controllers that hold watches,
//! controllers that list everything now and then, and short calls such as `kubectl` makes. The rate
//! is the same for every proxy, so the proxies are compared by what it costs them and by what the
//! clients wait. All rates are above those of a real cluster of this size: the kernel accounts in
//! steps of a hundredth of a second, and the proxies must be told apart within a few.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request,
    body::{Bytes, Incoming},
    client::conn::http2::{self, Connection, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::interval};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{RETRY_PAUSE, meter::Meter};
use crate::{
    tls,
    wire::{self, ANSWER_PATH, EVENT_BYTES, WATCH_PATH},
};

/// All parts of the mix.
pub(super) const PARTS: [Part; 3] = [Part::Watch, Part::List, Part::Call];

/// The window clients give a stream, as large as that of the Kubernetes client library.
const WINDOW_BYTES: u32 = 4 << 20;

/// Milliseconds between the events of one watch.
const EVENT_EVERY: u32 = 25;

/// How often a client lists, and how long the list is: that of some hundreds of pods.
const LIST_EVERY: Duration = Duration::from_millis(200);
const LIST_BYTES: u32 = 2 << 20;

/// How often a client calls over a new connection, and the length of the answer.
const CALL_EVERY: Duration = Duration::from_millis(50);
const CALL_BYTES: u32 = 8 << 10;

/// What a client of the mix does.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// Three watches over one connection.
    Watch,
    /// Long lists over one connection.
    List,
    /// Each call over a new connection.
    Call,
}

/// A connection to a backend. Nothing moves on it unless its second half is polled.
pub(super) type Http = (SendRequest<Empty<Bytes>>, Connection<Stream, Empty<Bytes>, TokioExecutor>);
type Stream = TokioIo<TlsStream<TcpStream>>;

impl Part {
    /// How many clients do it: a cluster of about a hundred machines.
    pub(super) fn clients(self) -> usize {
        match self {
            Self::Watch => 100,
            Self::List => 4,
            Self::Call => 10,
        }
    }
}

/// Does `part` for ever; connects again after an error.
pub(super) async fn repeat(part: Part, target: SocketAddr, tls: TlsConnector, meter: Meter) {
    let mut announced = false;
    loop {
        let Err(error) = match part {
            Part::Watch => watch(target, &tls, &meter, &mut announced).await,
            Part::List => list(target, &tls, &meter, &mut announced).await,
            Part::Call => call(target, &tls, &meter, &mut announced).await,
        };
        meter.failed(&error);
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Opens a connection.
pub(super) async fn connect(target: SocketAddr, tls: &TlsConnector) -> io::Result<Http> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(tls::server_name(), stream).await?;
    http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)
}

/// Asks once over a connection and returns the first byte of the answer.
pub(super) async fn ask(http: &mut Http, bytes: u32) -> io::Result<Option<u8>> {
    let (sender, connection) = http;
    tokio::select! {
        biased;
        ended = connection => Err(ended.err().map_or_else(closed, io::Error::other)),
        answer = get_all(sender.clone(), bytes) => answer,
    }
}

async fn watch(
    target: SocketAddr,
    tls: &TlsConnector,
    meter: &Meter,
    announced: &mut bool,
) -> io::Result<Infallible> {
    let (sender, connection) = connect(target, tls).await?;
    let drive = async { connection.await.map_err(io::Error::other).and(Err(closed())) };
    let announce = || {
        if !std::mem::replace(announced, true) {
            meter.ready();
        }
    };
    // The connection would end with its last sender, so one stays here.
    let (never, ..) = tokio::try_join!(
        drive,
        events(sender.clone(), meter, announce),
        events(sender.clone(), meter, || ()),
        events(sender.clone(), meter, || ()),
    )?;
    Ok(never)
}

/// Receives the events of one watch for ever.
async fn events(
    sender: SendRequest<Empty<Bytes>>,
    meter: &Meter,
    mut arrived: impl FnMut(),
) -> io::Result<Infallible> {
    let mut body = get(sender, format!("{WATCH_PATH}{EVENT_EVERY}")).await?;
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await.transpose().map_err(io::Error::other)? {
        rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        let mut chunks = rest.chunks_exact(EVENT_BYTES);
        for event in &mut chunks {
            let sent = event.first_chunk().map_or(0, |stamp| u64::from_be_bytes(*stamp));
            let latency = Duration::from_nanos(wire::now().saturating_sub(sent));
            meter.event(latency, EVENT_BYTES as u64);
            arrived();
        }
        rest = chunks.remainder().to_vec();
    }
    Err(closed())
}

async fn list(
    target: SocketAddr,
    tls: &TlsConnector,
    meter: &Meter,
    announced: &mut bool,
) -> io::Result<Infallible> {
    let mut http = connect(target, tls).await?;
    let mut turns = interval(LIST_EVERY);
    loop {
        turns.tick().await;
        ask(&mut http, LIST_BYTES).await?;
        meter.bytes(usize::try_from(LIST_BYTES).unwrap_or_default());
        if !std::mem::replace(announced, true) {
            meter.ready();
        }
    }
}

async fn call(
    target: SocketAddr,
    tls: &TlsConnector,
    meter: &Meter,
    announced: &mut bool,
) -> io::Result<Infallible> {
    let mut turns = interval(CALL_EVERY);
    loop {
        let due: Instant = turns.tick().await.into();
        let mut http = connect(target, tls).await?;
        ask(&mut http, CALL_BYTES).await?;
        meter.call(due, u64::from(CALL_BYTES));
        if !std::mem::replace(announced, true) {
            meter.ready();
        }
    }
}

async fn get_all(sender: SendRequest<Empty<Bytes>>, bytes: u32) -> io::Result<Option<u8>> {
    let mut body = get(sender, format!("{ANSWER_PATH}{bytes}")).await?;
    let mut first = None;
    while let Some(frame) = body.frame().await.transpose().map_err(io::Error::other)? {
        first = first.or_else(|| frame.data_ref()?.first().copied());
    }
    Ok(first)
}

async fn get(mut sender: SendRequest<Empty<Bytes>>, path: String) -> io::Result<Incoming> {
    // The backends look at the path alone.
    let request = Request::get(format!("https://backend{path}")).body(Empty::new());
    let response = sender.send_request(request.map_err(io::Error::other)?).await;
    Ok(response.map_err(io::Error::other)?.into_body())
}

fn closed() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

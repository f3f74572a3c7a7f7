//! A backend with the shape of an apiserver: HTTP/2 over TLS, answers of a given size, and watches
//! that send a small event now and then.

use std::{
    convert::Infallible,
    future,
    net::TcpListener,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use anyhow::Result;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes, Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    time::{Interval, interval},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    threads::Threads,
    wire::{self, ANSWER_PATH, EVENT_BYTES, WATCH_PATH},
};

/// The largest answer anyone may ask for.
const MOST_BYTES: usize = 16 << 20;

type Answer = Either<Full<Bytes>, Watch>;

/// Serves `listener` as backend `number`.
pub(super) fn start(
    threads: &Threads,
    listener: TcpListener,
    number: u8,
    acceptor: TlsAcceptor,
) -> Result<()> {
    threads.accept(listener, move |stream, tasks| {
        let acceptor = acceptor.clone();
        tasks.spawn(async move { serve(stream, number, &acceptor).await });
    })
}

/// Serves one connection until it ends. How it ends does not matter: clients go away at any time.
async fn serve(stream: TcpStream, number: u8, acceptor: &TlsAcceptor) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service =
        service_fn(move |request| future::ready(Ok::<_, Infallible>(answer(&request, number))));
    http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

fn answer(request: &Request<Incoming>, number: u8) -> Response<Answer> {
    let path = request.uri().path();
    let parameter = |prefix: &str| path.strip_prefix(prefix)?.parse::<u32>().ok();
    if let Some(bytes) = parameter(ANSWER_PATH) {
        let bytes = usize::try_from(bytes).unwrap_or(MOST_BYTES).min(MOST_BYTES);
        return Response::new(Either::Left(Full::from(vec![number; bytes])));
    }
    if let Some(milliseconds) = parameter(WATCH_PATH) {
        let every = Duration::from_millis(u64::from(milliseconds.max(1)));
        return Response::new(Either::Right(Watch { events: interval(every) }));
    }
    let mut unknown = Response::new(Either::Left(Full::default()));
    *unknown.status_mut() = StatusCode::NOT_FOUND;
    unknown
}

/// A body that never ends: an event at each tick, which says when it was sent.
struct Watch {
    events: Interval,
}

impl Body for Watch {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.events.poll_tick(context));
        let mut event = wire::now().to_be_bytes().to_vec();
        event.resize(EVENT_BYTES, 0);
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}

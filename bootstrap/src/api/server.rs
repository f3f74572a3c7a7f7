//! Accepts connections of masters, with a limit on everything a stranger can do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::places::Place;
use common::{Places, Tasks};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::{Caller, JoinApi, routes};
use crate::authority::{AuthorityError, identity_of};

/// Most connections at once: two for each member there can be, and room for strangers; further ones
/// wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 256;

/// What a stranger's connection gets for its handshake and a whole request while another one waits for
/// a place: a lost packet comes again after 0.2 s (`TCP_RTO_MIN`).
const GRACE: Duration = Duration::from_millis(500);

/// Longest TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Longest wait for the head of a request, and so for the next request of a connection: strangers
/// that connect and say nothing must not keep their places.
const HEAD_MAX: Duration = Duration::from_secs(15);

/// Longest life of a connection. Members connect again; their certificate is then looked at anew.
const CONNECTION_MAX: Duration = Duration::from_secs(600);

/// Largest head of a request.
const HEAD_BYTES_MAX: u16 = 16 * 1024;

/// Most requests at once on one HTTP/2 connection: a heartbeat, a join, a result.
const STREAMS_MAX: u32 = 16;

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers until it is dropped. No error ends the loop. Cancel-safe.
///
/// # Errors
/// [`AuthorityError`] if no certificate can be made; nothing was accepted then.
pub async fn serve(
    listener: TcpListener,
    api: Arc<JoinApi>,
    tasks: Tasks,
) -> Result<(), AuthorityError> {
    let config = api.authority().server_config()?;
    let places = Places::new(CONNECTIONS_MAX, GRACE);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let place = Arc::new(places.take().await);
                let (api, config) = (Arc::clone(&api), Arc::clone(&config));
                tasks.spawn_until_stopped("join connection", async move {
                    let _counted = api.counts().connection();
                    let conversation = converse(&api, config, (stream, peer), &place);
                    // Cut off after that time, which is no event worth a line either.
                    timeout(CONNECTION_MAX, place.host(conversation)).await.ok();
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept on the join address");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(
    api: &Arc<JoinApi>,
    config: Arc<ServerConfig>,
    (stream, peer): (TcpStream, SocketAddr),
    place: &Arc<Place>,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // Answers are one packet; without this they may wait for an acknowledgement.
    stream.set_nodelay(true).ok();
    let accepted = timeout(HANDSHAKE_MAX, TlsAcceptor::from(config).accept(stream)).await;
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            api.counts().failed_handshake();
            debug!(%peer, %error, "no TLS on the join address");
            return;
        }
        Err(_) => {
            api.counts().failed_handshake();
            return;
        }
    };
    let identity = identity(&stream);
    if identity.is_some() {
        // A member keeps its connection between two heartbeats.
        place.keep();
    }
    let caller = Arc::new(Caller { peer, local, identity, place: Arc::clone(place) });
    let service = service_fn(|request: Request<Incoming>| {
        let (api, caller) = (Arc::clone(api), Arc::clone(&caller));
        async move { Ok::<_, Infallible>(routes::answer(&api, &caller, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX.into())
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX.into())
        .keep_alive_interval(HEAD_MAX)
        .keep_alive_timeout(HEAD_MAX);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        debug!(%peer, error, "a connection of the join API ended");
    }
}

fn identity(stream: &TlsStream<TcpStream>) -> Option<(String, String)> {
    let (_, session) = stream.get_ref();
    identity_of(session.peer_certificates()?.first()?)
}

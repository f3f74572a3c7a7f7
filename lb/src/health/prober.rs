//! Asks one apiserver, again and again, and reports each outcome.
//!
//! One task for each backend: a black-holed one delays nobody. The connection is kept for a few
//! probes, because a handshake costs an apiserver more than an answer, and made anew at times and
//! after every failure, because only a fresh one shows a full accept queue. It is closed in order,
//! so that the apiserver has nothing to log.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::Tasks;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant as Deadline, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::warn;

use super::identity::ProbeIdentity;
use super::{Outcome, State, timetable};
use crate::backend::Backend;
use crate::dial::DialFailure;
use crate::socket_options::reset_on_close;

/// Probes that share one connection before it is made anew: about 15 s.
const PROBES_PER_CONNECTION: u32 = 5;

/// Largest answer that is read: a verbose /readyz is below 4 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Shortest time between two probes that passive signals ask for.
const SIGNAL_GAP: Duration = Duration::from_millis(500);

/// How backends are questioned.
#[derive(Clone, Debug)]
pub enum ProbeMethod {
    /// `GET /readyz` over TLS, verified so.
    Https(ProbeIdentity),
    /// The same while the CA of the cluster is not known: an answer tells that somebody is there,
    /// not who.
    Unidentified(ProbeIdentity),
    /// A TCP connect.
    Tcp,
}

/// What a prober tells the keeper.
#[derive(Debug)]
pub struct Report {
    /// The backend that was asked.
    pub addr: SocketAddr,
    /// What was seen.
    pub outcome: Outcome,
}

/// What the keeper tells a prober: the state that decides when to ask next.
pub type StateFeed = tokio::sync::watch::Receiver<State>;

/// Asks the backend until it is dropped. Cancel-safe.
pub async fn probe_loop(
    backend: Arc<Backend>,
    method: ProbeMethod,
    mut state: StateFeed,
    reports: mpsc::Sender<Report>,
    tasks: Tasks,
) {
    let addr = backend.member.addr;
    let mut asker = Asker { backend: Arc::clone(&backend), addr, method, kept: None, tasks };
    let mut last = None;
    loop {
        let plan = timetable::next(*state.borrow_and_update(), last, fastrand::f64());
        if last.is_some() {
            wait(plan.pause, &backend, &mut state).await;
        }
        let Some(outcome) = asker.ask(plan.timeout).await else {
            warn!(
                backend = backend.member.name,
                "cannot probe: out of descriptors, memory or ports"
            );
            last.get_or_insert(Outcome::Refused);
            continue;
        };
        last = Some(outcome);
        if reports.send(Report { addr, outcome }).await.is_err() {
            return;
        }
    }
}

/// Waits for the next probe: for its time, or for a passive signal, whichever is first.
async fn wait(pause: Duration, backend: &Backend, state: &mut StateFeed) {
    let early = async {
        backend.suspected().await;
        tokio::time::sleep(SIGNAL_GAP.min(pause)).await;
    };
    let changed = async {
        // A sender that is gone is the keeper's end, and soon ours.
        state.changed().await.ok();
        tokio::time::sleep(SIGNAL_GAP.min(pause)).await;
    };
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = early => {}
        () = changed => {}
    }
}

/// A connection that may serve further probes, and how many it has served.
pub type Kept = (SendRequest<Empty<Bytes>>, u32);

/// Asks one address and keeps the connection between probes.
struct Asker {
    backend: Arc<Backend>,
    addr: SocketAddr,
    method: ProbeMethod,
    kept: Option<Kept>,
    tasks: Tasks,
}

impl Asker {
    async fn ask(&mut self, limit: Duration) -> Option<Outcome> {
        let begun = Deadline::now();
        let deadline = begun + limit;
        let kept = self.kept.take().filter(|(_, uses)| *uses < PROBES_PER_CONNECTION);
        let (outcome, kept) = match kept {
            Some(kept) => self.ask_on(kept, limit, deadline).await,
            None => self.ask_freshly(deadline).await,
        };
        self.kept = kept;
        let outcome = match (&self.method, outcome) {
            (ProbeMethod::Unidentified(_), Some(seen)) if seen.is_good() => {
                Some(Outcome::Unidentified)
            }
            _ => outcome,
        };
        if let Some(outcome) = outcome {
            self.backend.measures().probed(outcome, begun.elapsed());
        }
        outcome
    }

    /// Asks on a kept connection, and on a fresh one too if it stays silent: only that tells a slow
    /// backend from one that is frozen or gone.
    async fn ask_on(&self, kept: Kept, limit: Duration, deadline: Deadline) -> Answer {
        let on_kept = request(kept, self.addr);
        tokio::pin!(on_kept);
        match timeout_at(deadline - limit / 2, &mut on_kept).await {
            Ok(Some((outcome, kept))) => return (Some(outcome), Some(kept)),
            Ok(None) => return self.ask_freshly(deadline).await,
            Err(_) => {}
        }
        tokio::select! {
            Some((outcome, kept)) = on_kept => (Some(outcome), Some(kept)),
            answer = self.ask_freshly(deadline) => answer,
        }
    }

    /// Connects, shakes hands and asks; how far it came says what is wrong.
    async fn ask_freshly(&self, deadline: Deadline) -> Answer {
        let stream = match timeout_at(deadline, connect(self.addr)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return (connect_failure(&error), None),
            Err(_) => return (Some(Outcome::ConnectTimeout), None),
        };
        let identity = match &self.method {
            ProbeMethod::Https(identity) | ProbeMethod::Unidentified(identity) => identity,
            ProbeMethod::Tcp => {
                // There is nothing to say, so nothing is left to wait for either.
                reset_on_close(&SockRef::from(&stream));
                return (Some(Outcome::Ready), None);
            }
        };
        let begun = Deadline::now();
        let connector = TlsConnector::from(Arc::clone(&identity.tls));
        let name = ServerName::IpAddress(self.addr.ip().into());
        let tls = match timeout_at(deadline, connector.connect(name.clone(), stream)).await {
            Ok(Ok(tls)) => {
                self.backend.measures().tls.observe(begun.elapsed());
                tls
            }
            Ok(Err(error)) => return (Some(tls_failure(&error)), None),
            Err(_) => return (Some(Outcome::Silent), None),
        };
        if identity.is_outdated(tls.get_ref().1, &name) {
            return (Some(Outcome::Outdated), None);
        }
        match timeout_at(deadline, ask_over(tls, self.addr, &self.tasks)).await {
            Ok(Some((outcome, kept))) => (Some(outcome), Some(kept)),
            Ok(None) => (Some(Outcome::Refused), None),
            Err(_) => (Some(Outcome::Slow), None),
        }
    }
}

/// What was seen (`None` if we are short of something ourselves, which says nothing of the backend),
/// and the connection if it may be kept.
type Answer = (Option<Outcome>, Option<Kept>);

/// Asks over a fresh connection to `addr`; `None` if it breaks, or what comes is no HTTP.
pub async fn ask_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    addr: SocketAddr,
    tasks: &Tasks,
) -> Option<(Outcome, Kept)> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    tasks.spawn_until_stopped("probe connection", async move {
        // Its end is seen at the sender.
        connection.await.ok();
    });
    request((sender, 0), addr).await
}

/// `GET /readyz`, and `/healthz` where that is not known or not for us: Kubernetes 1.14 and 1.15 show
/// `/healthz` alone to who has not logged in. `None` if the connection broke.
async fn request((mut sender, uses): Kept, addr: SocketAddr) -> Option<(Outcome, Kept)> {
    let mut status = get(&mut sender, addr, "/readyz").await?;
    if outcome_of(status) == Outcome::Alive {
        status = get(&mut sender, addr, "/healthz").await?;
    }
    Some((outcome_of(status), (sender, uses + 1)))
}

async fn get(
    sender: &mut SendRequest<Empty<Bytes>>,
    addr: SocketAddr,
    path: &str,
) -> Option<StatusCode> {
    sender.ready().await.ok()?;
    let request = Request::get(path)
        .header("host", addr.to_string())
        .header("user-agent", concat!("mainstay/", env!("CARGO_PKG_VERSION")))
        .header("accept", "*/*")
        .body(Empty::new())
        .ok()?;
    let answer = sender.send_request(request).await.ok()?;
    let status = answer.status();
    Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.ok()?;
    Some(status)
}

/// What the status of `/readyz` means. An apiserver is never 503 by itself; a proxy before it is.
fn outcome_of(status: StatusCode) -> Outcome {
    match status.as_u16() {
        200..300 => Outcome::Ready,
        401 | 403 | 404 => Outcome::Alive,
        500..600 => Outcome::NotReady,
        _ => Outcome::Alive,
    }
}

async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    socket.connect(addr).await
}

/// `None` if it is our own shortage: a survivor must not be judged dead because we ran out of ports.
fn connect_failure(error: &io::Error) -> Option<Outcome> {
    match DialFailure::of(error) {
        DialFailure::TimedOut => Some(Outcome::ConnectTimeout),
        DialFailure::Refused | DialFailure::Unreachable => Some(Outcome::Refused),
        _ => None,
    }
}

/// A handshake that failed: by its certificate, or because the peer went away in the middle.
fn tls_failure(error: &io::Error) -> Outcome {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => Outcome::WrongIdentity,
        // What answers something else than TLS is no apiserver of ours.
        Some(rustls::Error::InvalidMessage(_)) => Outcome::WrongIdentity,
        Some(_) | None => Outcome::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_shortage_is_no_observation() {
        let seen = |kind: io::ErrorKind| connect_failure(&kind.into());
        assert_eq!(seen(io::ErrorKind::AddrNotAvailable), None);
        assert_eq!(connect_failure(&io::Error::from_raw_os_error(24)), None, "EMFILE");
        assert_eq!(seen(io::ErrorKind::ConnectionRefused), Some(Outcome::Refused));
        assert_eq!(seen(io::ErrorKind::HostUnreachable), Some(Outcome::Refused));
        assert_eq!(seen(io::ErrorKind::TimedOut), Some(Outcome::ConnectTimeout));
    }

    #[test]
    fn statuses_are_told_apart() {
        let table = [
            (200, Outcome::Ready),
            (401, Outcome::Alive),
            (403, Outcome::Alive),
            (404, Outcome::Alive),
            (429, Outcome::Alive),
            (500, Outcome::NotReady),
            (503, Outcome::NotReady),
        ];
        for (status, outcome) in table {
            assert_eq!(outcome_of(StatusCode::from_u16(status).unwrap()), outcome, "{status}");
        }
    }
}

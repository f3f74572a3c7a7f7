//! The HTTP server of the admin endpoint, on TCP or a unix socket, with limits on everything.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Tasks;
use common::config::AdminAddr;
use common::places::Place;
use hyper::body::{Body, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tracing::warn;

use super::limits::Impatient;
use super::routes::Caller;
use super::token::AdminToken;
use super::{Report, routes};

/// Connections that may wait for an accept. The library's 128 are filled by two hundred strangers, and
/// a question that finds no room is asked again after a second, when keepalived has given up.
const BACKLOG: i32 = 1024;

/// Longest wait for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest life of a connection that is not a reader of the events, so that idle ones do not keep
/// their places.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A unix socket is for root and the group of the service.
const SOCKET_MODE: u32 = 0o660;

/// The bound admin address. A unix socket is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: Listener,
    /// The address in use, with the port that was chosen for port 0.
    pub(crate) addr: AdminAddr,
    ours: Arc<AtomicBool>,
}

/// Says whether the file of a unix socket is to be removed at the end: not if another process
/// listens there.
#[derive(Clone, Debug)]
pub(crate) struct Ownership(Arc<AtomicBool>);

impl Ownership {
    /// It is another process's from now on.
    pub(crate) fn renounce(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// It is ours from now on.
    pub(crate) fn assume(&self) {
        self.0.store(true, Ordering::Release);
    }
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: SocketFile },
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    ours: Arc<AtomicBool>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.ours.load(Ordering::Acquire) {
            // Gone already, or not ours to remove: then there is nothing to clean up.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

impl AdminSocket {
    /// Binds the address.
    pub(crate) async fn bind(addr: &AdminAddr) -> io::Result<Self> {
        match addr {
            AdminAddr::Tcp(wanted) => {
                let listener = TcpListener::bind(wanted).await?;
                lengthen_queue(&listener)?;
                Self::tcp(listener)
            }
            AdminAddr::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                lengthen_queue(&listener)?;
                let socket = Self::unix(listener, path, true);
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
                Ok(socket)
            }
        }
    }

    /// Takes the socket of another process, which still owns it.
    pub(crate) fn adopt(addr: &AdminAddr, socket: OwnedFd) -> io::Result<Self> {
        match addr {
            AdminAddr::Tcp(_) => Self::tcp(TcpListener::from_std(socket.into())?),
            AdminAddr::Unix(path) => {
                Ok(Self::unix(UnixListener::from_std(socket.into())?, path, false))
            }
        }
    }

    fn tcp(listener: TcpListener) -> io::Result<Self> {
        let addr = AdminAddr::Tcp(listener.local_addr()?);
        Ok(Self { listener: Listener::Tcp(listener), addr, ours: Arc::default() })
    }

    fn unix(listener: UnixListener, path: &Path, ours: bool) -> Self {
        let ours = Arc::new(AtomicBool::new(ours));
        let file = SocketFile { path: path.to_owned(), ours: Arc::clone(&ours) };
        let listener = Listener::Unix { listener, _file: file };
        Self { listener, addr: AdminAddr::Unix(path.to_owned()), ours }
    }

    /// Whose the file of a unix socket is.
    pub(crate) fn ownership(&self) -> Ownership {
        Ownership(Arc::clone(&self.ours))
    }

    /// A further handle, for another process.
    pub(crate) fn handle(&self) -> io::Result<OwnedFd> {
        let socket = match &self.listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix { listener, .. } => listener.as_fd(),
        };
        socket.try_clone_to_owned()
    }
}

/// Lets more connections wait for an accept than the library does.
pub(crate) fn lengthen_queue(listener: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::listen(listener, BACKLOG)?)
}

/// Removes the socket that a killed process left behind; one that answers is in use.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            let reason = "there is a file of this name that is no socket";
            Err(io::Error::new(ErrorKind::AlreadyExists, reason))
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(ErrorKind::AddrInUse.into())
        }
        Ok(_) => std::fs::remove_file(path),
    }
}

/// Answers until it is dropped. No error ends the loop. Cancel-safe.
pub(crate) async fn serve(
    socket: AdminSocket,
    report: Arc<Report>,
    token: Option<AdminToken>,
    tasks: Tasks,
) {
    let token = Arc::new(token);
    loop {
        let accepted = match &socket.listener {
            Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| Either::Tcp(stream)),
            Listener::Unix { listener, .. } => {
                listener.accept().await.map(|(stream, _)| Either::Unix(stream))
            }
        };
        match accepted {
            Ok(stream) => {
                let place = report.limits.connections.take().await;
                let (report, token) = (Arc::clone(&report), Arc::clone(&token));
                tasks.spawn_until_stopped("admin connection", async move {
                    let of = (&report, &place);
                    match stream {
                        Either::Tcp(stream) => converse(stream, of, Guard::Token(&token)).await,
                        Either::Unix(stream) => converse(stream, of, Guard::FileMode).await,
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept on the admin endpoint");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

enum Either {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

/// What keeps strangers from the verbs.
#[derive(Clone, Copy)]
enum Guard<'a> {
    /// The mode of the unix socket.
    FileMode,
    /// The token, if there is one; without one nobody may.
    Token(&'a Option<AdminToken>),
}

impl Guard<'_> {
    fn caller(self, headers: &HeaderMap) -> Caller {
        let bearer = || headers.get(AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ");
        let admitted = match self {
            Self::FileMode => true,
            Self::Token(Some(token)) => bearer().is_some_and(|given| token.is(given)),
            Self::Token(None) => false,
        };
        if admitted { Caller::Operator } else { Caller::Anyone }
    }
}

/// Answers the requests of one connection, until it has to give way to another.
async fn converse<S>(stream: S, (report, place): (&Arc<Report>, &Place), guard: Guard<'_>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let follows = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| async {
        let _asked = place.asked();
        let (head, body) = request.into_parts();
        let caller = guard.caller(&head.headers);
        let asked = (&head.method, &head.uri, &head.headers);
        let answer = routes::answer(report, caller, asked, body).await;
        // An answer without an end is a stream of events, and its reader has a place among those.
        if answer.body().size_hint().exact().is_none() {
            follows.store(true, Ordering::Relaxed);
            place.keep();
        }
        Ok::<_, Infallible>(answer)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Impatient::new(stream, &report.limits)), service);
    tokio::pin!(connection);
    let ended = tokio::time::timeout(CONNECTION_TIMEOUT, place.host(&mut connection)).await;
    if ended.is_err() && follows.load(Ordering::Relaxed) {
        connection.await.ok();
    }
}

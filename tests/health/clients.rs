//! Clients as apiservers have them: new TLS connections at a steady rate, and long streams. Both run
//! on threads of their own, so that a test may wait for other things meanwhile.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::until;

/// Longest wait for a new connection: as client-go's for the handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two messages on a stream.
const BEAT: Duration = Duration::from_secs(1);

/// A quiet stream's time between two messages: none in any test.
const QUIET: Duration = Duration::from_secs(3600);

/// Streams that are opened at the same time.
const OPENING: usize = 20;

/// Who the clients trust.
#[derive(Clone)]
pub(crate) struct Trust(TlsConnector);

impl Trust {
    pub(crate) fn of(ca: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        // Every connection shakes hands in full.
        config.resumption = rustls::client::Resumption::disabled();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// A connection on which a master echoes, and the port of that master. `heard` becomes true with
    /// the first byte of it.
    pub(crate) async fn open(
        &self,
        addr: SocketAddr,
        heard: &Arc<AtomicBool>,
    ) -> io::Result<(TlsStream<Listening>, u16)> {
        let opening = async {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            let stream = Listening { stream, heard: Arc::clone(heard) };
            let mut tls = self.0.connect(ServerName::IpAddress(addr.ip().into()), stream).await?;
            tls.write_all(b"GET /echo HTTP/1.1\r\nhost: test\r\n\r\n").await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tls.read_u8().await?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let port = head.split_once("x-master: ").and_then(|(_, rest)| rest.lines().next());
            Ok((tls, port.unwrap().parse().unwrap()))
        };
        match tokio::time::timeout(PATIENCE, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }

    /// The master that answers one new connection.
    pub(crate) fn ask(&self, addr: SocketAddr) -> io::Result<u16> {
        runtime().block_on(async { Ok(self.open(addr, &Arc::default()).await?.1) })
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// One new connection and what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    /// Whether a byte of a master came: such a connection cannot be given to another one.
    pub(crate) heard: bool,
    pub(crate) ended: Result<u16, ErrorKind>,
}

/// New connections at a steady rate, each closed when it was answered.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Attempt>>,
}

impl Load {
    pub(crate) fn start(addr: SocketAddr, trust: &Trust, per_second: u32) -> Self {
        let (stop, trust) = (Arc::new(AtomicBool::new(false)), trust.clone());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second);
                let mut attempts = JoinSet::new();
                while !stopped.load(Ordering::Relaxed) {
                    pace.tick().await;
                    let trust = trust.clone();
                    attempts.spawn(async move {
                        let (begun, heard) = (Instant::now(), Arc::default());
                        let opened = trust.open(addr, &heard).await;
                        let (took, heard) = (begun.elapsed(), heard.load(Ordering::Relaxed));
                        let ended = opened.map(|(_, port)| port).map_err(|error| error.kind());
                        Attempt { begun, took, heard, ended }
                    });
                }
                attempts.join_all().await
            })
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Vec<Attempt> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// No attempt failed and none took longer than this; the slowest one's time.
pub(crate) fn assert_served(attempts: &[Attempt], limit: Duration) -> Duration {
    let failed: Vec<_> = attempts.iter().filter(|attempt| attempt.ended.is_err()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:?}", failed.len(), attempts.len());
    let slowest = attempts.iter().map(|attempt| attempt.took).max().unwrap();
    assert!(slowest < limit, "slowest of {}: {slowest:?}", attempts.len());
    slowest
}

/// One stream: where it goes, and when it ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) master: u16,
    pub(crate) ended: Option<Instant>,
}

/// Long connections, held until this is dropped.
pub(crate) struct Streams {
    seen: Arc<Mutex<Vec<Stream>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Streams {
    /// Opens streams with a message each second and waits until all are open.
    pub(crate) fn open(addr: SocketAddr, trust: &Trust, count: usize) -> Self {
        Self::with(addr, trust, count, BEAT, false)
    }

    /// Opens streams on which nothing is said and which come back when they are cut.
    pub(crate) fn quiet(addr: SocketAddr, trust: &Trust, count: usize) -> Self {
        Self::with(addr, trust, count, QUIET, true)
    }

    fn with(addr: SocketAddr, trust: &Trust, count: usize, beat: Duration, returns: bool) -> Self {
        let (seen, stop) = (Arc::<Mutex<Vec<Stream>>>::default(), Arc::<AtomicBool>::default());
        let (shared, stopped, trust) = (Arc::clone(&seen), Arc::clone(&stop), trust.clone());
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut streams = JoinSet::new();
                let opening = Arc::new(tokio::sync::Semaphore::new(OPENING));
                for _ in 0..count {
                    let permit = Arc::clone(&opening).acquire_owned().await;
                    let (shared, trust) = (Arc::clone(&shared), trust.clone());
                    streams.spawn(async move {
                        let (tls, master) = trust.open(addr, &Arc::default()).await.unwrap();
                        drop(permit);
                        hold(tls, master, beat, &shared).await;
                        if !returns {
                            return;
                        }
                        loop {
                            let (tls, master) = trust.open(addr, &Arc::default()).await.unwrap();
                            hold(tls, master, beat, &shared).await;
                        }
                    });
                }
                while !stopped.load(Ordering::Relaxed) {
                    tokio::time::sleep(BEAT / 20).await;
                }
            });
        });
        let streams = Self { seen, stop, thread: Some(thread) };
        until("all streams are open", || streams.seen.lock().len() == count);
        streams
    }

    /// The streams of one master.
    pub(crate) fn of(&self, master: u16) -> Vec<Stream> {
        self.seen.lock().iter().filter(|stream| stream.master == master).copied().collect()
    }

    /// How many have ended, over all masters.
    pub(crate) fn ended(&self) -> usize {
        self.seen.lock().iter().filter(|stream| stream.ended.is_some()).count()
    }

    /// Waits until all streams of a master have ended; the time of the last one after `since`.
    pub(crate) fn until_cut(&self, master: u16, since: Instant, limit: Duration) -> Duration {
        let all = self.of(master).len();
        let cut = || self.of(master).iter().filter(|stream| stream.ended.is_some()).count();
        while cut() < all {
            assert!(since.elapsed() < limit, "{} of {all} cut after {limit:?}", cut());
            std::thread::sleep(Duration::from_millis(10));
        }
        let ended = self.of(master).into_iter().filter_map(|stream| stream.ended).max();
        ended.unwrap().saturating_duration_since(since)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Sends and receives until the stream ends.
async fn hold(
    mut tls: TlsStream<Listening>,
    master: u16,
    beat: Duration,
    seen: &Mutex<Vec<Stream>>,
) {
    let index = {
        let mut seen = seen.lock();
        seen.push(Stream { master, ended: None });
        seen.len() - 1
    };
    let mut beat = tokio::time::interval(beat);
    let mut buffer = [0; 64];
    loop {
        let went_on = tokio::select! {
            received = tls.read(&mut buffer) => received.is_ok_and(|count| count > 0),
            _ = beat.tick() => async { tls.write_all(b"beat").await.and(tls.flush().await) }.await.is_ok(),
        };
        if !went_on {
            seen.lock()[index].ended = Some(Instant::now());
            return;
        }
    }
}

/// A socket that notes whether anything was heard on it.
pub(crate) struct Listening {
    stream: TcpStream,
    heard: Arc<AtomicBool>,
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

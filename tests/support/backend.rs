//! Stand-in backends: a thread with a listening socket that behaves as the test needs and counts.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::Pattern;
use super::refusing::{BlackHole, Refusing, bound};

/// Connections that may wait for the backend's accept.
const BACKLOG: i32 = 4096;

/// The balancer's probes connect and reset at once. A client speaks, or waits for us to for longer
/// than this.
const PROBE_TIME: Duration = Duration::from_millis(250);

/// What a backend does with a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// Sends back what it receives, and ends when the client ends.
    Echo,
    /// Checks the pattern until the client ends, then sends this many bytes of it and ends.
    ReceiveThenSend(u64),
    /// Sends this many bytes of the pattern, ends, then checks what it receives until its end.
    SendThenReceive(u64),
    /// Does both at once, sending this many bytes.
    SendAndReceive(u64),
    /// Reads and says nothing, also after the client has ended.
    Silent,
    /// Does not even read.
    Deaf,
    /// Resets the connection after the first byte.
    ResetAfterByte,
}

/// What a backend has seen of clients; probes do not count.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    accepted: AtomicU64,
    open: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    ended: AtomicU64,
    resets: AtomicU64,
    faults: AtomicU64,
}

/// A running backend; dropping it closes its port and its connections.
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    seen: Arc<Seen>,
    /// Keeps the port when the backend has died.
    place: Socket,
    /// Another handle of the listening socket.
    listening: Socket,
    stop: Option<oneshot::Sender<()>>,
    freeze: Option<oneshot::Sender<Receiver<()>>>,
    thaw: Option<SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Backend {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self::on(bound((Ipv4Addr::LOCALHOST, 0).into()), behaviour)
    }

    /// Begins to listen on a bound socket.
    pub(crate) fn on(socket: Socket, behaviour: Behaviour) -> Self {
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        let place = bound(addr);
        socket.listen(BACKLOG).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listening = socket.try_clone().unwrap();
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = oneshot::channel();
        let (freeze, frozen) = oneshot::channel();
        let shared = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(socket.into()).unwrap();
                tokio::select! {
                    _ = stopped => {}
                    () = stand_still(frozen) => {}
                    () = serve(listener, behaviour, shared) => {}
                }
            });
        });
        let (stop, freeze, thread) = (Some(stop), Some(freeze), Some(thread));
        Self { addr, seen, place, listening, stop, freeze, thaw: None, thread }
    }

    /// Closes its port and resets its connections; the port stays taken.
    pub(crate) fn die(self) -> Refusing {
        let place = self.place.try_clone().unwrap();
        drop(self);
        Refusing::on(place)
    }

    /// From now on accepts nothing and answers nothing; new handshakes are not answered either.
    pub(crate) fn go_dark(&mut self) -> BlackHole {
        let (thaw, thawed) = sync_channel(0);
        self.freeze.take().unwrap().send(thawed).unwrap();
        // Is taken when nothing else runs there any more.
        thaw.send(()).unwrap();
        self.thaw = Some(thaw);
        BlackHole::on(self.listening.try_clone().unwrap())
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.seen.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self) -> u64 {
        self.seen.open.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.seen.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.seen.received.load(Ordering::Relaxed)
    }

    /// Connections whose client ended in order.
    pub(crate) fn ended(&self) -> u64 {
        self.seen.ended.load(Ordering::Relaxed)
    }

    /// Connections that were reset by the other side.
    pub(crate) fn resets(&self) -> u64 {
        self.seen.resets.load(Ordering::Relaxed)
    }

    /// Connections on which wrong bytes arrived.
    pub(crate) fn faults(&self) -> u64 {
        self.seen.faults.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.thaw.take());
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Blocks the thread, and with it every connection, once it is told to and until it is thawed.
async fn stand_still(frozen: oneshot::Receiver<Receiver<()>>) {
    if let Ok(thawed) = frozen.await {
        while thawed.recv().is_ok() {}
    }
    std::future::pending::<()>().await;
}

async fn serve(listener: TcpListener, behaviour: Behaviour, seen: Arc<Seen>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                stream.set_nodelay(true).ok();
                connections.spawn(converse(stream, behaviour, Arc::clone(&seen)));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn converse(mut stream: TcpStream, behaviour: Behaviour, seen: Arc<Seen>) {
    let first = tokio::time::timeout(PROBE_TIME, stream.peek(&mut [0])).await;
    if matches!(first, Ok(Err(_))) {
        return;
    }
    seen.accepted.fetch_add(1, Ordering::Relaxed);
    seen.open.fetch_add(1, Ordering::Relaxed);
    let ended = act(&mut stream, behaviour, &seen).await;
    let count = match ended.map_err(|error| error.kind()) {
        Ok(()) => &seen.ended,
        Err(ErrorKind::InvalidData) => &seen.faults,
        Err(_) => &seen.resets,
    };
    count.fetch_add(1, Ordering::Relaxed);
    seen.open.fetch_sub(1, Ordering::Relaxed);
}

async fn act(stream: &mut TcpStream, behaviour: Behaviour, seen: &Seen) -> io::Result<()> {
    match behaviour {
        Behaviour::Echo => echo(stream).await,
        Behaviour::ReceiveThenSend(length) => {
            receive(stream, seen).await?;
            send(stream, length, seen).await
        }
        Behaviour::SendThenReceive(length) => {
            send(stream, length, seen).await?;
            stream.shutdown().await?;
            receive(stream, seen).await
        }
        Behaviour::SendAndReceive(length) => {
            let (mut from, mut to) = stream.split();
            let sending = async {
                send(&mut to, length, seen).await?;
                to.shutdown().await
            };
            let (sent, received) = tokio::join!(sending, receive(&mut from, seen));
            sent.and(received)
        }
        Behaviour::Silent => {
            tokio::io::copy(stream, &mut tokio::io::sink()).await?;
            stream.readable().await?;
            wait_for_reset(stream).await
        }
        Behaviour::Deaf => wait_for_reset(stream).await,
        Behaviour::ResetAfterByte => {
            stream.read_u8().await?;
            SockRef::from(&*stream).set_linger(Some(Duration::ZERO))
        }
    }
}

async fn echo(stream: &mut TcpStream) -> io::Result<()> {
    // Small, because thousands of these wait at the same time.
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.shutdown().await,
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

async fn send(to: &mut (impl AsyncWriteExt + Unpin), length: u64, seen: &Seen) -> io::Result<()> {
    let mut pattern = Pattern::new();
    while pattern.passed < length {
        let sent = to.write(pattern.next(length - pattern.passed)).await?;
        pattern.pass(sent);
        seen.sent.fetch_add(sent as u64, Ordering::Relaxed);
    }
    Ok(())
}

async fn receive(from: &mut (impl AsyncReadExt + Unpin), seen: &Seen) -> io::Result<()> {
    let mut pattern = Pattern::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        seen.received.fetch_add(count as u64, Ordering::Relaxed);
        if !pattern.matches(&buffer[..count]) {
            return Err(ErrorKind::InvalidData.into());
        }
    }
}

/// Resolves with the error of a connection that the other side reset, without reading from it.
async fn wait_for_reset(stream: &TcpStream) -> io::Result<()> {
    loop {
        stream.ready(tokio::io::Interest::ERROR).await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

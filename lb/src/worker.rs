//! The threads that move bytes: each with a runtime and sessions of its own.
//!
//! Nothing else runs on them, so no admin request, log file or Kubernetes answer can delay a byte.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::Tasks;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::balancer::{Settings, Shared};
use crate::close_reason::CloseReason;
use crate::dial::Dialer;
use crate::first_flight::Hold;
use crate::handover::Standing;
use crate::listener::{ClientPermit, Waiting, accept_loop};
use crate::relay::Relay;
use crate::session::{Session, Sessions};
use crate::socket_options::reset_on_close;

/// Time between two sweeps: the grain of idle times and of the byte counts that are shown.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// A client is left to the worker that accepted it while that has, with it, at most one or a quarter
/// more than the one with the fewest: to give it to another thread costs a wake-up.
const LEEWAY: usize = 4;

/// What the tasks of one worker share.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) sessions: Arc<Sessions>,
    /// A task for each client.
    clients: Tasks,
    /// The others; there are some until the thread ends.
    tasks: Tasks,
    runtime: Handle,
}

impl Seat {
    /// Where the next client shall be served: here, unless another worker has clearly fewer to serve.
    pub(crate) fn or_fewer<'a>(&'a self, seats: &'a [Self]) -> &'a Self {
        let alive = seats.iter().filter(|seat| seat.tasks.running() > 0);
        let fewest = alive.min_by_key(|seat| seat.clients()).unwrap_or(self);
        let least = fewest.clients();
        if self.clients() < least + (least / LEEWAY).max(1) { self } else { fewest }
    }

    /// How many clients this worker serves, with and without a backend yet.
    fn clients(&self) -> usize {
        self.clients.running()
    }

    /// Lets this worker's runtime watch the socket of a client.
    pub(crate) fn watch(&self, client: OwnedFd) -> io::Result<TcpStream> {
        let _entered = self.runtime.enter();
        TcpStream::from_std(client.into())
    }

    /// Starts the task of one client connection.
    pub(crate) fn serve(
        &self,
        shared: &Arc<Shared>,
        client: TcpStream,
        addr: SocketAddr,
        permit: ClientPermit,
    ) {
        let establishing = establish(Arc::clone(shared), Arc::clone(&self.sessions), client, addr);
        let phase = Phase::Establishing(Box::pin(establishing));
        self.clients.spawn_on(&self.runtime, ClientTask { phase, permit: Some(permit) });
    }
}

/// One client connection from accept to close. Written out: what the compiler makes of an `async fn`
/// has room for the relay twice, and thousands of idle sessions pay for it.
struct ClientTask {
    phase: Phase,
    /// Taken when the session ends.
    permit: Option<ClientPermit>,
}

/// What a client's task does.
enum Phase {
    /// Boxed, so that a session which moves bytes does not keep the room that dialling needed.
    Establishing(Pin<Box<dyn Future<Output = Option<Relay>> + Send>>),
    Moving(Relay),
    Over,
}

impl Future for ClientTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Phase::Establishing(establishing) = &mut self.phase {
            let found = ready!(establishing.as_mut().poll(cx));
            self.phase = found.map_or(Phase::Over, Phase::Moving);
        }
        if let Phase::Moving(relay) = &mut self.phase {
            let reason = ready!(Pin::new(relay).poll(cx));
            let moving = std::mem::replace(&mut self.phase, Phase::Over);
            if let (Phase::Moving(relay), Some(permit)) = (moving, self.permit.take()) {
                ended(relay, permit, reason);
            }
        }
        Poll::Ready(())
    }
}

/// A session has ended, or another process may go on with it.
fn ended(relay: Relay, permit: ClientPermit, reason: CloseReason) {
    match reason {
        CloseReason::HandedOver => relay.hand_in(permit),
        reason => permit.ended(reason),
    }
}

/// A client without a backend yet. Dropped so, it is reset: an end in order would pass for an empty
/// answer.
struct Unserved(Option<TcpStream>);

impl Drop for Unserved {
    fn drop(&mut self) {
        if let Some(client) = &self.0 {
            reset_on_close(&SockRef::from(client));
        }
    }
}

/// Finds a backend for the client; resets the client if there is none, or if we stop meanwhile.
async fn establish(
    shared: Arc<Shared>,
    sessions: Arc<Sessions>,
    client: TcpStream,
    addr: SocketAddr,
) -> Option<Relay> {
    let begun = Instant::now();
    let mut unserved = Unserved(Some(client));
    let Settings { dial, first_byte, .. } = **shared.settings.load();
    let set = shared.pool.snapshot();
    let clock = &shared.tools.clock;
    let dialer = Dialer::new(&set, clock, dial);
    match Hold::new(unserved.0.as_mut()?, dialer, clock, first_byte, &shared.crowd).find().await {
        Ok(found) => {
            shared.races_won.fetch_add(u64::from(found.races_won), Ordering::Relaxed);
            shared.replays.fetch_add(u64::from(found.replays), Ordering::Relaxed);
            let noted = shared.ledger.open(addr, begun, &found.stream, &found.flight);
            let session = Session::new(addr, found.guard, clock.now()).noted(noted);
            let entry = sessions.add(session);
            entry.moved(clock, 0, found.flight.len() as u64);
            let client = unserved.0.take()?;
            Some(Relay::new(client, found.stream, entry, Arc::clone(&shared.tools)))
        }
        Err(reason) => {
            shared.closes.add(reason);
            shared.ledger.unserved(addr, begun, reason);
            None
        }
    }
}

/// A thread of the data path.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) seat: Seat,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread and its sweeper.
    pub(crate) fn start(number: usize, shared: &Arc<Shared>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let until = stop.clone();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || runtime.block_on(until.cancelled()))?;
        let (clients, tasks) = (Tasks::new(), Tasks::new());
        let seat = Seat { sessions: Arc::default(), clients, tasks, runtime: handle };
        let (shared, sessions) = (Arc::clone(shared), Arc::clone(&seat.sessions));
        seat.tasks.spawn_anew_on(&seat.runtime, "sweep", move || {
            sweep_loop(Arc::clone(&shared), Arc::clone(&sessions), number == 0)
        });
        Ok(Self { seat, stop, thread })
    }

    /// Accepts on `listeners` until `gate` is cancelled, for all of the `seats`.
    pub(crate) fn accept(
        &self,
        shared: &Arc<Shared>,
        listeners: Vec<std::net::TcpListener>,
        gate: &CancellationToken,
        seats: &Arc<[Seat]>,
    ) {
        for listener in listeners {
            let (shared, seat, gate) = (Arc::clone(shared), self.seat.clone(), gate.clone());
            let seats = Arc::clone(seats);
            let (mut listener, mut waiting) = (Some(listener), None);
            // The gate keeps the port open: without anybody who accepts, clients would wait for ever.
            self.seat.tasks.spawn_anew_on(&self.seat.runtime, "accept", move || {
                let (shared, seat, gate) = (Arc::clone(&shared), seat.clone(), gate.clone());
                let seats = Arc::clone(&seats);
                if let Some(listener) = listener.take() {
                    waiting = watched(listener);
                }
                let waiting = waiting.clone();
                async move {
                    if let Some(waiting) = waiting {
                        gate.run_until_cancelled(accept_loop(shared, seat, waiting, seats)).await;
                    }
                }
            });
        }
    }

    /// Tasks that run on this worker.
    pub(crate) fn tasks(&self) -> usize {
        self.seat.clients() + self.seat.tasks.running()
    }

    /// Runs a task on this worker's thread.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.seat.tasks.spawn_on(&self.seat.runtime, task);
    }

    /// Lets the sessions of this worker stand still, then runs `done`.
    pub(crate) fn gather(&self, done: impl Future<Output = ()> + Send + 'static) {
        let sessions = Arc::clone(&self.seat.sessions);
        self.run(async move {
            let departing = sessions.depart();
            // Each stands as soon as its task was polled; their wake-ups are queued before ours. One
            // that never does is not waited for once everybody goes on.
            let place = &sessions.standing;
            while place.len() < departing && place.departing() {
                tokio::task::yield_now().await;
            }
            done.await;
        });
    }

    /// Goes on with these sessions and with those that stand here.
    pub(crate) fn go_on(&self, mut sessions: Vec<Standing>, done: oneshot::Sender<()>) {
        let seat = self.seat.clone();
        self.run(async move {
            let place = &seat.sessions.standing;
            place.set_departing(false);
            sessions.append(&mut place.take());
            for Standing { relay, permit } in sessions {
                relay.session().stay();
                seat.clients
                    .spawn(ClientTask { phase: Phase::Moving(relay), permit: Some(permit) });
            }
            // Nobody need wait for it.
            done.send(()).ok();
        });
    }

    /// Ends the thread; what is left of its sessions is dropped.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            error!("a worker had ended by a panic");
        }
    }
}

/// A listening socket that can be waited for.
fn watched(listener: std::net::TcpListener) -> Option<Arc<Waiting>> {
    match Waiting::new(listener) {
        Ok(waiting) => Some(Arc::new(waiting)),
        Err(error) => {
            error!(%error, "cannot watch a listening socket");
            None
        }
    }
}

/// Ends silent sessions, settles byte counts and moves the coarse clock on, for ever.
async fn sweep_loop(shared: Arc<Shared>, sessions: Arc<Sessions>, fades: bool) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut turn = 0;
    loop {
        interval.tick().await;
        turn = u32::wrapping_add(turn, 1);
        let now = shared.tools.clock.sweep();
        sessions.sweep(now, turn, &shared.settings.load().silence);
        if fades {
            let set = shared.pool.snapshot();
            set.entries.iter().for_each(|entry| entry.backend.fade());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use common::config::{Config, Layers};
    use common::events::Journal;
    use common::{Member, Source};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::budget::budget;
    use crate::health::Rank;
    use crate::pool::{BackendSet, Entry};
    use crate::{Backend, Balancer};

    #[test]
    fn an_idle_session_is_small() {
        // With what the runtime adds (112 bytes) its task is to fit into 256 bytes. A debug build
        // adds 8 bytes to each socket.
        let most = if cfg!(debug_assertions) { 160 } else { 144 };
        assert!(size_of::<ClientTask>() <= most, "{} bytes", size_of::<ClientTask>());
    }

    async fn echo(listener: TcpListener, tasks: Tasks) {
        while let Ok((mut stream, _)) = listener.accept().await {
            tasks.spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.ok();
            });
        }
    }

    async fn talk(client: &mut TcpStream) {
        client.write_all(b"ping").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
    }

    /// A balancer of two workers before a backend that echoes.
    async fn two_workers(tasks: &Tasks) -> Balancer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let member = Member {
            name: "echo".to_owned(),
            addr: listener.local_addr().unwrap(),
            source: Source::Static,
        };
        tasks.spawn_until_stopped("echo", echo(listener, tasks.clone()));
        let text = "listen = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"127.0.0.1:0\"]\nworkers = 2\n";
        let layers = Layers::from_text(text, Path::new("mainstay.toml")).unwrap();
        let config = Config::checked(&layers).unwrap();
        let balancer =
            Balancer::start(&config, budget(1_024, 12, 100, true), Journal::new()).unwrap();
        let backend = Arc::new(Backend::new(member, balancer.now()));
        let entry = Entry { backend, rank: Rank::Usual, slow_start: None };
        balancer.pool().publish(BackendSet { generation: 1, entries: vec![entry] });
        balancer.open().unwrap();
        balancer
    }

    /// However the kernel wakes the workers, also of few sessions, and when all of one end.
    #[tokio::test]
    async fn each_worker_serves_its_share() {
        let tasks = Tasks::new();
        let balancer = two_workers(&tasks).await;
        let mut sessions = Vec::new();
        for round in 0..2 {
            for number in 0..40 {
                let mut client = TcpStream::connect(balancer.listen()[number % 3]).await.unwrap();
                talk(&mut client).await;
                sessions.push(client);
                let counts = balancer.workers().iter().map(|worker| worker.seat.clients());
                let (most, least) = (counts.clone().max().unwrap(), counts.min().unwrap());
                let even = most <= least + (least / LEEWAY).max(1);
                assert!(even || round > 0 && number < 39, "{round} {number}: {most} {least}");
            }
            balancer.workers()[0].seat.sessions.cut(CloseReason::Idle, |_| true);
        }
        drop(sessions);
        balancer.emptied().await;
        balancer.stop();
        tasks.stop();
    }

    /// A worker that ended has the fewest clients for ever.
    #[tokio::test]
    async fn no_client_is_given_to_a_worker_that_ended() {
        let tasks = Tasks::new();
        let balancer = two_workers(&tasks).await;
        let ended = &balancer.workers()[0];
        ended.stop.cancel();
        while ended.tasks() > 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            talk(&mut TcpStream::connect(balancer.listen()[0]).await.unwrap()).await;
        }
        assert_eq!(balancer.accept_errors(), 0);
        balancer.stop();
        tasks.stop();
    }

    /// Panics of a session's task, in the midst of the list of sessions, and of who accepts.
    #[tokio::test]
    async fn a_panic_on_a_worker_ends_nothing_but_its_task() {
        let tasks = Tasks::new();
        let balancer = two_workers(&tasks).await;
        let addr = balancer.listen()[0];
        let mut sessions = Vec::new();
        for _ in 0..8 {
            let mut client = TcpStream::connect(addr).await.unwrap();
            talk(&mut client).await;
            sessions.push(client);
        }
        for worker in balancer.workers() {
            let sessions = Arc::clone(&worker.seat.sessions);
            worker.run(async { panic!("on purpose") });
            worker.run(async move { sessions.cut(CloseReason::Idle, |_| panic!("on purpose")) });
        }
        for client in &mut sessions {
            talk(client).await;
            talk(&mut TcpStream::connect(addr).await.unwrap()).await;
        }
        drop(sessions);
        balancer.emptied().await;
        balancer.stop();
        tasks.stop();
    }
}

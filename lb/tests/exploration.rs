//! Every short history, not a sample of them: the pool under picks, ends and changes of its members,
//! and the relay on real sockets under writes, reads, ends and polls in every order.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test ends where something is not as expected"
)]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{Member, Membership, Source};
use lb::backend::{Backend, ConnectionGuard};
use lb::clock::{Clock, Millis};
use lb::health::Rank;
use lb::pool::{BackendSet, Entry, Pool, Tried};
use lb::relay::{Pipes, Relay, RelayTools};
use lb::session::{Session, Sessions};
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

/// Calls `act` with every sequence of so many steps.
fn histories<S: Copy>(steps: &[S], length: u32, mut act: impl FnMut(&[S])) {
    let mut history = Vec::new();
    for number in 0..steps.len().pow(length) {
        history.clear();
        let mut rest = number;
        for _ in 0..length {
            history.push(steps[rest % steps.len()]);
            rest /= steps.len();
        }
        act(&history);
    }
}

/// What may happen to a pool.
#[derive(Clone, Copy, Debug)]
enum Event {
    Connect,
    OldestEnds,
    NewestEnds,
    /// These are the members from now on, by bits.
    Members(u8),
}

const EVENTS: [Event; 7] = [
    Event::Connect,
    Event::OldestEnds,
    Event::NewestEnds,
    Event::Members(0b00),
    Event::Members(0b01),
    Event::Members(0b10),
    Event::Members(0b11),
];

fn addr(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 6443))
}

/// A pool, and what is true of it by a simpler account.
struct World {
    pool: Pool,
    members: u8,
    generation: u64,
    held: Vec<ConnectionGuard>,
}

impl World {
    fn new() -> Self {
        let mut world = Self { pool: Pool::default(), members: 0, generation: 0, held: Vec::new() };
        world.happens(Event::Members(0b11));
        world
    }

    fn is_member(&self, number: u8) -> bool {
        self.members & (1 << number) != 0
    }

    fn held_by(&self, number: u8) -> usize {
        let on = |guard: &&ConnectionGuard| guard.backend().member.addr == addr(number);
        self.held.iter().filter(on).count()
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Connect => self.connect(),
            Event::OldestEnds if !self.held.is_empty() => drop(self.held.remove(0)),
            Event::NewestEnds => drop(self.held.pop()),
            Event::OldestEnds => {}
            Event::Members(members) => {
                self.members = members;
                self.generation += 1;
                let member = |number: u8| Member {
                    name: number.to_string(),
                    addr: addr(number),
                    source: Source::Static,
                };
                let numbers = (0..2).filter(|number| self.is_member(*number));
                let members = numbers.map(member).collect();
                let membership = Membership { generation: self.generation, members };
                let backends = self.pool.backends_of(&membership, Millis(0)).into_iter();
                let entry = |backend| Entry { backend, rank: Rank::Usual, slow_start: None };
                let entries = backends.map(entry).collect();
                self.pool.publish(BackendSet { generation: self.generation, entries });
            }
        }
    }

    fn connect(&mut self) {
        let least = (0..2).filter(|number| self.is_member(*number)).map(|n| self.held_by(n)).min();
        let set = self.pool.snapshot();
        let guard = set.pick(&mut Tried::default(), Millis(0), Duration::from_secs(2));
        assert_eq!(guard.is_some(), least.is_some(), "there is one if there is a member");
        let Some(guard) = guard else { return };
        let number = (0..2).find(|number| addr(*number) == guard.backend().member.addr).unwrap();
        assert!(self.is_member(number));
        assert_eq!(Some(self.held_by(number)), least, "least connections");
        self.held.push(guard);
    }

    fn check(&self) {
        assert_eq!(self.pool.snapshot().generation, self.generation);
        let retired = self.pool.retired();
        for number in 0..2 {
            let held = self.held_by(number);
            let backend = self.pool.backend_at(addr(number));
            assert_eq!(backend.map_or(0, |it| it.load() as usize), held, "no count is lost");
            let is_retired = retired.iter().any(|it| it.member.addr == addr(number));
            assert_eq!(is_retired, held > 0 && !self.is_member(number));
        }
    }
}

#[test]
fn the_pool_keeps_its_counts_in_every_short_history() {
    histories(&EVENTS, 6, |history| {
        let mut world = World::new();
        for event in history {
            world.happens(*event);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.check()));
            assert!(checked.is_ok(), "in {history:?}");
        }
        world.held.clear();
        world.check();
    });
}

/// What may happen to a session: at its two ends, and a turn for the relay.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The client writes a message.
    Says,
    /// The client writes more than a full read, as far as there is room.
    Pours,
    ClientEnds,
    /// The backend reads a part.
    Sips,
    /// The backend reads what has come.
    Drinks,
    /// The backend writes a message.
    Answers,
    BackendEnds,
    /// The relay has its turn.
    Moves,
}

const STEPS: [Step; 8] = [
    Step::Says,
    Step::Pours,
    Step::ClientEnds,
    Step::Sips,
    Step::Drinks,
    Step::Answers,
    Step::BackendEnds,
    Step::Moves,
];

/// Room in each socket's buffers: a pour does not fit through, so that the relay must hold bytes.
const ROOM: usize = 48 * 1024;
/// Steps of a history.
const LENGTH: u32 = 5;
const MESSAGE: usize = 100;
const POUR: usize = 160 * 1024;

/// What every stream consists of: no part is like another, so that a loss or a repetition shows.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let byte = |n: usize| (n.wrapping_mul(0x9E37_79B1) >> 11) as u8;
    (0..(LENGTH as usize) * POUR).map(byte).collect()
});

/// An outer end of the session, with what it sent and received.
struct End {
    stream: TcpStream,
    sent: usize,
    received: usize,
    ended: bool,
}

impl End {
    fn says(&mut self, most: usize) {
        if self.ended {
            return;
        }
        let mut rest = &BYTES[self.sent..self.sent + most];
        while let Ok(wrote) = self.stream.try_write(rest) {
            self.sent += wrote;
            rest = &rest[wrote..];
            if rest.is_empty() {
                return;
            }
        }
    }

    fn reads(&mut self, mut most: usize) {
        let mut buffer = vec![0; most.min(1 << 16)];
        while most > 0 {
            let part = buffer.len().min(most);
            match self.stream.try_read(&mut buffer[..part]) {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    self.took(&buffer[..count]);
                    most -= count;
                }
            }
        }
    }

    fn took(&mut self, bytes: &[u8]) {
        let expected = &BYTES[self.received..][..bytes.len()];
        assert!(bytes == expected, "a wrong byte after {}", self.received);
        self.received += bytes.len();
    }

    fn ends(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write).unwrap();
        }
    }

    /// Ends, and reads until the other end has.
    async fn finishes(&mut self) {
        self.ends();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.stream.read(&mut buffer).await.unwrap() {
                0 => return,
                count => self.took(&buffer[..count]),
            }
        }
    }
}

async fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (outer, accepted) = tokio::join!(connect, listener.accept());
    let (outer, inner) = (outer.unwrap(), accepted.unwrap().0);
    for stream in [&outer, &inner] {
        stream.set_nodelay(true).unwrap();
        SockRef::from(stream).set_send_buffer_size(ROOM).unwrap();
    }
    (outer, inner)
}

struct Scene {
    client: End,
    backend: End,
    /// `None` when it is over.
    relay: Option<Relay>,
    tools: Arc<RelayTools>,
    sessions: Arc<Sessions>,
}

impl Scene {
    async fn new(listener: &TcpListener, pipes: usize) -> Self {
        let (client, inner_client) = pair(listener).await;
        // As in the program: the relay was connected to by the client, and connected to the backend.
        let (inner_backend, backend) = pair(listener).await;
        let tools = Arc::new(RelayTools { clock: Clock::default(), pipes: Pipes::new(pipes) });
        let member = Member { name: "a".into(), addr: addr(1), source: Source::Static };
        let guard = Arc::new(Backend::new(member, Millis(0))).reserve_anyway();
        let sessions = Arc::new(Sessions::default());
        let entry = sessions.add(Session::new(client.local_addr().unwrap(), guard, Millis(0)));
        let relay = Relay::new(inner_client, inner_backend, entry, Arc::clone(&tools));
        let end = |stream| End { stream, sent: 0, received: 0, ended: false };
        let (client, backend) = (end(client), end(backend));
        Self { client, backend, relay: Some(relay), tools, sessions }
    }

    async fn steps(&mut self, step: Step) {
        match step {
            Step::Says => self.client.says(MESSAGE),
            Step::Pours => self.client.says(POUR),
            Step::ClientEnds => self.client.ends(),
            Step::Sips => self.backend.reads(1000),
            Step::Drinks => self.backend.reads(usize::MAX),
            Step::Answers => self.backend.says(MESSAGE),
            Step::BackendEnds => self.backend.ends(),
            Step::Moves => self.moves(),
        }
        // Lets the runtime ask the kernel which sockets are ready.
        tokio::task::yield_now().await;
    }

    fn moves(&mut self) {
        let Some(relay) = &mut self.relay else { return };
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(reason) = Pin::new(relay).poll(&mut cx) {
            assert!(!reason.is_reset(), "{reason:?}");
            assert!(self.client.ended && self.backend.ended);
            self.relay = None;
        }
    }

    /// Both ends end and read what is left.
    async fn finishes(mut self) {
        let relay = async {
            if let Some(relay) = self.relay {
                assert!(!relay.await.is_reset());
            }
        };
        tokio::join!(relay, self.client.finishes(), self.backend.finishes());
        assert_eq!(self.backend.received, self.client.sent);
        assert_eq!(self.client.received, self.backend.sent);
        assert_eq!(self.tools.pipes.in_use(), 0);
        assert!(self.sessions.is_empty());
    }
}

#[test]
fn the_relay_loses_no_byte_in_every_short_history() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Accepted sockets inherit it; it can only be narrowed before a connection begins.
        SockRef::from(&listener).set_recv_buffer_size(ROOM).unwrap();
        listener
    });
    let (mut told, mut spliced, mut denied) = (0, 0, 0);
    histories(&STEPS, LENGTH, |history| {
        // Every other one has no pipe, so that bulk is copied.
        told += 1;
        let whole = async {
            let mut scene = Scene::new(&listener, told % 2).await;
            for step in history {
                scene.steps(*step).await;
                spliced += scene.tools.pipes.in_use();
            }
            denied += scene.tools.pipes.denied();
            scene.finishes().await;
        };
        let limit = Duration::from_secs(10);
        let ended = runtime.block_on(async { tokio::time::timeout(limit, whole).await });
        assert!(ended.is_ok(), "does not end: {history:?}");
    });
    assert!(spliced > 0 && denied > 0, "both movers have bulk to hold: {spliced} {denied}");
}

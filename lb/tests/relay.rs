//! The relay on real sockets: whatever sizes, stalls, half-closes and switches between movers a
//! session has, every byte arrives once and in order.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::let_underscore_must_use,
    reason = "a test ends where something is not as expected"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Member, Source};
use lb::CloseReason;
use lb::backend::Backend;
use lb::clock::{Clock, Millis};
use lb::relay::{Pipes, Relay, RelayTools};
use lb::session::{Session, Sessions};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// Reads that follow the script, which begins anew at its end; later ones are large and do not
/// pause. A script of tiny reads with pauses would else need minutes for a megabyte.
const SCRIPTED_READS_MAX: usize = 200;

/// A session whose two outer ends the test holds.
struct Bench {
    client: TcpStream,
    backend: TcpStream,
    relay: JoinHandle<CloseReason>,
    tools: Arc<RelayTools>,
    sessions: Arc<Sessions>,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (outer, accepted) = tokio::join!(connect, listener.accept());
    (outer.unwrap(), accepted.unwrap().0)
}

impl Bench {
    async fn new(pipes: usize) -> Self {
        let (client, inner_client) = pair().await;
        let (backend, inner_backend) = pair().await;
        let tools = Arc::new(RelayTools { clock: Clock::default(), pipes: Pipes::new(pipes) });
        let addr: SocketAddr = "10.0.0.1:6443".parse().unwrap();
        let member = Member { name: "a".into(), addr, source: Source::Static };
        let guard = Arc::new(Backend::new(member, Millis(0))).reserve_anyway();
        let sessions = Arc::new(Sessions::default());
        let entry = sessions.add(Session::new(client.local_addr().unwrap(), guard, Millis(0)));
        let relay = Relay::new(inner_client, inner_backend, entry, Arc::clone(&tools));
        #[expect(clippy::disallowed_methods, reason = "the test itself waits for the task")]
        let relay = tokio::spawn(relay);
        Self { client, backend, relay, tools, sessions }
    }

    async fn reason(self) -> CloseReason {
        tokio::time::timeout(DEADLINE, self.relay).await.unwrap().unwrap()
    }
}

/// Byte number `n` of every stream: position-dependent, so that a loss or a repetition shows.
fn byte(n: usize) -> u8 {
    (n.wrapping_mul(0x9E37_79B1) >> 11) as u8
}

/// One step of a writer or a reader: so many bytes, then perhaps a pause.
#[derive(Clone, Debug)]
struct Step {
    bytes: usize,
    pause: bool,
}

fn steps(bytes_max: usize) -> impl Strategy<Value = Vec<Step>> {
    let sizes = prop_oneof![4 => 1usize..200, 2 => 200usize..20_000, 2 => 60_000usize..bytes_max];
    let step = (sizes, prop::bool::weighted(0.2)).prop_map(|(bytes, pause)| Step { bytes, pause });
    prop::collection::vec(step, 0..24)
}

async fn rest(pause: bool) {
    if pause {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn write(mut to: tokio::net::tcp::OwnedWriteHalf, script: Vec<Step>) -> usize {
    let mut sent = 0;
    for step in script {
        let chunk: Vec<u8> = (sent..sent + step.bytes).map(byte).collect();
        to.write_all(&chunk).await.unwrap();
        sent += step.bytes;
        rest(step.pause).await;
    }
    to.shutdown().await.unwrap();
    sent
}

async fn read(mut from: tokio::net::tcp::OwnedReadHalf, script: Vec<Step>) -> usize {
    let mut received = 0;
    let mut script = script.into_iter().cycle().take(SCRIPTED_READS_MAX);
    loop {
        let step = script.next().unwrap_or(Step { bytes: 70_000, pause: false });
        let mut buffer = vec![0; step.bytes];
        let count = from.read(&mut buffer).await.unwrap();
        if count == 0 {
            return received;
        }
        let wrong = (0..count).find(|at| buffer[*at] != byte(received + at));
        assert_eq!(wrong, None, "a wrong byte after {received}");
        received += count;
        rest(step.pause).await;
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.unwrap() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_byte_arrives_once_and_in_order(
        up in steps(400_000), down in steps(400_000),
        up_reader in steps(100_000), down_reader in steps(100_000),
        pipes in 0usize..3,
    ) {
        run(async {
            let bench = Bench::new(pipes).await;
            let (client_read, client_write) = bench.client.into_split();
            let (backend_read, backend_write) = bench.backend.into_split();
            let (sent_up, got_up, sent_down, got_down) = tokio::join!(
                write(client_write, up),
                read(backend_read, up_reader),
                write(backend_write, down),
                read(client_read, down_reader),
            );
            assert_eq!((sent_up, sent_down), (got_up, got_down));
            assert!(!bench.relay.await.unwrap().is_reset());
            assert_eq!(bench.tools.pipes.in_use(), 0);
            assert!(bench.sessions.is_empty());
        });
    }
}

#[test]
fn bulk_goes_through_a_pipe_and_gives_it_back() {
    run(async {
        let Bench { mut client, mut backend, tools, .. } = Bench::new(1).await;
        let chunk: Vec<u8> = vec![7; 20 << 20];
        let reading = async {
            let (mut sink, mut pipe_seen) = (vec![0; 1 << 20], false);
            for _ in 0..20 {
                client.read_exact(&mut sink).await.unwrap();
                pipe_seen |= tools.pipes.in_use() > 0;
            }
            pipe_seen
        };
        let (wrote, pipe_seen) = tokio::join!(backend.write_all(&chunk), reading);
        wrote.unwrap();
        assert!(pipe_seen, "bulk was copied");
        while tools.pipes.in_use() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn an_ended_client_still_receives() {
    run(async {
        let mut bench = Bench::new(1).await;
        bench.client.shutdown().await.unwrap();
        let mut seen = Vec::new();
        bench.backend.read_to_end(&mut seen).await.unwrap();
        bench.backend.write_all(b"late answer").await.unwrap();
        bench.backend.shutdown().await.unwrap();
        bench.client.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"late answer");
        assert_eq!(bench.reason().await, CloseReason::ClientEnded);
    });
}

#[test]
fn a_reset_of_either_side_reaches_the_other_as_a_reset() {
    run(async {
        let mut bench = Bench::new(1).await;
        bench.client.set_zero_linger().unwrap();
        drop(bench.client);
        let error = bench.backend.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(bench.relay.await.unwrap(), CloseReason::ClientReset);

        let mut bench = Bench::new(1).await;
        bench.backend.set_zero_linger().unwrap();
        drop(bench.backend);
        let error = bench.client.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(bench.relay.await.unwrap(), CloseReason::BackendReset);
    });
}

#[test]
fn what_the_backend_said_before_it_closed_arrives() {
    run(async {
        let mut bench = Bench::new(1).await;
        bench.backend.write_all(b"refused: too large").await.unwrap();
        drop(bench.backend);
        let mut seen = vec![0; 18];
        bench.client.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, b"refused: too large");
    });
}

#[test]
fn a_cut_resets_both_sides_at_once() {
    run(async {
        let mut bench = Bench::new(1).await;
        bench.sessions.cut(CloseReason::Stopping, |_| true);
        for end in [&mut bench.client, &mut bench.backend] {
            let error = end.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert_eq!(bench.reason().await, CloseReason::Stopping);
    });
}

#[test]
fn a_cut_in_the_middle_of_bulk_leaves_no_pipe_behind() {
    run(async {
        let mut bench = Bench::new(1).await;
        let chunk = vec![7; 16 << 20];
        // Nobody reads: the pipe stays full until the session is cut.
        tokio::time::timeout(Duration::from_millis(300), bench.backend.write_all(&chunk))
            .await
            .ok();
        bench.sessions.cut(CloseReason::Idle, |_| true);
        let tools = Arc::clone(&bench.tools);
        assert_eq!(bench.reason().await, CloseReason::Idle);
        assert_eq!(tools.pipes.in_use(), 0);
    });
}

#[test]
fn an_idle_session_is_small() {
    // Two sockets, two directions, a pointer to the session and one to the tools; no buffer.
    // A debug build adds 8 bytes to each socket.
    let most = if cfg!(debug_assertions) { 144 } else { 128 };
    assert!(size_of::<Relay>() <= most, "{} bytes", size_of::<Relay>());
    assert!(size_of::<Session>() <= 112, "{} bytes", size_of::<Session>());
}

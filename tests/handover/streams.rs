//! Many streams with data flowing, many hand-overs in a row: what a stream notices is a pause.
//!
//! `MAINSTAY_STREAMS` and `MAINSTAY_HANDOVERS` make it larger, `MAINSTAY_PROGRAM` names another build
//! (`make handover`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::giver::hand_over;
use crate::support::{Backend, Behaviour, Setup, process, skipped, until};

/// Mean time between two messages of a stream.
const BEAT: Duration = Duration::from_millis(20);

/// Bytes of a message.
const MESSAGE: usize = 64;

fn streams() -> usize {
    number("MAINSTAY_STREAMS", 300)
}

fn handovers() -> usize {
    number("MAINSTAY_HANDOVERS", 5)
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// What the streams have seen.
#[derive(Default)]
struct Seen {
    running: AtomicU64,
    messages: AtomicU64,
    /// Hand-overs that have begun.
    handovers: AtomicUsize,
    stop: AtomicBool,
}

/// The longest round trip of a stream from each hand-over to the next; the first is from before
/// them, so what the test itself costs.
type Longest = Vec<Duration>;

/// Sends numbered messages and reads them back, one after the other.
async fn converse(addr: std::net::SocketAddr, seen: Arc<Seen>) -> Longest {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut longest = vec![Duration::ZERO; 1 + handovers()];
    let mut message = [0; MESSAGE];
    for number in 0_u64.. {
        message[..8].copy_from_slice(&number.to_le_bytes());
        let begun = Instant::now();
        let during = seen.handovers.load(Ordering::Relaxed);
        stream.write_all(&message).await.unwrap();
        let mut back = [0; MESSAGE];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, message, "another message came back");
        if number == 0 {
            seen.running.fetch_add(1, Ordering::Relaxed);
        } else if seen.running.load(Ordering::Relaxed) == streams() as u64 {
            longest[during] = longest[during].max(begun.elapsed());
        }
        seen.messages.fetch_add(1, Ordering::Relaxed);
        if seen.stop.load(Ordering::Relaxed) {
            break;
        }
        // Those that waited in one hand-over would otherwise speak in step from then on, and wait for
        // each other.
        let pause = BEAT * number_of_beats();
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the stream ends in order");
    longest
}

/// Large runs speak less often, so that they measure the balancer and not the test.
fn number_of_beats() -> u32 {
    u32::try_from(number("MAINSTAY_STREAMS", 0) / 200).unwrap().max(1)
}

#[test]
fn streams_notice_a_pause_at_most() {
    let (streams, handovers) = (streams(), handovers());
    if !process::raise_descriptors(streams as u64 * 2 + 200) {
        skipped(format!("{streams} streams need more open files than this process may have"));
        return;
    }
    let backends = [(); 3].map(|()| Backend::new(Behaviour::Echo));
    let addrs: Vec<_> = backends.iter().map(|backend| backend.addr).collect();
    let mut setup = Setup::backends(&addrs);
    if let Some(program) = std::env::var_os("MAINSTAY_PROGRAM") {
        setup = setup.program(program.into());
    }
    let balancer = setup.start();
    let addr = balancer.addr;
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    let talking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..streams {
                all.spawn(converse(addr, Arc::clone(&shared)));
                while all.len() as u64 > shared.running.load(Ordering::Relaxed) + 100 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            all.join_all().await
        })
    });
    until("every stream runs", || seen.running.load(Ordering::Relaxed) == streams as u64);
    let ten_each = |seen: &Seen| seen.messages.load(Ordering::Relaxed) > 10 * streams as u64;
    until("ten messages of each", || ten_each(&seen));
    let mut pauses = Vec::new();
    for _ in 0..handovers {
        seen.handovers.fetch_add(1, Ordering::Relaxed);
        let before = seen.messages.load(Ordering::Relaxed);
        let took_over = hand_over(&balancer);
        assert_eq!(took_over.sessions, streams as u64, "every session is handed over");
        pauses.push(took_over.paused_ms);
        until("data flows", || seen.messages.load(Ordering::Relaxed) > before + streams as u64);
    }
    seen.stop.store(true, Ordering::Relaxed);
    let longest = talking.join().unwrap();
    let calm = spread(longest.iter().map(|of_stream| of_stream[0]).collect());
    let moving = spread(longest.iter().flat_map(|of_stream| &of_stream[1..]).copied().collect());
    pauses.sort_unstable();
    eprintln!(
        "{streams} streams, {handovers} hand-overs, {} messages: longest round trip of each \
         stream in each hand-over {moving}, before them {calm}; sessions stood still {} ms \
         (median), {} ms (worst)",
        seen.messages.load(Ordering::Relaxed),
        pauses[pauses.len() / 2],
        pauses[pauses.len() - 1],
    );
    until("every session is over", || balancer.status().connections.open == 0);
    let resets: u64 = backends.iter().map(Backend::resets).sum();
    assert_eq!(resets, 0);
    let ended = balancer.closed("client_ended");
    assert_eq!(ended, streams as f64, "every session has ended once, in order");
}

/// Median, 99th percentile and largest of what the streams saw.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    format!("p50 {:.0?}, p99 {:.0?}, worst {:.0?}", at(50), at(99), at(100))
}

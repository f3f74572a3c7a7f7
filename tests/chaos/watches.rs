//! Clients with long streams, as kubelets and controllers have them: they come back when they are
//! cut, and note when they heard something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::clients::Trust;
use crate::support::until;

/// Streams on which something is said every [`BEAT`].
pub(crate) const TALKING: usize = 20;

/// Streams on which nothing is said but a ping every [`PING`].
pub(crate) const QUIET: usize = 10;

const BEAT: Duration = Duration::from_millis(500);

/// client-go asks on a connection that was silent for so long.
const PING: Duration = Duration::from_secs(30);

/// Wait before a stream comes back.
const BACK_OFF: Duration = Duration::from_millis(200);

/// One connection of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) master: u16,
    pub(crate) begun: Instant,
    pub(crate) ended: Option<Instant>,
}

/// What is known of one talking stream.
#[derive(Clone, Copy, Debug)]
struct Silence {
    heard: Instant,
    longest: Duration,
}

#[derive(Default)]
struct Seen {
    sessions: Mutex<Vec<Session>>,
    silences: Mutex<Vec<Silence>>,
}

/// All streams of one balancer.
pub(crate) struct Watches {
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watches {
    /// Opens all and waits until they are open.
    pub(crate) fn open(addr: SocketAddr, trust: &Trust) -> Self {
        let (seen, stop) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
        let (shared, stopped, trust) = (Arc::clone(&seen), Arc::clone(&stop), trust.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let mut streams = JoinSet::new();
                for index in 0..TALKING + QUIET {
                    streams.spawn(keep(addr, trust.clone(), index < TALKING, Arc::clone(&shared)));
                }
                while !stopped.load(Ordering::Relaxed) {
                    tokio::time::sleep(BEAT / 10).await;
                }
            });
        });
        let watches = Self { seen, stop, thread: Some(thread) };
        until("all streams are open", || {
            watches.seen.sessions.lock().len() >= TALKING + QUIET
                && watches.seen.silences.lock().len() == TALKING
        });
        watches
    }

    /// Forgets the silences so far.
    pub(crate) fn mark(&self) {
        let now = Instant::now();
        self.seen.silences.lock().iter_mut().for_each(|one| {
            *one = Silence { heard: now, longest: Duration::ZERO };
        });
    }

    /// The longest silence since the mark, also one that lasts.
    pub(crate) fn longest_silence(&self) -> Duration {
        let silences = self.seen.silences.lock();
        silences.iter().map(|one| one.longest.max(one.heard.elapsed())).max().unwrap()
    }

    pub(crate) fn sessions(&self) -> Vec<Session> {
        self.seen.sessions.lock().clone()
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Opens a stream again and again.
async fn keep(addr: SocketAddr, trust: Trust, talks: bool, seen: Arc<Seen>) {
    let mut silence = None;
    loop {
        let opened = trust.open(addr, &Arc::default()).await;
        let Ok((mut tls, master)) = opened else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        let session = {
            let mut sessions = seen.sessions.lock();
            sessions.push(Session { master, begun: Instant::now(), ended: None });
            sessions.len() - 1
        };
        let mut say = tokio::time::interval(if talks { BEAT } else { PING });
        let mut buffer = [0; 64];
        loop {
            let went_on = tokio::select! {
                received = tls.read(&mut buffer) => {
                    let went_on = received.is_ok_and(|count| count > 0);
                    if went_on && talks {
                        hear(&seen, &mut silence);
                    }
                    went_on
                }
                _ = say.tick() => async {
                    tls.write_all(b"beat").await?;
                    tls.flush().await
                }.await.is_ok(),
            };
            if !went_on {
                break;
            }
        }
        seen.sessions.lock()[session].ended = Some(Instant::now());
        tokio::time::sleep(BACK_OFF).await;
    }
}

fn hear(seen: &Seen, own: &mut Option<usize>) {
    let (now, mut silences) = (Instant::now(), seen.silences.lock());
    let index = *own.get_or_insert_with(|| {
        silences.push(Silence { heard: now, longest: Duration::ZERO });
        silences.len() - 1
    });
    let one = &mut silences[index];
    one.longest = one.longest.max(now.saturating_duration_since(one.heard));
    one.heard = now;
}

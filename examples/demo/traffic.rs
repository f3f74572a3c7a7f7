//! The clients: short requests without pause, and a few long streams, all through the balancer.
//!
//! A connection that is open when its master dies breaks: no balancer can prevent that, and real
//! clients (client-go) repeat such a request. Those are counted apart. Any other failure counts as
//! failed, and there should be none: whoever connects after the death must not notice it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::Tasks;
use parking_lot::Mutex;

use crate::client::Client;

/// Clients that make one short request after the other.
const SHORT_CLIENTS: usize = 6;

/// Pause of such a client between two requests: about 100 requests a second in all.
const PAUSE: Duration = Duration::from_millis(50);

/// Streams that stay open, as each kubelet and each controller has.
const STREAMS: usize = 9;

/// Attempts for one request whose master dies while it answers.
const ATTEMPTS: usize = 3;

/// A client on the same machine notices sooner than this that its connection was cut, also when the
/// machine is busy.
const NOTICED: Duration = Duration::from_secs(5);

/// Head start of the streams, so that the audience sees them spread alone.
const HEAD_START: Duration = Duration::from_millis(700);

/// What the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests answered.
    pub(crate) answered: AtomicU64,
    /// Requests and streams cut off because their master died, and repeated.
    pub(crate) repeated: AtomicU64,
    /// Requests and streams that failed for any other reason.
    pub(crate) failed: AtomicU64,
    /// Streams open now.
    pub(crate) streams: AtomicU64,
    first_failure: Mutex<Option<String>>,
    death: Mutex<Death>,
}

/// The latest death of a master.
#[derive(Clone, Copy, Debug, Default)]
enum Death {
    #[default]
    None,
    /// Its connections are being cut.
    Now,
    /// Its last connection was cut then.
    At(Instant),
}

impl Counts {
    /// The reason of the first failure.
    pub(crate) fn first_failure(&self) -> Option<String> {
        self.first_failure.lock().clone()
    }

    /// Whether something that began at `begun` and broke was cut off by the death of a master.
    fn cut_off(&self, begun: Instant) -> bool {
        match *self.death.lock() {
            Death::None => false,
            Death::Now => true,
            Death::At(end) => begun <= end && end.elapsed() < NOTICED,
        }
    }

    fn fail(&self, error: &anyhow::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.first_failure.lock().get_or_insert_with(|| format!("{error:#}"));
    }
}

/// The clients.
pub(crate) struct Traffic {
    client: Client,
    counts: Arc<Counts>,
    tasks: Tasks,
}

impl Traffic {
    /// Clients that do nothing yet.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, counts: Arc::default(), tasks: Tasks::new() }
    }

    /// Starts all clients.
    pub(crate) fn begin(&self) {
        let Self { client, counts, tasks } = self;
        for _ in 0..STREAMS {
            let streaming = keep_stream(client.clone(), Arc::clone(counts), tasks.clone());
            tasks.spawn_until_stopped("stream", streaming);
        }
        for number in 0..SHORT_CLIENTS {
            let asking = keep_asking(number, client.clone(), Arc::clone(counts), tasks.clone());
            tasks.spawn_until_stopped("requests", asking);
        }
    }

    /// What the clients saw so far.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Runs `death`, during which connections of the dying master break.
    pub(crate) async fn during_death<T>(&self, death: impl Future<Output = T>) -> T {
        *self.counts.death.lock() = Death::Now;
        let done = death.await;
        *self.counts.death.lock() = Death::At(Instant::now());
        done
    }

    /// Ends all clients; what they have not finished is not counted.
    pub(crate) async fn stop(&self) {
        self.tasks.stop();
        self.tasks.finished().await;
    }
}

/// Makes one short request after the other until it is dropped.
async fn keep_asking(number: usize, client: Client, counts: Arc<Counts>, tasks: Tasks) {
    let paths = ["/readyz", "/version", "/api"];
    let path = paths.get(number % paths.len()).unwrap_or(&"/readyz");
    tokio::time::sleep(HEAD_START).await;
    loop {
        ask(path, &client, &counts, &tasks).await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// One request, repeated if its master dies meanwhile.
async fn ask(path: &str, client: &Client, counts: &Counts, tasks: &Tasks) {
    for attempt in 1..=ATTEMPTS {
        let begun = Instant::now();
        match client.get(path, tasks).await {
            Ok(()) => {
                counts.answered.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(_) if attempt < ATTEMPTS && counts.cut_off(begun) => {
                counts.repeated.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => return counts.fail(&error),
        }
    }
}

/// Keeps one stream open until it is dropped; opens it anew when it breaks.
async fn keep_stream(client: Client, counts: Arc<Counts>, tasks: Tasks) {
    loop {
        let begun = Instant::now();
        let mut lasting = None;
        let path = "/api/v1/namespaces?watch=true";
        let opened = || lasting = Some(StreamOpen::new(&counts));
        let error = client.watch(path, &tasks, opened).await;
        drop(lasting);
        if counts.cut_off(begun) {
            counts.repeated.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.fail(&error);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// One open stream, counted until it is dropped.
struct StreamOpen<'a>(&'a Counts);

impl<'a> StreamOpen<'a> {
    fn new(counts: &'a Counts) -> Self {
        counts.streams.fetch_add(1, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for StreamOpen<'_> {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

//! One single-threaded runtime a core, with sockets dealt out in turn. The load generator and the
//! backends share two cores with the proxy under test; work stealing would cost more than it wins,
//! and a kernel's hash would put all of eight streams on one thread.

use std::{
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How long an accept loop rests after an error, so that it does not spin while descriptors are
/// short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Work for one thread: it is called on the thread, and spawns what it needs into the set.
type Job = Box<dyn FnOnce(&mut JoinSet<()>) + Send>;

/// A fixed number of threads; dropping it ends all tasks on them and waits for the threads.
pub(crate) struct Threads {
    jobs: Vec<mpsc::UnboundedSender<Job>>,
    handles: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Threads {
    /// Starts `count` threads.
    pub(crate) fn start(count: usize) -> Result<Self> {
        let mut threads =
            Self { jobs: Vec::new(), handles: Vec::new(), stop: CancellationToken::new() };
        for _ in 0..count {
            let (sender, jobs) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let stop = threads.stop.clone();
            let handle = thread::Builder::new()
                .name("bench-worker".to_owned())
                .spawn(move || runtime.block_on(work(jobs, stop)))?;
            threads.jobs.push(sender);
            threads.handles.push(handle);
        }
        Ok(threads)
    }

    /// How many threads there are.
    pub(crate) fn count(&self) -> usize {
        self.jobs.len()
    }

    /// Runs `job` on the thread whose turn the number `turn` is.
    pub(crate) fn run(
        &self,
        turn: usize,
        job: impl FnOnce(&mut JoinSet<()>) + Send + 'static,
    ) -> Result<()> {
        send(&self.jobs, turn, Box::new(job))
    }

    /// Accepts on `listener` for ever and runs `serve` for each connection, on each thread in turn.
    pub(crate) fn accept<F>(&self, listener: TcpListener, serve: F) -> Result<()>
    where
        F: Fn(tokio::net::TcpStream, &mut JoinSet<()>) + Send + Sync + 'static,
    {
        listener.set_nonblocking(true).context("making the listener non-blocking")?;
        let jobs = self.jobs.clone();
        let serve = Arc::new(serve);
        self.run(0, move |tasks| {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                return;
            };
            tasks.spawn(accept(listener, jobs, serve));
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.cancel();
        for handle in self.handles.drain(..) {
            // A panic was already printed by the thread itself.
            handle.join().ok();
        }
    }
}

fn send(jobs: &[mpsc::UnboundedSender<Job>], turn: usize, job: Job) -> Result<()> {
    let thread = jobs.get(turn % jobs.len().max(1)).context("there are no threads")?;
    thread.send(job).map_err(|_| anyhow!("the thread has ended"))
}

/// The life of a thread: takes jobs, forgets finished tasks. Both waits are cancel-safe.
async fn work(mut jobs: mpsc::UnboundedReceiver<Job>, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(job) = jobs.recv() => job(&mut tasks),
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Deals connections to the threads for as long as there are any.
async fn accept<F>(
    listener: tokio::net::TcpListener,
    jobs: Vec<mpsc::UnboundedSender<Job>>,
    serve: Arc<F>,
) where
    F: Fn(tokio::net::TcpStream, &mut JoinSet<()>) + Send + Sync + 'static,
{
    for turn in 0.. {
        // The stream leaves this thread's runtime, because another one may serve it.
        match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                let serve = Arc::clone(&serve);
                let job: Job = Box::new(move |tasks| hand_over(stream, &*serve, tasks));
                if send(&jobs, turn, job).is_err() {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Registers the stream with the runtime of the thread that will serve it. A connection that is
/// already dead is dropped here.
fn hand_over<F>(stream: TcpStream, serve: &F, tasks: &mut JoinSet<()>)
where
    F: Fn(tokio::net::TcpStream, &mut JoinSet<()>),
{
    let stream = stream.set_nodelay(true).and_then(|()| tokio::net::TcpStream::from_std(stream));
    if let Ok(stream) = stream {
        serve(stream, tasks);
    }
}

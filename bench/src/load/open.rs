//! Requests at a fixed rate, whether or not the answers come. Each latency counts from the moment
//! the request was due, so that a proxy that stalls is charged for every request it kept waiting,
//! not only for the one that was under way (no coordinated omission).

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{io::unix::AsyncFd, sync::mpsc};

use super::{
    RETRY_PAUSE,
    exchange::Client,
    meter::{Meter, Meters},
    target,
};
use crate::threads::Threads;

/// Requests that may be overdue on one connection before further ones count as failed.
const BACKLOG: usize = 4096;

/// How many requests, over how many connections, for how long an answer.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) connections: usize,
    pub(super) answer: u64,
    pub(super) rate: u64,
}

/// Starts one pacer a thread, each with its share of the connections and of the rate.
pub(super) fn start(
    threads: &Threads,
    meters: &Meters,
    targets: &[SocketAddr],
    pace: Pace,
) -> Result<()> {
    let pacers = threads.count().min(pace.connections);
    for number in 0..pacers {
        let (mut dues, mut clients) = (Vec::new(), Vec::new());
        for connection in (number..pace.connections).step_by(pacers) {
            let (sender, receiver) = mpsc::channel(BACKLOG);
            dues.push(sender);
            clients.push((target(targets, connection), receiver));
        }
        let meter = meters.of_thread(number);
        let rate = pace.rate as f64 * dues.len() as f64 / pace.connections as f64;
        threads.run(number, move |tasks| {
            for (target, due) in clients {
                tasks.spawn(answer_dues(target, pace.answer, due, meter.clone()));
            }
            tasks.spawn(async move {
                if let Err(error) = deal(Duration::from_secs_f64(1.0 / rate), &dues, &meter).await {
                    meter.failed(&error);
                }
            });
        })?;
    }
    Ok(())
}

/// Deals the moments at which requests are due to the connections in turn, for ever.
async fn deal(interval: Duration, dues: &[mpsc::Sender<Instant>], meter: &Meter) -> io::Result<()> {
    let timer = timer(interval)?;
    let mut due = Instant::now();
    let mut turn = 0;
    loop {
        for _ in 0..elapsed(&timer).await? {
            due += interval;
            let connection = dues.get(turn % dues.len());
            if connection.is_some_and(|connection| connection.try_send(due).is_err()) {
                meter.failed(&io::Error::other("the rate could not be kept"));
            }
            turn += 1;
        }
    }
}

/// A timer of the kernel: tokio's own has steps of a millisecond, which is longer than most answers
/// take.
fn timer(interval: Duration) -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let step = Timespec::try_from(interval).map_err(io::Error::other)?;
    let times = Itimerspec { it_interval: step, it_value: step };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, against types that may close their descriptor; an \
                  OwnedFd cannot"
    )]
    AsyncFd::new(timer)
}

/// Waits for the timer and says how many intervals have passed since it was last asked.
async fn elapsed(timer: &AsyncFd<OwnedFd>) -> io::Result<u64> {
    loop {
        let mut ready = timer.readable().await?;
        let mut count = [0; 8];
        if let Ok(result) = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?)) {
            result?;
            return Ok(u64::from_ne_bytes(count));
        }
    }
}

/// One connection: a request for each moment that is dealt to it.
async fn answer_dues(
    target: SocketAddr,
    answer: u64,
    mut dues: mpsc::Receiver<Instant>,
    meter: Meter,
) {
    let mut announced = false;
    loop {
        let result: io::Result<()> = async {
            let mut client = Client::connect(target, answer).await?;
            while let Some(due) = dues.recv().await {
                client.exchange().await?;
                meter.operation(due, answer);
                if !std::mem::replace(&mut announced, true) {
                    meter.ready();
                }
            }
            Ok(())
        }
        .await;
        match result {
            Ok(()) => return,
            Err(error) => meter.failed(&error),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

//! What keeps clients of the admin endpoint from disturbing anybody: a bounded number of them, a
//! bounded rate of answers, and no patience with those that do not take theirs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use common::Places;
use lb::storm::{Bucket, StormLimits};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Most admin connections at once; further ones wait in the kernel's queue.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// What a connection gets for its request while another one waits for a place. keepalived gives its
/// question 1 s, so several generations of strangers must fit into that; a program sends its request
/// as soon as it is connected.
const GRACE: Duration = Duration::from_millis(50);

/// Most readers of the events at once: some people, some programs, and room for scrapers beside
/// them.
pub(super) const FOLLOWERS_MAX: usize = 16;

/// Answers a second. One takes below a millisecond, so at most a fifth of one processor goes to
/// those who ask, and health keeps its time.
const ANSWERS: StormLimits = StormLimits { per_second: 200, burst: 400 };

/// Longest time without a byte taken by a client that has some to take.
const STALL_MAX: Duration = Duration::from_secs(10);

/// The limits and what they did.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(super) connections: Arc<Places>,
    followers: Arc<Semaphore>,
    answers: Bucket,
    began: Instant,
    stalled: AtomicU64,
    denied: AtomicU64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Places::new(CONNECTIONS_MAX, GRACE),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            answers: Bucket::default(),
            began: Instant::now(),
            stalled: AtomicU64::new(0),
            denied: AtomicU64::new(0),
        }
    }
}

impl Limits {
    /// Waits for the time of one more answer; false if that would be too long.
    pub(super) async fn answer(&self) -> bool {
        match self.answers.take(ANSWERS, self.began.elapsed()) {
            Ok(wait) => {
                tokio::time::sleep(wait).await;
                true
            }
            Err(_) => {
                self.denied.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// A place for one more reader of the events.
    pub(super) fn follower(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.followers).try_acquire_owned().ok();
        if place.is_none() {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
        place
    }

    /// Connections now.
    pub(super) fn connected(&self) -> usize {
        self.connections.taken()
    }

    /// Readers of the events now.
    pub(super) fn following(&self) -> usize {
        FOLLOWERS_MAX.saturating_sub(self.followers.available_permits())
    }

    /// Clients that were cut off because they did not take their answer.
    pub(super) fn stalled(&self) -> u64 {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Requests that were refused because there were too many.
    pub(super) fn denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }
}

/// A stream whose writes fail when the other side takes nothing for [`STALL_MAX`].
pub(super) struct Impatient<'a, S> {
    stream: S,
    limits: &'a Limits,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<'a, S> Impatient<'a, S> {
    pub(super) fn new(stream: S, limits: &'a Limits) -> Self {
        Self { stream, limits, waiting: None }
    }

    /// What becomes of a write: its result, or that there was no progress for too long.
    fn judged<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let sleep = || Box::pin(tokio::time::sleep(STALL_MAX));
        let waiting = self.waiting.get_or_insert_with(sleep);
        if waiting.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.waiting = None;
        self.limits.stalled.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judged(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.judged(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judged(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_off() {
        let limits = Limits::default();
        let (near, mut far) = duplex(64);
        let mut near = Impatient::new(near, &limits);
        near.write_all(&[0; 64]).await.unwrap();
        let late = async {
            tokio::time::sleep(STALL_MAX - Duration::from_millis(1)).await;
            far.read_exact(&mut [0; 64]).await.unwrap();
        };
        let (written, ()) = tokio::join!(near.write_all(&[0; 64]), late);
        written.unwrap();
        let stalled = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!((stalled.kind(), limits.stalled()), (io::ErrorKind::TimedOut, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn places_come_back() {
        let limits = Limits::default();
        let places: Vec<_> = (0..FOLLOWERS_MAX).map(|_| limits.follower().unwrap()).collect();
        assert!(limits.follower().is_none());
        assert_eq!((limits.following(), limits.denied()), (FOLLOWERS_MAX, 1));
        drop(places);
        assert!(limits.follower().is_some());
    }
}

//! Pipes for bulk data: made when needed, reused, never more than the budget.
//!
//! A direction holds a pipe only while bytes are in it or a burst runs; an idle session has none.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// Bytes a pipe should hold, and bytes to ask for at once: from 256 KiB to here a GiB cost a fifth
/// less processor time.
pub(super) const PIPE_BYTES: usize = 512 * 1024;

/// The smallest pipe that is worth its calls: as much as one read copies. An unprivileged user over
/// its share of pipe memory (`fs.pipe-user-pages-soft`) gets pipes of two pages.
const PIPE_BYTES_MIN: usize = 64 * 1024;

/// Most empty pipes that are kept for the next burst.
const FREE_MAX: usize = 64;

/// A pipe; both ends are non-blocking and closed on exec.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) reader: OwnedFd,
    pub(super) writer: OwnedFd,
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let granted = fcntl_setpipe_size(&writer, PIPE_BYTES);
        let holds = granted.or_else(|_| fcntl_getpipe_size(&writer))?;
        if holds < PIPE_BYTES_MIN {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        Ok(Self { reader, writer })
    }
}

/// All pipes of the process.
#[derive(Debug)]
pub struct Pipes {
    free: Mutex<Vec<Pipe>>,
    open: AtomicUsize,
    denied: AtomicU64,
    limit: usize,
}

impl Pipes {
    /// No pipe yet, and at most `limit` at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { free: Mutex::default(), open: AtomicUsize::new(0), denied: AtomicU64::new(0), limit }
    }

    /// An empty pipe; `None` at the limit, or if the system has none of a size that pays: then data
    /// is copied.
    pub(super) fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.free.lock().pop() {
            return Some(pipe);
        }
        if self.reserve() {
            match Pipe::open() {
                Ok(pipe) => return Some(pipe),
                Err(_) => self.open.fetch_sub(1, Ordering::Relaxed),
            };
        }
        self.denied.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// A pipe of another process, with what is in it. It counts, also beyond the limit: the bytes
    /// must go somewhere.
    pub(super) fn adopt(&self, reader: OwnedFd, writer: OwnedFd) -> Pipe {
        self.open.fetch_add(1, Ordering::Relaxed);
        Pipe { reader, writer }
    }

    /// Adds what another process was denied.
    pub(crate) fn add_denied(&self, denied: u64) {
        self.denied.fetch_add(denied, Ordering::Relaxed);
    }

    fn reserve(&self) -> bool {
        let grow = |open: usize| (open < self.limit).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).is_ok()
    }

    /// Takes back a pipe with no byte in it.
    pub(super) fn give_back(&self, pipe: Pipe) {
        let mut free = self.free.lock();
        if free.len() < FREE_MAX {
            free.push(pipe);
        } else {
            drop(free);
            self.discard(pipe);
        }
    }

    /// Closes a pipe that may have bytes in it.
    pub(super) fn discard(&self, pipe: Pipe) {
        drop(pipe);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Pipes that move data now.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.open.load(Ordering::Relaxed).saturating_sub(self.free.lock().len())
    }

    /// Times that none was to be had.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }

    /// Most at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_the_limit() {
        let pipes = Pipes::new(2);
        let (one, two) = (pipes.take().unwrap(), pipes.take().unwrap());
        assert!(pipes.take().is_none());
        assert_eq!((pipes.in_use(), pipes.denied()), (2, 1));
        pipes.give_back(one);
        pipes.discard(two);
        assert_eq!(pipes.in_use(), 0);
        let (_a, _b) = (pipes.take().unwrap(), pipes.take().unwrap());
        assert!(pipes.take().is_none());
    }
}

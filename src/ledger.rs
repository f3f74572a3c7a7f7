//! Writes the connection ledger: one thread, one file, one JSON object a line.
//!
//! A file that does not take lines (full disk, removed mount) loses them, counted; it is tried again
//! with the next ones and never waited for. `SIGUSR1` and a reload open the file anew, so that it can
//! be rotated by renaming.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lb::Balancer;
use lb::ledger::{Entry, Ledger, LedgerCounts, ledger};
use rustix::fs::OFlags;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::exit::{Exit, Stop};

/// Who connects to the cluster, and when, is not for everybody on the host.
const MODE: u32 = 0o640;

/// Most entries that go into one write.
const BATCH: usize = 256;

/// How long a wish to open the file anew may wait for the next entry.
const LOOK: Duration = Duration::from_millis(200);

/// The ledger of the running program, if one is kept.
pub(crate) struct Kept(Option<Writer>);

/// The thread that writes.
struct Writer {
    reopen: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Keeps a ledger in this file, if one is named.
pub(crate) fn keep(path: Option<&Path>, balancer: &Balancer) -> anyhow::Result<Kept> {
    let Some(path) = path else { return Ok(Kept(None)) };
    let (writer, ledger) = Writer::start(path)?;
    balancer.keep(ledger);
    Ok(Kept(Some(writer)))
}

impl Kept {
    /// How to ask for the file to be opened anew.
    pub(crate) fn reopen(&self) -> Option<Reopen> {
        self.0.as_ref().map(|writer| Reopen(Arc::clone(&writer.reopen)))
    }

    /// Waits until everything is written that the workers, which have ended, had to say.
    pub(crate) fn finish(self) {
        let Some(writer) = self.0 else { return };
        writer.ending.store(true, Ordering::Relaxed);
        if writer.thread.join().is_err() {
            error!("the writer of the ledger had ended by a panic");
        }
    }
}

/// A wish to open the file anew; cheap to clone.
#[derive(Clone)]
pub(crate) struct Reopen(Arc<AtomicBool>);

impl Reopen {
    /// Opens the file anew, soon.
    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Writer {
    /// Opens the file and begins to write what the returned ledger is given.
    fn start(path: &Path) -> anyhow::Result<(Self, Ledger)> {
        let file = open(path).map_err(|error| not_opened(path, &error))?;
        let (ledger, entries) = ledger();
        let (reopen, ending) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let mut book = Book {
            path: path.to_owned(),
            file,
            counts: Arc::clone(ledger.counts()),
            reopen: Arc::clone(&reopen),
            ending: Arc::clone(&ending),
            failing: false,
        };
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        let thread = thread.spawn(move || book.keep(&entries))?;
        info!(ledger = %path.display(), "ledger open");
        Ok((Self { reopen, ending, thread }, ledger))
    }
}

/// Opens the file anew at `SIGUSR1` and at a reload, for ever. The signal is taken also where no
/// ledger is kept, because it would end the program otherwise.
pub(crate) fn reopen_on_signals(
    reopen: Option<Reopen>,
) -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut user = signal(SignalKind::user_defined1())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = user.recv() => {}
                _ = hangup.recv() => {}
            }
            if let Some(reopen) = &reopen {
                reopen.ask();
            }
        }
    })
}

/// What the thread owns.
struct Book {
    path: PathBuf,
    file: File,
    counts: Arc<LedgerCounts>,
    reopen: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
    /// Whether the last write failed: said once, not for each line.
    failing: bool,
}

impl Book {
    /// Writes until the program ends.
    fn keep(&mut self, entries: &Receiver<Entry>) {
        loop {
            let first = entries.recv_timeout(LOOK);
            if self.reopen.swap(false, Ordering::Relaxed) {
                self.open_anew();
            }
            match first {
                Ok(first) => {
                    self.write(std::iter::once(first).chain(entries.try_iter()).take(BATCH));
                }
                Err(RecvTimeoutError::Timeout) if !self.ending.load(Ordering::Relaxed) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self, entries: impl Iterator<Item = Entry>) {
        let (mut lines, mut count) = (Vec::new(), 0u64);
        for entry in entries {
            self.counts.queued.fetch_sub(1, Ordering::Relaxed);
            match serde_json::to_writer(&mut lines, &Line::of(&entry)) {
                Ok(()) => lines.push(b'\n'),
                Err(error) => error!(%error, "internal: an entry of the ledger has no JSON"),
            }
            count += 1;
        }
        match self.append(&lines) {
            Ok(()) => {
                self.counts.written.fetch_add(count, Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    info!(ledger = %self.path.display(), "the ledger takes lines again");
                }
            }
            Err(error) => {
                self.counts.lost.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    let ledger = self.path.display();
                    warn!(%ledger, %error, "the ledger takes no lines; they are lost until it does");
                }
            }
        }
    }

    /// Appends all of it or nothing: a full disk must not leave half a line.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?;
        let appended = self.file.write_all(lines);
        if appended.is_err() && before.is_file() {
            self.file.set_len(before.len())?;
        }
        appended
    }

    fn open_anew(&mut self) {
        match open(&self.path) {
            Ok(file) => {
                self.file = file;
                info!(ledger = %self.path.display(), "ledger opened anew");
            }
            Err(error) => {
                let ledger = self.path.display();
                error!(%ledger, %error, "cannot open the ledger anew; the old file is kept open");
            }
        }
    }
}

/// Opens the file to append to it. Nothing of it may ever wait, so also a pipe does not.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.append(true).mode(MODE).custom_flags(flags);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            // The process's mask may be stricter than what log readers need.
            file.set_permissions(Permissions::from_mode(MODE))?;
            Ok(file)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

/// The end of a program that shall keep a ledger.
pub(crate) fn not_opened(path: &Path, error: &io::Error) -> Stop {
    let (exit, hint) = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (Exit::Refused, "; the unit may write to /var/log/mainstay")
        }
        ErrorKind::NotFound => (Exit::Unavailable, "; make its directory first"),
        _ => (Exit::Unavailable, ""),
    };
    Stop::new(exit, format!("cannot open the ledger {}: {error}{hint}", path.display()))
}

/// One line. Names are documented in docs/operations/ledger.md.
#[derive(Serialize)]
struct Line<'a> {
    start: String,
    end: String,
    duration_ms: u64,
    client: SocketAddr,
    local: Option<SocketAddr>,
    backend: Option<&'a str>,
    backend_address: Option<SocketAddr>,
    server_name: Option<&'a str>,
    received_bytes: u64,
    sent_bytes: u64,
    reason: &'static str,
}

impl<'a> Line<'a> {
    fn of(entry: &'a Entry) -> Self {
        let served = entry.served.as_ref();
        Self {
            start: time(entry.ended.checked_sub(entry.lasted).unwrap_or(entry.ended)),
            end: time(entry.ended),
            duration_ms: u64::try_from(entry.lasted.as_millis()).unwrap_or(u64::MAX),
            client: plain(entry.client),
            local: served.and_then(|served| served.local).map(plain),
            backend: served.map(|served| served.backend.as_str()),
            backend_address: served.map(|served| served.addr),
            server_name: served.and_then(|served| served.server_name.as_deref()),
            received_bytes: entry.received,
            sent_bytes: entry.sent,
            reason: entry.reason.label(),
        }
    }
}

/// RFC 3339 with milliseconds, as the apiserver's audit log has it.
fn time(moment: SystemTime) -> String {
    Timestamp::try_from(moment).map_or_else(|_| String::new(), |moment| format!("{moment:.3}"))
}

/// An IPv4 client of an IPv6 socket as everybody else writes it.
fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

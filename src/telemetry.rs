//! Log lines: text for people on a terminal, one JSON object a line otherwise, always on stderr.
//!
//! The message is a constant sentence, data stands in fields. State changes are at info, once for
//! each change; nothing above debug is written per connection.

use std::io::IsTerminal;
use std::panic::{Location, PanicHookInfo, set_hook};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use common::config::{Config, LogFormat};
use tracing::error;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder};
use tracing_subscriber::fmt;

/// The version and the commit that this binary was built from.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this binary was built from, or `unknown`.
pub(crate) const COMMIT: &str = env!("MAINSTAY_COMMIT");

/// `0.1.0 (commit 1234abcd, release)`
pub(crate) const BUILD: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("MAINSTAY_COMMIT"),
    ", ",
    env!("MAINSTAY_PROFILE"),
    ")"
);

/// Writes what is queued when it is dropped.
pub(crate) use tracing_appender::non_blocking::WorkerGuard as LogGuard;

/// Most lines that wait to be written, about a megabyte; further ones are lost rather than waited
/// for. Decisions are few: this is far more than a crash of all masters writes.
const QUEUE_LINES: usize = 4_096;

/// Counts the lines of the one log that were lost.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that were lost because nobody took them in time.
pub(crate) fn lost_lines() -> usize {
    LOST.get().map_or(0, ErrorCounter::dropped_lines)
}

/// Panics of any thread or task since the start.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Panics since the start. Each ended one task or session and nothing else.
pub(crate) fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Counts a panic and writes a line about it, where the others are.
fn note_panic(panic: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Ordering::Relaxed);
    let place = panic.location().map(Location::to_string);
    let (text, place) = (panic.payload_as_str().unwrap_or_default(), place.unwrap_or_default());
    error!(place, text, "a mistake in the program: a task ended by a panic; please report it");
}

/// Begins to log as configured. Lines are written by a thread of their own, because whoever reads
/// stderr may stop reading, and no byte of a session waits for that.
pub(crate) fn init(config: &Config) -> anyhow::Result<LogGuard> {
    let terminal = std::io::stderr().is_terminal();
    let text = match config.log_format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    // A log that nobody takes any more must not end anything: to complain about it would panic.
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUE_LINES)
        .lossy(true)
        .finish(std::io::stderr());
    LOST.get_or_init(|| writer.error_counter());
    let subscriber =
        fmt().with_max_level(config.log_level).with_writer(writer).log_internal_errors(false);
    let started = if text {
        subscriber.with_ansi(terminal).with_target(false).try_init()
    } else {
        subscriber.json().flatten_event(true).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))?;
    set_hook(Box::new(note_panic));
    Ok(guard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_counted_wherever_it_is() {
        let shown = std::panic::take_hook();
        set_hook(Box::new(note_panic));
        let before = panics();
        let ended = std::thread::spawn(|| panic!("on purpose")).join();
        set_hook(shown);
        assert!(ended.is_err());
        assert!(panics() > before);
    }
}

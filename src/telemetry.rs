//! Log lines: text for people on a terminal, one JSON object a line otherwise, always on stderr.
//!
//! The message is a constant sentence, data stands in fields. State changes are at info, once for
//! each change; nothing above debug is written per connection.

use std::io::IsTerminal;

use common::config::{Config, LogFormat};
use tracing_appender::non_blocking::NonBlockingBuilder;
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

/// Most lines that wait to be written; further ones are lost rather than waited for.
const QUEUE_LINES: usize = 10_000;

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
    let subscriber =
        fmt().with_max_level(config.log_level).with_writer(writer).log_internal_errors(false);
    let started = if text {
        subscriber.with_ansi(terminal).with_target(false).try_init()
    } else {
        subscriber.json().flatten_event(true).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))?;
    Ok(guard)
}

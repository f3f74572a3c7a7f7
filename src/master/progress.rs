//! Progress on stderr: one line that changes on a terminal, a line for each change elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Says what is waited for.
pub(crate) struct Progress {
    terminal: bool,
    since: Instant,
    last: String,
    open: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, since: Instant::now(), last: String::new(), open: false }
    }

    /// What is waited for now; said again only if it has changed.
    pub(crate) fn waits(&mut self, text: &str) {
        if self.terminal {
            let seconds = self.since.elapsed().as_secs();
            // Nothing is left to tell it to if stderr is closed.
            write!(std::io::stderr(), "\r\x1b[K{text} ({seconds} s)").ok();
            std::io::stderr().flush().ok();
            self.open = true;
        } else if self.last != text {
            writeln!(std::io::stderr(), "{text}").ok();
        }
        text.clone_into(&mut self.last);
    }

    /// Something that is done or decided: stays on the screen.
    pub(crate) fn says(&mut self, text: &str) {
        self.ends();
        writeln!(std::io::stderr(), "{text}").ok();
        self.last.clear();
    }

    /// Ends a line that changes, before somebody else writes.
    pub(crate) fn ends(&mut self) {
        if std::mem::take(&mut self.open) {
            writeln!(std::io::stderr()).ok();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ends();
    }
}

/// A time left, as people say it.
pub(crate) fn left(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

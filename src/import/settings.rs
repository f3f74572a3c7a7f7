//! The settings that both formats have and we have too.

use std::time::Duration;

use common::duration::exact;

use super::proxy::{Carried, Note, Proxy, shown};

/// Our default of `timeouts.idle`: a shorter wait cuts watches that are only quiet.
const IDLE: Duration = Duration::from_secs(65 * 60);

/// Our default of `timeouts.dial`, which may not be shorter than `timeouts.connect`.
const DIAL: Duration = Duration::from_secs(8);

/// The shortest wait that a configuration of ours may have.
const SHORTEST: Duration = Duration::from_millis(10);

/// Most threads and connections that a configuration of ours may have.
pub(super) const WORKERS_MAX: u64 = 256;
pub(super) const CONNECTIONS_MAX: u64 = 1_000_000;

impl Proxy {
    /// The wait for one backend.
    pub(super) fn carry_connect(&mut self, line: usize, was: &str, wait: Option<Duration>) {
        let Some(wait) = self.usable(line, was, wait) else { return };
        self.carry(duration(line, "timeouts.connect", was, wait));
        if wait > DIAL {
            self.carry(duration(line, "timeouts.dial", was, wait));
        }
    }

    /// The search for a backend in all.
    pub(super) fn carry_dial(&mut self, line: usize, was: &str, wait: Option<Duration>) {
        let Some(wait) = self.usable(line, was, wait) else { return };
        self.carry(duration(line, "timeouts.dial", was, wait));
    }

    /// The silence of one direction after the other has ended.
    pub(super) fn carry_half_close(&mut self, line: usize, was: &str, wait: Option<Duration>) {
        let Some(wait) = self.usable(line, was, wait) else { return };
        self.carry(duration(line, "timeouts.half_close", was, wait));
    }

    /// The silence of both directions. A short one is written as a comment: balancers that find
    /// dead peers only by silence need it, and it costs them the quiet watches.
    pub(super) fn carry_idle(&mut self, line: usize, was: &str, wait: Option<Duration>) {
        let Some(wait) = self.usable(line, was, wait) else { return };
        let active = wait >= IDLE;
        if !active {
            let why = format!(
                "left at {}: a watch may be quiet for 60 minutes, and dead peers are found in 30 s by \
                 keepalive; `timeouts.idle = \"{}\"` brings it back",
                exact(IDLE),
                exact(wait)
            );
            self.note(|| Note::lost(line, was, why));
        }
        self.carry(Carried { active, ..duration(line, "timeouts.idle", was, wait) });
    }

    /// A whole number that has a key of ours.
    pub(super) fn carry_number(&mut self, line: usize, was: &str, key: &'static str, most: u64) {
        let number = was.split_whitespace().next_back().and_then(|word| word.parse::<u64>().ok());
        match number.filter(|number| (1..=most).contains(number)) {
            Some(number) => self.carry(Carried {
                line,
                key,
                value: number.to_string(),
                was: shown(was),
                active: true,
            }),
            None => self.note(|| Note::lost(line, was, format!("`{key}` is from 1 to {most}"))),
        }
    }

    fn usable(&mut self, line: usize, was: &str, wait: Option<Duration>) -> Option<Duration> {
        let found = wait.filter(|wait| *wait >= SHORTEST);
        if found.is_none() {
            self.notes.push(Note::lost(
                line,
                was,
                "is no wait of at least 10 ms; the default stays",
            ));
        }
        found
    }
}

fn duration(line: usize, key: &'static str, was: &str, wait: Duration) -> Carried {
    Carried { line, key, value: format!("\"{}\"", exact(wait)), was: shown(was), active: true }
}

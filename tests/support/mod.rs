//! The harness of the socket tests: the real binary, stand-in backends, clients that notice how a
//! connection ends.
//!
//! Nothing waits by guess: what must happen is asked for again and again until a deadline that is
//! generous enough for a busy machine.

pub(crate) mod admin;
pub(crate) mod backend;
pub(crate) mod balancer;
pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod disk;
pub(crate) mod netns;
pub(crate) mod on_tcp;
pub(crate) mod pattern;
pub(crate) mod process;
pub(crate) mod refusing;

pub(crate) use admin::AdminAnswer;
pub(crate) use backend::{Backend, Behaviour};
pub(crate) use balancer::{Balancer, Setup};
pub(crate) use client::{Client, Ending};
pub(crate) use netns::{Host, Network};
pub(crate) use pattern::Pattern;
pub(crate) use refusing::{BlackHole, Refusing};

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest wait for anything that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Pause between two looks at something that has not happened yet.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until `look` finds something; fails the test after [`DEADLINE`].
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Waits until `holds` is true; fails the test after [`DEADLINE`].
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}

/// Makes a FIFO into which nobody writes.
pub(crate) fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
}

/// Says that a test was left out, past the capture of the test runner.
pub(crate) fn skipped(reason: impl Display) {
    writeln!(std::io::stderr(), "SKIPPED: {reason}").ok();
}

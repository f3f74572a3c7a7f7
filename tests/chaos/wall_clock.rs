//! A wall clock that can be set, for some processes alone: libfaketime answers for the kernel.

use std::ffi::OsString;
use std::fs::{read_dir, rename, write};
use std::path::{Path, PathBuf};

use crate::support::skipped;

/// Debian has it in a directory of [`LIBRARIES`] that is named by the machine.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

const LIBRARIES: &str = "/usr/lib";

/// What is in the file of a clock that is right.
pub(crate) const RIGHT: &str = "+0";

/// The clock of the processes that are started with its environment. Their monotonic clock goes on.
pub(crate) struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    /// A right one; none, and a line that says so, without the library.
    pub(crate) fn new(directory: &Path) -> Option<Self> {
        let places = read_dir(LIBRARIES).unwrap().map(|entry| entry.unwrap().path().join(FAKETIME));
        let Some(library) = places.into_iter().find(|library| library.is_file()) else {
            skipped("libfaketime is not installed");
            return None;
        };
        let clock = Self { library, file: directory.join("clock") };
        clock.set(RIGHT);
        Some(clock)
    }

    /// Sets it, in the words of libfaketime.
    pub(crate) fn set(&self, moment: &str) {
        // Whole or not at all: it is read at any time.
        let new = self.file.with_extension("new");
        write(&new, moment).unwrap();
        rename(new, &self.file).unwrap();
    }

    /// What a process must have in its environment.
    pub(crate) fn environment(&self) -> [(&'static str, OsString); 4] {
        [
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

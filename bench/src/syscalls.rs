//! Counts the system calls of a proxy with `strace`, where that is installed. It slows the proxy
//! down several times, so the count is taken in measurements of its own that yield nothing else.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

const POLL: Duration = Duration::from_millis(2);

/// A running `strace`; it lets go of the proxy when this is dropped.
pub(crate) struct Count {
    child: Child,
    table: PathBuf,
}

impl Count {
    /// Attaches to all threads of `processes`, and returns once it counts. The table of all calls
    /// will be written to the file `table`.
    pub(crate) fn start(processes: &[u32], table: PathBuf) -> Result<Self> {
        let said = tempfile::NamedTempFile::new()?;
        let child = Command::new("strace")
            .args(["-c", "-f", "-o"])
            .arg(&table)
            .args(processes.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]))
            .stdin(Stdio::null())
            .stderr(said.reopen()?)
            .spawn()
            .context("starting strace")?;
        let mut count = Self { child, table };
        // It says one line for each process it has attached to.
        let words = || fs::read_to_string(said.path()).unwrap_or_default();
        while words().matches(" attached").count() < processes.len() {
            let ended = count.child.try_wait()?.is_some();
            ensure!(!ended, "strace: {}", words().trim());
            thread::sleep(POLL);
        }
        Ok(count)
    }

    /// Lets go, and tells how many calls there were.
    pub(crate) fn end(mut self) -> Result<u64> {
        self.let_go()?;
        self.child.wait()?;
        let table = fs::read_to_string(&self.table).context("reading the table of strace")?;
        total(&table).context("the table of strace has no total")
    }

    fn let_go(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no process")?;
        Ok(kill_process(pid, Signal::INT)?)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Fails only if it has just ended by itself.
            self.let_go().ok();
            self.child.wait().ok();
        }
    }
}

/// The calls in the last line of the table: `100.00 0.31 12 25544 17 total`, where the column of
/// errors may be empty.
fn total(table: &str) -> Option<u64> {
    let line = table.lines().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_with_and_without_errors() {
        let head = "% time     seconds  usecs/call     calls    errors syscall\n";
        let table = format!("{head}100.00    0.310860          12     25544        17 total\n");
        assert_eq!(total(&table), Some(25_544));
        let table = format!("{head}100.00    0.310860          12     25544           total\n");
        assert_eq!(total(&table), Some(25_544));
        assert_eq!(total(head), None);
    }
}

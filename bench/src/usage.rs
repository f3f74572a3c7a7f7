//! What the kernel has accounted to a process and its children: processor time, context switches,
//! resident memory and descriptors. Read from `/proc`, because that costs the measured process
//! nothing.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// The account of one process tree at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// User and system time, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// Voluntary and involuntary context switches of all threads.
    pub(crate) switches: u64,
    /// Resident memory.
    pub(crate) resident_bytes: u64,
    /// Open descriptors.
    pub(crate) descriptors: u64,
}

impl Usage {
    /// The account of `root` and all its descendants.
    pub(crate) fn of_tree(root: u32) -> Result<Self> {
        let mut sum = Self::default();
        for pid in tree(root) {
            let one = Self::of_process(pid).with_context(|| format!("reading /proc/{pid}"))?;
            sum.cpu_ticks += one.cpu_ticks;
            sum.switches += one.switches;
            sum.resident_bytes += one.resident_bytes;
            sum.descriptors += one.descriptors;
        }
        Ok(sum)
    }

    fn of_process(pid: u32) -> Result<Self> {
        let dir = Path::new("/proc").join(pid.to_string());
        let stat = fs::read_to_string(dir.join("stat"))?;
        let mut switches = 0;
        for thread in fs::read_dir(dir.join("task"))? {
            // A thread may end between the listing and the reading.
            let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0)
                + field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        let resident = fs::read_to_string(dir.join("smaps_rollup"))
            .ok()
            .and_then(|text| field(&text, "Rss:"))
            .or_else(|| field(&fs::read_to_string(dir.join("status")).ok()?, "VmRSS:"))
            .context("no resident size")?;
        Ok(Self {
            cpu_ticks: cpu_ticks(&stat).context("stat cannot be read")?,
            switches,
            resident_bytes: resident * 1024,
            descriptors: fs::read_dir(dir.join("fd"))?.count() as u64,
        })
    }
}

/// The process `root` and all its descendants, as far as they live.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| child));
        next += 1;
    }
    found
}

/// The fields of `/proc/PID/stat` behind the command name, which may itself hold blanks and
/// parentheses.
fn after_name(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace())
}

fn parent(stat: &str) -> Option<u32> {
    after_name(stat)?.nth(1)?.parse().ok()
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut times = after_name(stat)?.skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

/// The number behind `name` at the start of a line, as in `status` and `smaps_rollup`.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "812 (odd ) name) S 7 812 812 0 -1 4194560 100 0 0 0 51 23 0 0 20 0 1 0 9 0";

    #[test]
    fn stat_is_read_behind_the_name() {
        assert_eq!(parent(STAT), Some(7));
        assert_eq!(cpu_ticks(STAT), Some(74));
        assert_eq!(cpu_ticks("812 (short) S 7"), None);
    }

    #[test]
    fn fields_are_found_by_the_whole_name() {
        let status = "nonvoluntary_ctxt_switches:\t5\nvoluntary_ctxt_switches:\t150\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(150));
        assert_eq!(field("Rss:        1234 kB\n", "Rss:"), Some(1234));
        assert_eq!(field("Rss:\n", "Rss:"), None);
    }

    #[test]
    fn this_process_has_an_account() {
        let usage = Usage::of_tree(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 0 && usage.descriptors > 0, "{usage:?}");
        assert_eq!(tree(std::process::id()).first(), Some(&std::process::id()));
    }
}

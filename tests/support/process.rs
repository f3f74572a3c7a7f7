//! A process that ends with its test, and what the kernel knows of one: memory, descriptors, processor
//! time.

use std::process::Child;
use std::time::Duration;

use super::eventually;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A process that is killed when this is dropped.
// Not all of the targets that share this need it.
#[allow(dead_code)]
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Resident memory in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() * 1024
}

/// Open descriptors, once their number stays the same for a while.
pub(crate) fn descriptors(pid: u32) -> usize {
    let count = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let (mut last, mut same) = (count(), 0);
    eventually("a steady number of descriptors", || {
        let now = count();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same > 20).then_some(now)
    })
}

/// Processor time used since the start, of all threads.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold spaces; user and system time are the 14th and 15th field.
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    // USER_HZ is 100 wherever Linux runs on.
    Duration::from_millis(ticks * 10)
}

/// Raises the limit of open files of this test process; false if `needed` do not fit.
pub(crate) fn raise_descriptors(needed: u64) -> bool {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    maximum.is_none_or(|most| most >= needed)
}

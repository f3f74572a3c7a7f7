//! Small file systems, to be filled.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::run;
use super::skipped;

/// Name of the file that fills it.
const FILLER: &str = "filler";

/// A file system in memory; unmounted when it goes.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts one over a directory, as large as `size`; none, and a line that says so, where that is
    /// not allowed.
    pub(crate) fn over(path: &Path, size: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("only root can mount a small file system");
            return None;
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(path);
        let outcome = run(mount);
        if outcome.code != Some(0) {
            skipped(format!("this machine does not let us mount: {}", outcome.err));
            return None;
        }
        Some(Self(path.to_owned()))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves no byte.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.0.join(FILLER)).unwrap();
        // Ends with the error that the disk is full.
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    /// Takes that back.
    pub(crate) fn clear(&self) {
        std::fs::remove_file(self.0.join(FILLER)).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have a file open.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

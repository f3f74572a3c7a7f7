//! Starts the new process: the program as it lies on the disk now, with our arguments.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use super::{ENVIRONMENT, ENVIRONMENT_VALUE};

/// What the kernel appends to the path of a program whose file was replaced.
const DELETED: &[u8] = b" (deleted)";

/// Starts it with `channel` as its standard input.
pub(super) fn launch(channel: OwnedFd) -> anyhow::Result<Child> {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| OsString::from("mainstay"));
    let args: Vec<OsString> = args.collect();
    let start = |program: &OsString, channel: OwnedFd| {
        Command::new(program)
            .args(&args)
            .env(ENVIRONMENT, ENVIRONMENT_VALUE)
            .stdin(Stdio::from(channel))
            .spawn()
    };
    let spare = channel.try_clone()?;
    // The name we were started by: an upgrade puts the new program there.
    match start(&name, channel) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let own = without_deleted(std::env::current_exe()?.into_os_string());
            start(&own, spare).with_context(|| format!("cannot start {}", own.display()))
        }
        started => started.with_context(|| format!("cannot start {}", name.display())),
    }
}

fn without_deleted(path: OsString) -> OsString {
    match path.as_bytes().strip_suffix(DELETED) {
        Some(stripped) => OsString::from_vec(stripped.to_vec()),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_found_under_its_name() {
        for path in ["/usr/bin/mainstay", "/usr/bin/mainstay (deleted)"] {
            assert_eq!(without_deleted(path.into()), "/usr/bin/mainstay");
        }
    }
}

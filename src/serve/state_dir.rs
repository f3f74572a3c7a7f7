//! The directory for what must survive a restart.

use std::fs::{DirBuilder, metadata};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use common::config::Config;
use rustix::fs::{Access, access};
use tracing::debug;

use crate::exit::{Exit, Stop};

/// Only we may look into it: it will hold keys.
const MODE: u32 = 0o700;

/// Makes sure that the directory exists and can be written. The default one may be missing: a
/// balancer with static members keeps no state.
pub(crate) fn prepare(config: &Config) -> anyhow::Result<()> {
    match check(config) {
        Ok(()) => Ok(()),
        Err(stop) if config.state_dir_chosen => Err(stop.into()),
        Err(stop) => {
            debug!(reason = %stop, "running without a state directory");
            Ok(())
        }
    }
}

/// The directory, if it can be written.
pub(crate) fn usable(config: &Config) -> Option<&Path> {
    check(config).is_ok().then_some(config.state_dir.as_path())
}

fn check(config: &Config) -> Result<(), Stop> {
    let path = &config.state_dir;
    let made = DirBuilder::new().recursive(true).mode(MODE).create(path);
    let usable = made.and_then(|()| {
        if !metadata(path)?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(access(path, Access::WRITE_OK | Access::EXEC_OK)?)
    });
    usable.map_err(|error| unusable(path, &error))
}

/// The end of a program that needs the directory.
pub(super) fn unusable(path: &Path, error: &std::io::Error) -> Stop {
    let shown = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Stop::new(
            Exit::Refused,
            format!(
                "cannot write the state directory {shown}: {error}; choose another with --state-dir"
            ),
        ),
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            Stop::usage(format!("the state directory {shown} is a file"))
        }
        _ => {
            Stop::new(Exit::Unavailable, format!("cannot use the state directory {shown}: {error}"))
        }
    }
}

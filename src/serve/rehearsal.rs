//! What `serve` would say of the files that a configuration names, without making any: a check that
//! passes must not be followed by a start that fails.

use std::io::ErrorKind;
use std::path::Path;

use common::config::Config;
use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::{probe, state_dir};
use crate::exit::Stop;
use crate::ledger;

/// Reads the files and looks at the directories as this user; the ports are not tried, because the
/// program that is to be reloaded has them.
///
/// # Errors
/// The sentence and the code that `serve` would end with.
pub(crate) fn rehearse(config: &Config) -> anyhow::Result<()> {
    probe::method(config, None, config.cluster.ca_pin.is_some()).map_err(Stop::usage)?;
    if config.state_dir_chosen || config.join.listen_chosen {
        place_for_directory(&config.state_dir)
            .map_err(|error| state_dir::unusable(&config.state_dir, &error))?;
    }
    if let Some(path) = &config.ledger {
        place_for_file(path).map_err(|error| ledger::not_opened(path, &error))?;
    }
    Ok(())
}

/// Whether the directory can be written, or made below the nearest one that is there.
fn place_for_directory(path: &Path) -> std::io::Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => Err(Errno::NOTDIR.into()),
        Ok(_) => Ok(access(path, Access::WRITE_OK | Access::EXEC_OK)?),
        Err(error) if error.kind() == ErrorKind::NotFound => place_for_directory(above(path)),
        Err(error) => Err(error),
    }
}

/// Whether the file can be appended to, or made.
fn place_for_file(path: &Path) -> std::io::Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Errno::ISDIR.into()),
        Ok(_) => Ok(access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(access(above(path), Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error),
    }
}

/// The directory in which a path is.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

//! The directory for what must survive a restart, and the lock that keeps it to one process.

use std::fs::{DirBuilder, File, TryLockError, metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use bootstrap::store;
use common::config::Config;
use rustix::fs::{Access, access};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::exit::{Exit, Stop};

/// Only we may look into it: it will hold keys.
const MODE: u32 = 0o700;

/// The file that is locked; it holds the process id of the one who has the lock, for people.
const LOCK: &str = "serve.lock";

/// Longest wait for the lock: a process that was killed a moment ago may not be gone yet.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Pause between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(50);

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

/// The directory is ours, until this and all its handles in other processes are gone.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Makes sure that no other process uses the directory: two would overwrite each other's tickets and
    /// members. `passed` is the lock of the process before, which both hold while it hands over. None
    /// if there is no directory to use, or its file system knows no locks. Cancel-safe.
    ///
    /// # Errors
    /// Another process uses the directory.
    pub(super) async fn take(
        config: &Config,
        passed: Option<OwnedFd>,
    ) -> Result<Option<Self>, Stop> {
        let Some(directory) = usable(config) else {
            return Ok(None);
        };
        let path = directory.join(LOCK);
        let deadline = Instant::now() + LOCK_WAIT;
        let tried = async {
            let file = match passed.map(File::from) {
                // It is not if the configuration names another directory meanwhile.
                Some(file) if is_at(&file, &path) => file,
                _ => store::lock_file(&path)?,
            };
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(Some(Self(file))),
                    Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                        sleep(TRY_AGAIN).await;
                    }
                    Err(TryLockError::WouldBlock) => return Ok(None),
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
        };
        match tried.await {
            Ok(Some(lock)) => Ok(Some(lock)),
            Ok(None) => Err(in_use(directory, &path)),
            Err(error) => {
                warn!(%error, path = %path.display(), "cannot lock the state directory");
                Ok(None)
            }
        }
    }

    /// Writes down that this process has it.
    pub(super) fn sign(&self) {
        let text = format!("{}\n", std::process::id());
        // It only serves the sentence that another process ends with.
        self.0.set_len(0).and_then(|()| self.0.write_all_at(text.as_bytes(), 0)).ok();
    }

    /// A further handle, for the process that takes over.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }
}

/// Whether this is the file that stands there.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: std::fs::Metadata| (found.dev(), found.ino());
    let [here, there] = [file.metadata(), metadata(path)].map(|found| found.map(place).ok());
    here.is_some() && here == there
}

/// The end of a program whose state directory is another's.
fn in_use(directory: &Path, lock: &Path) -> Stop {
    let told = common::files::regular(lock, 32).ok();
    let pid = told.and_then(|text| String::from_utf8(text).ok()?.trim().parse::<u32>().ok());
    let who = pid.map(|pid| format!(" (process id {pid})")).unwrap_or_default();
    Stop::new(
        Exit::Unavailable,
        format!(
            "another mainstay{who} uses the state directory {}; give each its own --state-dir",
            directory.display()
        ),
    )
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

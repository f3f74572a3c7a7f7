//! Runs kubeadm: its version, and a command whose output goes to ours.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bootstrap::identity::RunLock;
use bootstrap::kubeadm::KubernetesVersion;
use bootstrap::plan::KubeadmCommand;
use common::Tasks;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::exit::{Exit, Stop};

/// Longest wait for `kubeadm version`.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// How long kubeadm may take to end when it is told to, before it is killed.
const GRACE: Duration = Duration::from_secs(20);

/// The version of a kubeadm.
pub(crate) async fn version(program: &Path) -> anyhow::Result<KubernetesVersion> {
    let shown = program.display();
    let missing = |exit: Exit, why: String| {
        Stop::new(
            exit,
            format!("cannot ask `{shown} version -o short`: {why}; give --kubeadm PATH"),
        )
    };
    let mut command = Command::new(program);
    command.args(["version", "-o", "short"]).stdin(Stdio::null()).kill_on_drop(true);
    let answer = tokio::time::timeout(VERSION_LIMIT, command.output()).await;
    let answer = answer
        .map_err(|_| missing(Exit::TryAgain, "it does not answer within 30 s".to_owned()))?
        .map_err(|error| missing(Exit::Unavailable, error.to_string()))?;
    if !answer.status.success() {
        return Err(missing(Exit::Unavailable, format!("it failed ({})", answer.status)).into());
    }
    let text = String::from_utf8_lossy(&answer.stdout);
    Ok(text.trim().parse().map_err(|error| missing(Exit::Failed, format!("{error}")))?)
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With success.
    Well,
    /// Without.
    Badly(ExitStatus),
    /// We were told to stop, and it was told too.
    Interrupted,
}

/// Runs a command to its end. It inherits the lock as its standard input, so that a re-run waits
/// for a kubeadm whose parent was killed.
pub(crate) async fn run(
    program: &Path,
    command: &KubeadmCommand,
    lock: &RunLock,
    tasks: &Tasks,
) -> anyhow::Result<Ended> {
    if tasks.is_stopped() {
        return Ok(Ended::Interrupted);
    }
    let arguments = command.arguments.iter().map(|argument| argument.as_str());
    let mut process = Command::new(program);
    process.args(arguments).stdin(lock.as_stdin()?);
    let mut child = process.spawn().map_err(|error| {
        Stop::new(Exit::Unavailable, format!("cannot run {}: {error}", program.display()))
    })?;
    tokio::select! {
        status = child.wait() => {
            let status = status?;
            Ok(if status.success() { Ended::Well } else { Ended::Badly(status) })
        }
        () = tasks.stopping() => {
            // It may have come to its end just now.
            let well = end(&mut child).await?.is_some_and(|status| status.success());
            Ok(if well { Ended::Well } else { Ended::Interrupted })
        }
    }
}

/// Asks a child to end, and makes it. How it ended, if it did so by itself.
async fn end(child: &mut Child) -> anyhow::Result<Option<ExitStatus>> {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        // It may have ended just now.
        kill_process(pid, Signal::TERM).ok();
    }
    if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
        return Ok(Some(status?));
    }
    child.kill().await?;
    Ok(None)
}

/// Writes a file for its owner only; a rest of an earlier run is thrown away.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<(), Stop> {
    remove(path);
    let mut options = OpenOptions::new();
    let written = options.write(true).create_new(true).mode(0o600).open(path);
    let written = written.and_then(|mut to| to.write_all(content.as_bytes()));
    written.map_err(|error| Stop::failed(format!("cannot write {}: {error}", path.display())))
}

/// A file that is there as long as kubeadm needs it.
pub(crate) struct PrivateFile(PathBuf);

impl PrivateFile {
    /// Writes it; see [`write_private`].
    pub(crate) fn write(path: PathBuf, content: &str) -> Result<Self, Stop> {
        let file = Self(path);
        write_private(&file.0, content)?;
        Ok(file)
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a file; that it is not there is fine.
pub(crate) fn remove(path: &Path) {
    std::fs::remove_file(path).ok();
}

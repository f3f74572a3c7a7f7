//! The agent's state directory: one file, and locks so that two programs do not undo each other's
//! work.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::member::Identity;
use crate::store::{self, Loaded};

/// Only root may look into it: it holds a key.
const MODE: u32 = 0o700;

/// The identity.
const IDENTITY: &str = "identity.json";

/// The state directory of a master's agent.
#[derive(Clone, Debug)]
pub struct AgentDir {
    path: PathBuf,
}

/// Which of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// `init`, `join`, `register`, `leave`: one at a time.
    Command,
    /// The agent: one for each machine.
    Agent,
}

/// Held as long as the program runs; the system lets go of it even if the program is killed.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl RunLock {
    /// The lock as standard input of a child, which reads nothing from it. A child that outlives us
    /// holds the lock on.
    ///
    /// # Errors
    /// The system's, if there are no more descriptors.
    pub fn as_stdin(&self) -> io::Result<std::process::Stdio> {
        Ok(self.file.try_clone()?.into())
    }
}

impl AgentDir {
    /// The directory, made if it is not there.
    ///
    /// # Errors
    /// [`DirError::Unusable`] if it cannot be made.
    pub fn open(path: &Path) -> Result<Self, DirError> {
        let made = DirBuilder::new().recursive(true).mode(MODE).create(path);
        made.map_err(|source| DirError::unusable(path, source))?;
        Ok(Self { path: path.to_owned() })
    }

    /// The directory, whether it is there or not.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that no other program of this kind runs.
    ///
    /// # Errors
    /// [`DirError::Busy`] if one does; try again when it has ended.
    pub fn lock(&self, kind: LockKind) -> Result<RunLock, DirError> {
        let name = match kind {
            LockKind::Command => "command.lock",
            LockKind::Agent => "agent.lock",
        };
        let file = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(RunLock { file }),
            Err(TryLockError::WouldBlock) => Err(DirError::Busy { path: self.path.clone(), kind }),
            Err(TryLockError::Error(source)) => Err(DirError::unusable(&self.path, source)),
        }
    }

    /// The identity, if there is one.
    ///
    /// # Errors
    /// [`DirError::Damaged`] if it cannot be read; it is moved aside, and the master must register
    /// anew.
    pub fn load(&self) -> Result<Option<Identity>, DirError> {
        let path = self.path.join(IDENTITY);
        // Whoever may not read it must not move it aside either.
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(DirError::unusable(&self.path, error));
            }
            _ => {}
        }
        match store::load(&path) {
            Loaded::Found(identity) => Ok(Some(identity)),
            Loaded::Absent => Ok(None),
            Loaded::Damaged { reason } => Err(DirError::Damaged { reason }),
        }
    }

    /// Stores a new identity.
    ///
    /// # Errors
    /// [`DirError::Unusable`]; the old one is then in place.
    pub fn create(&self, identity: &Identity) -> Result<(), DirError> {
        let _lock = self.writing()?;
        self.save(identity)
    }

    /// Changes the stored identity, as it is now on the disk, and returns it. An identity that is
    /// gone, because the master has left, stays gone.
    ///
    /// # Errors
    /// [`DirError`]
    pub fn update(&self, change: impl FnOnce(&mut Identity)) -> Result<Option<Identity>, DirError> {
        let _lock = self.writing()?;
        let Some(mut identity) = self.load()? else {
            return Ok(None);
        };
        change(&mut identity);
        self.save(&identity)?;
        Ok(Some(identity))
    }

    /// Forgets the identity.
    ///
    /// # Errors
    /// [`DirError::Unusable`]
    pub fn forget(&self) -> Result<(), DirError> {
        let _lock = self.writing()?;
        match fs::remove_file(self.path.join(IDENTITY)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(DirError::unusable(&self.path, error))
            }
            _ => Ok(()),
        }
    }

    fn save(&self, identity: &Identity) -> Result<(), DirError> {
        let bytes = serde_json::to_vec_pretty(identity).map(zeroize::Zeroizing::new);
        let saved = bytes.map_err(io::Error::other);
        let saved = saved.and_then(|bytes| store::save(&self.path.join(IDENTITY), &bytes));
        saved.map_err(|source| DirError::unusable(&self.path, source))
    }

    /// Held while the file is read and written; others wait the few milliseconds.
    fn writing(&self) -> Result<RunLock, DirError> {
        let file = self.lock_file("write.lock")?;
        file.lock().map_err(|source| DirError::unusable(&self.path, source))?;
        Ok(RunLock { file })
    }

    fn lock_file(&self, name: &str) -> Result<File, DirError> {
        let file = store::lock_file(&self.path.join(name));
        file.map_err(|source| DirError::unusable(&self.path, source))
    }
}

/// Why the state directory is of no use now.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// It cannot be read or written.
    #[error("cannot use the state directory {}: {source}", .path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another program uses it.
    #[error("{}", busy_words(.path, *.kind))]
    Busy {
        /// The directory.
        path: PathBuf,
        /// Which program.
        kind: LockKind,
    },
    /// The identity cannot be read.
    #[error("{reason}; register this machine again with a ticket")]
    Damaged {
        /// What is wrong, and where the file is now.
        reason: String,
    },
}

impl DirError {
    fn unusable(path: &Path, source: io::Error) -> Self {
        Self::Unusable { path: path.to_owned(), source }
    }

    /// Whether a user without the right asked.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Unusable { source, .. } if source.kind() == ErrorKind::PermissionDenied)
    }
}

fn busy_words(path: &Path, kind: LockKind) -> String {
    let path = path.display();
    match kind {
        LockKind::Command => format!(
            "another `mainstay` command, or the kubeadm that one has started, is at work with the \
             state directory {path}; wait for its end"
        ),
        LockKind::Agent => format!("an agent runs already with the state directory {path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Kubeadm, MemberKey};
    use crate::protocol::Intent;
    use std::os::unix::fs::PermissionsExt;

    fn identity() -> Identity {
        let key = MemberKey::generate().unwrap();
        Identity::new("master1".to_owned(), Intent::Init, None, 6443, key)
    }

    #[test]
    fn an_identity_is_kept_for_its_owner_only() {
        let temp = tempfile::tempdir().unwrap();
        let dir = AgentDir::open(&temp.path().join("a/b")).unwrap();
        assert!(dir.load().unwrap().is_none());
        dir.create(&identity()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(mode(&dir.path().join(IDENTITY)), 0o600);
        let changed = dir.update(|it| it.kubeadm = Kubeadm::Done).unwrap().unwrap();
        assert_eq!(changed.kubeadm, Kubeadm::Done);
        assert_eq!(dir.load().unwrap().unwrap().kubeadm, Kubeadm::Done);
        dir.forget().unwrap();
        assert!(dir.update(|_| ()).unwrap().is_none(), "what is gone stays gone");
        assert!(dir.load().unwrap().is_none());
        dir.forget().unwrap();
    }

    #[test]
    fn one_command_and_one_agent_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let dir = AgentDir::open(temp.path()).unwrap();
        let command = dir.lock(LockKind::Command).unwrap();
        let _agent = dir.lock(LockKind::Agent).unwrap();
        let busy = dir.lock(LockKind::Command).unwrap_err();
        assert!(busy.to_string().contains("another `mainstay` command"), "{busy}");
        assert!(matches!(dir.lock(LockKind::Agent), Err(DirError::Busy { .. })));
        drop(command);
        dir.lock(LockKind::Command).unwrap();
    }

    #[test]
    fn a_damaged_identity_is_told_and_set_aside() {
        let temp = tempfile::tempdir().unwrap();
        let dir = AgentDir::open(temp.path()).unwrap();
        fs::write(temp.path().join(IDENTITY), "{\"name\": \"ma").unwrap();
        let error = dir.load().unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains("register"), "{error}");
        assert!(dir.load().unwrap().is_none());
    }
}

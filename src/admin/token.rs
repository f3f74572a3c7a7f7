//! The secret that lets its holder drain backends over TCP.
//!
//! It lies in the state directory, readable by the owner alone: who can read it administers this
//! host anyway. A unix socket needs none.

use std::fs::{File, read_to_string};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use bootstrap::kubeadm::{OsRandom, Random};
use bootstrap::store;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Name of the file in the state directory.
const FILE: &str = "admin-token";

/// Random bytes in a token.
const BYTES: usize = 32;

/// The admin token. Its text is never shown.
pub(crate) struct AdminToken(Zeroizing<String>);

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken")
    }
}

impl AdminToken {
    /// The token of this state directory; made if there is none.
    pub(crate) fn of(state_dir: &Path) -> anyhow::Result<Self> {
        match Self::read(state_dir)? {
            Some(token) => Ok(token),
            None => Self::make(state_dir),
        }
    }

    /// The token that a running balancer made. An empty file is none: a full disk or a crash left it
    /// there before anybody knew a token.
    pub(crate) fn read(state_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = state_dir.join(FILE);
        match read_to_string(&path).map(Zeroizing::new) {
            Ok(text) if text.trim().len() == 2 * BYTES => {
                Ok(Some(Self(Zeroizing::new(text.trim().to_owned()))))
            }
            Ok(text) if text.is_empty() => Ok(None),
            Ok(_) => anyhow::bail!("{} is damaged; remove it and restart", path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Makes one, or finds that of another process which was quicker.
    fn make(state_dir: &Path) -> anyhow::Result<Self> {
        let path = state_dir.join(FILE);
        let cannot = || format!("cannot write {}", path.display());
        let directory = File::open(state_dir).with_context(cannot)?;
        // Held until the token is in place. A file system without such locks (NFS) is none to give
        // the token up for.
        directory.lock().ok();
        if let Some(token) = Self::read(state_dir)? {
            return Ok(token);
        }
        let mut bytes = Zeroizing::new([0; BYTES]);
        OsRandom.fill(bytes.as_mut_slice())?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = Self(Zeroizing::new(hex));
        store::save(&path, token.0.as_bytes()).with_context(cannot)?;
        Ok(token)
    }

    /// Whether `given` is the token; takes the same time for every wrong one.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    /// The value of an `Authorization` header.
    pub(super) fn bearer(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", self.0.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_made_once_and_kept_secret() {
        let dir = tempfile::tempdir().unwrap();
        assert!(AdminToken::read(dir.path()).unwrap().is_none());
        let made = AdminToken::of(dir.path()).unwrap();
        let read = AdminToken::of(dir.path()).unwrap();
        assert!(made.is(read.0.as_bytes()));
        assert!(!made.is(b"") && !made.is(&[b'0'; 64]));
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(format!("{made:?}"), "AdminToken");
    }

    #[test]
    fn a_damaged_file_is_said_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "short").unwrap();
        assert!(AdminToken::of(dir.path()).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn what_a_full_disk_left_is_no_token() {
        let dir = tempfile::tempdir().unwrap();
        // A directory in the way of the new file fails as a full disk does: before the rename.
        let beside = dir.path().join("admin-token.new");
        std::fs::create_dir(&beside).unwrap();
        AdminToken::of(dir.path()).unwrap_err();
        assert!(!dir.path().join(FILE).exists(), "half of a token is none");
        std::fs::remove_dir(beside).unwrap();
        std::fs::write(dir.path().join(FILE), "").unwrap();
        assert!(AdminToken::read(dir.path()).unwrap().is_none());
        let made = AdminToken::of(dir.path()).unwrap();
        assert!(made.is(AdminToken::read(dir.path()).unwrap().unwrap().0.as_bytes()));
    }

    #[test]
    fn all_who_start_at_once_have_the_same() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "").unwrap();
        let tokens = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| AdminToken::of(dir.path()).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(tokens.iter().all(|token| token.is(tokens[0].0.as_bytes())));
    }
}

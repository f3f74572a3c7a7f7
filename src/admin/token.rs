//! The secret that lets its holder drain backends over TCP.
//!
//! It lies in the state directory, readable by the owner alone: who can read it administers this
//! host anyway. A unix socket needs none.

use std::fs::{OpenOptions, read_to_string};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use bootstrap::kubeadm::{OsRandom, Random};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Name of the file in the state directory.
const FILE: &str = "admin-token";

/// Random bytes in a token.
const BYTES: usize = 32;

/// Readable by the owner alone.
const MODE: u32 = 0o600;

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

    /// The token that a running balancer made.
    pub(crate) fn read(state_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = state_dir.join(FILE);
        match read_to_string(&path).map(Zeroizing::new) {
            Ok(text) if text.trim().len() == 2 * BYTES => {
                Ok(Some(Self(Zeroizing::new(text.trim().to_owned()))))
            }
            Ok(_) => anyhow::bail!("{} is damaged; remove it and restart", path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn make(state_dir: &Path) -> anyhow::Result<Self> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        OsRandom.fill(bytes.as_mut_slice())?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = Self(Zeroizing::new(hex));
        let path = state_dir.join(FILE);
        let written =
            OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path).and_then(
                |mut file| {
                    file.write_all(token.0.as_bytes())?;
                    file.sync_all()
                },
            );
        written.with_context(|| format!("cannot write {}", path.display()))?;
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
        assert_eq!(mode & 0o777, MODE);
        assert_eq!(format!("{made:?}"), "AdminToken");
    }

    #[test]
    fn a_damaged_file_is_said_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "short").unwrap();
        assert!(AdminToken::of(dir.path()).unwrap_err().to_string().contains("damaged"));
    }
}

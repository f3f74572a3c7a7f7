//! What the source logs in with: a kubeconfig of the operator's, or one that a master handed over.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use common::files;
use zeroize::Zeroizing;

use crate::cluster::{Access, AccessError};

/// A kubeconfig. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A file of the operator's, read again for each connection.
    File(PathBuf),
    /// A text that a master handed over. It may name nothing outside of itself: neither files nor
    /// commands.
    Handed(Arc<Zeroizing<String>>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Handed(_) => f.write_str("Handed"),
        }
    }
}

impl Credentials {
    /// The way to the cluster that the kubeconfig names.
    ///
    /// # Errors
    /// [`AccessError`]; a file may be mended meanwhile, a text is replaced as a whole.
    pub fn access(&self) -> Result<Access, AccessError> {
        match self {
            Self::File(path) => {
                // Whoever asks is not alone on its thread: it must not wait for a FIFO.
                files::check_regular(path)
                    .map_err(|error| AccessError::unreadable(path, &error))?;
                Access::load(std::slice::from_ref(path))
            }
            Self::Handed(text) => Access::handed(text),
        }
    }
}

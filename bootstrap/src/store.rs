//! Files that must survive a crash: the old content or the new one, never half of it.
//!
//! A file is written beside its place, synced, renamed over it, and its directory is synced; only
//! then [`save`] returns. A file that cannot be read is moved aside and told, so that the program
//! starts without it and an operator can look at it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tracing::warn;
use zeroize::Zeroizing;

/// State is for its owner only: it may hold keys.
const MODE: u32 = 0o600;

/// Largest file that is read: a thousand members with their certificates are below 4 MiB.
const BYTES_MAX: u64 = 8 << 20;

/// Replaces the content of a file, or makes the file. There may be one writer for each path.
///
/// # Errors
/// The disk's error; the old content is then in place, as it was.
pub fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = with_suffix(path, ".new");
    let written = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is left of it would only fill the disk further; it may never have been made.
        fs::remove_file(&beside).ok();
    }
    written?;
    File::open(directory_of(path))?.sync_all()
}

/// Writes a file that is not there yet; a rest of one that a crash left behind is thrown away.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Opens a file that is there to be locked, and makes it if it is not there.
///
/// # Errors
/// The disk's error.
pub fn lock_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE).open(path)
}

/// What is in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    /// Its content.
    Found(T),
    /// There is no such file: the first start.
    Absent,
    /// It was there and is no use. Go on without it.
    Damaged {
        /// One sentence for the log: which file, what is wrong with it, where it is now.
        reason: String,
    },
}

impl<T> Loaded<T> {
    /// The content; a damaged file is logged as a warning and is then as good as none.
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(content) => Some(content),
            Self::Absent => None,
            Self::Damaged { reason } => {
                warn!(reason, "a file of the state directory cannot be used; going on without it");
                None
            }
        }
    }
}

/// Reads a JSON file. One that is damaged is renamed, with `.damaged` at the end of its name; an
/// earlier one of that name is replaced.
pub fn load<T: DeserializeOwned>(path: &Path) -> Loaded<T> {
    let shown = path.display();
    let content = match read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Loaded::Absent,
        Err(error) => return damaged(path, &format!("cannot read {shown}: {error}")),
    };
    match serde_json::from_slice(&content) {
        Ok(content) => Loaded::Found(content),
        // The parser's own message may quote the content.
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            damaged(path, &format!("{shown} is damaged at line {line}, column {column}"))
        }
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::new());
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    file.take(BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > BYTES_MAX {
        return Err(io::Error::other("it is larger than 8 MiB"));
    }
    Ok(content)
}

/// Puts a file aside that cannot be used.
fn damaged<T>(path: &Path, what: &str) -> Loaded<T> {
    let aside = with_suffix(path, ".damaged");
    let reason = match fs::rename(path, &aside) {
        Ok(()) => format!("{what}; it is kept as {}", aside.display()),
        Err(error) => format!("{what}, and it cannot be moved aside: {error}"),
    };
    Loaded::Damaged { reason }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_saved_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("members.json");
        assert_eq!(load::<Vec<u32>>(&path), Loaded::Absent);
        save(&path, b"[1, 2]").unwrap();
        assert_eq!(load::<Vec<u32>>(&path), Loaded::Found(vec![1, 2]));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        save(&path, b"[3]").unwrap();
        assert_eq!(load::<Vec<u32>>(&path).found(), Some(vec![3]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_rest_of_a_crash_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("members.json");
        fs::write(with_suffix(&path, ".new"), "half of a fi").unwrap();
        save(&path, b"[1]").unwrap();
        assert_eq!(load::<Vec<u32>>(&path), Loaded::Found(vec![1]));
    }

    #[test]
    fn a_damaged_file_is_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("members.json");
        fs::write(&path, "[1, secret").unwrap();
        let Loaded::Damaged { reason } = load::<Vec<u32>>(&path) else {
            panic!("it is damaged");
        };
        assert!(reason.contains("members.json is damaged at line 1, column 5"), "{reason}");
        assert!(reason.contains("kept as") && !reason.contains("secret"), "{reason}");
        assert_eq!(load::<Vec<u32>>(&path), Loaded::Absent);
        let kept = directory.path().join("members.json.damaged");
        assert_eq!(fs::read_to_string(kept).unwrap(), "[1, secret");
    }

    #[test]
    fn a_directory_in_its_place_is_moved_aside_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("members.json");
        fs::create_dir(&path).unwrap();
        assert!(matches!(load::<Vec<u32>>(&path), Loaded::Damaged { .. }));
        save(&path, b"[]").unwrap();
    }

    #[test]
    fn a_full_disk_leaves_the_old_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("members.json");
        save(&path, b"[1]").unwrap();
        // A directory in the way of the new file fails as a full disk does: before the rename.
        fs::create_dir(with_suffix(&path, ".new")).unwrap();
        assert!(save(&path, b"[2]").is_err());
        assert_eq!(load::<Vec<u32>>(&path), Loaded::Found(vec![1]));
    }
}

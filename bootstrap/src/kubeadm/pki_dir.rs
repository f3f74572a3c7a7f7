//! The certificates on a master's disk: `/etc/kubernetes/pki` and the files of an external etcd.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};
use zeroize::Zeroizing;

use super::cert_set::{CertSet, Defects};
use super::cluster_config::{ClusterConfiguration, Etcd, ExternalEtcd};
use super::entry::{CertEntry, EntryKind, Topology};

/// Mode of a private key: its owner only, as kubeadm sets it.
const PRIVATE_MODE: u32 = 0o600;

/// Mode of certificates and `sa.pub`; kubeadm since 1.22.
const PUBLIC_MODE: u32 = 0o644;

/// Mode of a directory that had to be made.
const DIRECTORY_MODE: u32 = 0o755;

/// Longest file that is read: a Secret could not hold more (`MaxSecretSize`).
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where each file of one cluster is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PkiDirectory {
    certificates_dir: PathBuf,
    external_etcd: Option<ExternalEtcd>,
}

/// What to do about a file that exists with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// Write nothing at all.
    Keep,
    /// Replace it.
    Force,
}

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOutcome {
    /// It is new or was replaced.
    Written,
    /// It was there already, byte for byte; its mode is left alone.
    Unchanged,
}

impl PkiDirectory {
    /// The files of a cluster with stacked etcd.
    #[must_use]
    pub fn stacked(certificates_dir: impl Into<PathBuf>) -> Self {
        Self { certificates_dir: certificates_dir.into(), external_etcd: None }
    }

    /// The files of a cluster with external etcd.
    #[must_use]
    pub fn external(certificates_dir: impl Into<PathBuf>, etcd: ExternalEtcd) -> Self {
        Self { certificates_dir: certificates_dir.into(), external_etcd: Some(etcd) }
    }

    /// The files that a cluster's own configuration names.
    #[must_use]
    pub fn of(cluster: &ClusterConfiguration) -> Self {
        match &cluster.etcd {
            Etcd::Local => Self::stacked(&cluster.certificates_dir),
            Etcd::External(etcd) => Self::external(&cluster.certificates_dir, etcd.clone()),
        }
    }

    /// Where the etcd of this cluster runs.
    #[must_use]
    pub fn topology(&self) -> Topology {
        if self.external_etcd.is_some() { Topology::External } else { Topology::Stacked }
    }

    /// The path of an entry, or `None` if this cluster has no such file.
    #[must_use]
    pub fn path(&self, entry: CertEntry) -> Option<PathBuf> {
        if let Some(file) = entry.file_in_certificates_dir() {
            return Some(self.certificates_dir.join(file));
        }
        let etcd = self.external_etcd.as_ref()?;
        match entry {
            CertEntry::ExternalEtcdCaCert => etcd.ca_file.clone(),
            CertEntry::ExternalEtcdCert => etcd.cert_file.clone(),
            CertEntry::ExternalEtcdKey => etcd.key_file.clone(),
            _ => None,
        }
    }

    /// Reads all files of the topology; those that do not exist are absent from the set.
    ///
    /// # Errors
    /// [`PkiError`] if a file exists and cannot be read, or is longer than 1 MiB.
    pub fn read(&self) -> Result<CertSet, PkiError> {
        let mut files = Vec::new();
        for entry in self.topology().entries().iter().copied() {
            if let Some(path) = self.path(entry)
                && let Some(file) = read_file(&path)?
            {
                files.push((entry, file));
            }
        }
        Ok(CertSet::new(self.topology(), files))
    }

    /// Writes the files of the set and says what became of each. Absent ones are passed over.
    ///
    /// Everything is checked first, then every new file is written in full next to its place and
    /// synced, and only then are they renamed, so a failure leaves no half-written file.
    ///
    /// # Errors
    /// [`PkiError`]: the set is of another topology or has defects other than absent files, files
    /// exist with other content and `mode` keeps them, or the disk refuses.
    pub fn write(
        &self,
        certs: &CertSet,
        mode: WriteMode,
    ) -> Result<Vec<(PathBuf, FileOutcome)>, PkiError> {
        if certs.topology() != self.topology() {
            let (found, expected) = (certs.topology(), self.topology());
            return Err(PkiError::OtherTopology { found, expected });
        }
        let mut defects = certs.defects();
        defects.retain(|defect| !defect.is_absence());
        if !defects.is_empty() {
            return Err(PkiError::Defects(Defects(defects)));
        }
        let plan = self.plan(certs, mode)?;
        let staged = plan.iter().map(Planned::stage).collect::<Result<Vec<_>, _>>()?;
        for (planned, temporary) in plan.iter().zip(staged) {
            planned.commit(temporary, mode)?;
        }
        Ok(plan.into_iter().map(|planned| (planned.path, planned.outcome)).collect())
    }

    /// Compares the set with the disk.
    fn plan<'a>(&self, certs: &'a CertSet, mode: WriteMode) -> Result<Vec<Planned<'a>>, PkiError> {
        let mut plan = Vec::new();
        let mut in_the_way = Vec::new();
        for (entry, file) in certs.entries() {
            let (Some(content), Some(path)) = (file, self.path(entry)) else {
                continue;
            };
            let outcome = match read_file(&path)? {
                Some(found) if found.as_slice() == content => FileOutcome::Unchanged,
                Some(_) if mode == WriteMode::Keep => {
                    in_the_way.push(path);
                    continue;
                }
                _ => FileOutcome::Written,
            };
            let private = entry.kind() == EntryKind::PrivateKey;
            let file_mode = if private { PRIVATE_MODE } else { PUBLIC_MODE };
            plan.push(Planned { path, content, file_mode, outcome });
        }
        if in_the_way.is_empty() { Ok(plan) } else { Err(PkiError::Exists { paths: in_the_way }) }
    }
}

/// One file and what is to become of it.
struct Planned<'a> {
    path: PathBuf,
    content: &'a [u8],
    file_mode: u32,
    outcome: FileOutcome,
}

impl Planned<'_> {
    /// Writes the content into a temporary file in the same directory and syncs it. The temporary
    /// file goes away by itself if it is never committed.
    fn stage(&self) -> Result<Option<TempPath>, PkiError> {
        if self.outcome == FileOutcome::Unchanged {
            return Ok(None);
        }
        let staged = || {
            let directory = directory_of(&self.path);
            DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
            let mut file = NamedTempFile::new_in(directory)?;
            file.write_all(self.content)?;
            file.as_file().set_permissions(Permissions::from_mode(self.file_mode))?;
            file.as_file().sync_all()?;
            Ok(Some(file.into_temp_path()))
        };
        staged().map_err(|source| PkiError::Write { path: self.path.clone(), source })
    }

    /// Puts the staged file in its place. Unless forced, a file that appeared meanwhile is kept.
    fn commit(&self, staged: Option<TempPath>, mode: WriteMode) -> Result<(), PkiError> {
        let Some(staged) = staged else { return Ok(()) };
        let placed = match mode {
            WriteMode::Keep => staged.persist_noclobber(&self.path),
            WriteMode::Force => staged.persist(&self.path),
        };
        placed
            .map_err(|failed| failed.error)
            .and_then(|()| File::open(directory_of(&self.path))?.sync_all())
            .map_err(|source| PkiError::Write { path: self.path.clone(), source })
    }
}

/// The directory a file stands in.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a file whole, or `None` if there is none.
fn read_file(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, PkiError> {
    let read = |source| PkiError::Read { path: path.to_owned(), source };
    let length = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(read(io::Error::other("not a regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    // Room for all of it at once, so that growing leaves no copy of a key behind.
    let room = usize::try_from(length.min(MAX_FILE_BYTES)).unwrap_or_default() + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    let file = File::open(path).map_err(read)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(read)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(PkiError::TooLong { path: path.to_owned() });
    }
    Ok(Some(content))
}

/// Why the certificates could not be read or written. Nothing is half-written; after
/// [`Write`](PkiError::Write) some files may be new and others old, and writing again mends it.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file exists and cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No certificate is that long.
    #[error("{} is longer than 1 MiB, so it is no certificate", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Files with other content are there. Nothing was written.
    #[error("already there with other content: {}; nothing was written", list(.paths))]
    Exists {
        /// All such files.
        paths: Vec<PathBuf>,
    },
    /// The certificates are of a cluster with another kind of etcd.
    #[error("the certificates are of a cluster with {found}, the directory of one with {expected}")]
    OtherTopology {
        /// Topology of the certificates.
        found: Topology,
        /// Topology of the directory.
        expected: Topology,
    },
    /// The certificates are not fit for use. Nothing was written.
    #[error("the certificates are not fit for use: {0}")]
    Defects(Defects),
}

/// Paths for a message.
fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

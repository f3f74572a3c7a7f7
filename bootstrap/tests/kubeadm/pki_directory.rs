//! Certificates on disk: modes, nothing overwritten, nothing half-written.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bootstrap::kubeadm::{
    CertEntry, CertSet, FileOutcome, PkiDirectory, PkiError, Topology, WriteMode,
};

use crate::support::{CLUSTERS, bytes, path};

fn master0(cluster: &str) -> CertSet {
    PkiDirectory::stacked(path(&format!("{cluster}/pki-master0"))).read().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every file below a directory, temporary ones included.
fn files_below(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[test]
fn a_masters_certificates_are_restored_byte_for_byte() {
    for cluster in CLUSTERS {
        let certs = master0(cluster);
        let root = tempfile::tempdir().unwrap();
        let pki = root.path().join("etc/kubernetes/pki");
        let directory = PkiDirectory::stacked(&pki);
        let written = directory.write(&certs, WriteMode::Keep).unwrap();
        assert_eq!(written.len(), 8);
        for (file, outcome) in &written {
            assert_eq!(*outcome, FileOutcome::Written);
            let name = file.strip_prefix(&pki).unwrap().display().to_string();
            assert_eq!(fs::read(file).unwrap(), bytes(&format!("{cluster}/pki-master0/{name}")));
            assert_eq!(mode(file), if name.ends_with(".key") { 0o600 } else { 0o644 });
        }
        assert_eq!(mode(&pki.join("etcd")), 0o755);
        assert_eq!(files_below(root.path()), 8);
        assert_eq!(directory.read().unwrap(), certs);

        let again = directory.write(&certs, WriteMode::Keep).unwrap();
        assert!(again.iter().all(|(_, outcome)| *outcome == FileOutcome::Unchanged));
    }
}

#[test]
fn other_content_is_kept_unless_forced() {
    let root = tempfile::tempdir().unwrap();
    let directory = PkiDirectory::stacked(root.path());
    let key = directory.path(CertEntry::CaKey).unwrap();
    fs::write(&key, "mine").unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();

    let certs = master0("kubeadm-1.36");
    let error = directory.write(&certs, WriteMode::Keep).unwrap_err();
    assert!(matches!(&error, PkiError::Exists { paths } if *paths == [key.clone()]), "{error}");
    assert_eq!(files_below(root.path()), 1);
    assert_eq!(fs::read(&key).unwrap(), b"mine");

    directory.write(&certs, WriteMode::Force).unwrap();
    assert_eq!(fs::read(&key).unwrap(), bytes("kubeadm-1.36/pki-master0/ca.key"));
    assert_eq!(mode(&key), 0o600);
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    // A file where the directory of etcd's CA must be.
    fs::write(root.path().join("etcd"), "in the way").unwrap();
    let directory = PkiDirectory::stacked(root.path());
    let error = directory.write(&master0("kubeadm-1.20"), WriteMode::Force).unwrap_err();
    assert!(error.to_string().contains("etcd/ca.crt"), "{error}");
    assert_eq!(files_below(root.path()), 1);
}

#[test]
fn unfit_certificates_are_not_written() {
    let root = tempfile::tempdir().unwrap();
    let directory = PkiDirectory::stacked(root.path());
    let mixed = CertSet::new(
        Topology::Stacked,
        [("1.20", CertEntry::CaCert, "ca.crt"), ("1.36", CertEntry::CaKey, "ca.key")].map(
            |(version, entry, file)| {
                (entry, bytes(&format!("kubeadm-{version}/pki-master0/{file}")).into())
            },
        ),
    );
    let error = directory.write(&mixed, WriteMode::Force).unwrap_err();
    assert!(error.to_string().contains("ca.key does not belong to ca.crt"), "{error}");
    let external = CertSet::new(Topology::External, []);
    let error = directory.write(&external, WriteMode::Force).unwrap_err();
    assert!(matches!(error, PkiError::OtherTopology { .. }));
    assert_eq!(files_below(root.path()), 0);
}

#[test]
fn missing_files_are_absent_and_others_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let directory = PkiDirectory::stacked(root.path());
    let certs = directory.read().unwrap();
    assert!(certs.entries().all(|(_, file)| file.is_none()));
    assert_eq!(directory.write(&certs, WriteMode::Keep).unwrap(), []);

    fs::create_dir(root.path().join("ca.crt")).unwrap();
    assert!(matches!(directory.read(), Err(PkiError::Read { .. })));
    fs::write(root.path().join("sa.pub"), vec![b'x'; (1 << 20) + 1]).unwrap();
    fs::remove_dir(root.path().join("ca.crt")).unwrap();
    assert!(matches!(directory.read(), Err(PkiError::TooLong { .. })));
}

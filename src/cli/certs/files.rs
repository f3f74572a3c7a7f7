//! The certificates on a master's disk, made ready for an upload.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use bootstrap::kubeadm::{
    CertSet, CertificateKey, ClusterConfiguration, Expiration, OsRandom, PkiDirectory, PkiError,
    Validity,
};
use clap::Args;
use jiff::Timestamp;

use super::super::{api, input};
use crate::exit::{Exit, Stop};

/// kubeadm's default of `certificatesDir`.
pub(super) const CERTIFICATES_DIR: &str = "/etc/kubernetes/pki";

/// What is uploaded, and the key that seals it.
#[derive(Args, Debug)]
pub(crate) struct CertificateFiles {
    /// Use the certificate key of this file, or of the standard input (`-`) [default: a new one].
    #[arg(long, value_name = "FILE")]
    certificate_key_file: Option<PathBuf>,

    /// Where the certificates are [default: what kubeadm-config says, /etc/kubernetes/pki].
    #[arg(long, value_name = "DIR")]
    certificate_dir: Option<PathBuf>,
}

impl CertificateFiles {
    /// Whether the key is one that somebody keeps already.
    pub(crate) fn has_key_file(&self) -> bool {
        self.certificate_key_file.is_some()
    }

    /// Whether any of it was said on the command line.
    pub(crate) fn is_given(&self) -> bool {
        self.certificate_key_file.is_some() || self.certificate_dir.is_some()
    }

    /// The file of the key, if it is given.
    pub(crate) fn key_file(&self) -> Option<&std::path::Path> {
        self.certificate_key_file.as_deref()
    }

    /// The given key, or a new one.
    pub(crate) fn key(&self) -> anyhow::Result<CertificateKey> {
        let Some(file) = &self.certificate_key_file else {
            return Ok(CertificateKey::generate(&mut OsRandom)?);
        };
        let key = input::certificate_key(file)?;
        if key.can_seal() {
            return Ok(key);
        }
        Err(Stop::usage(
            "a certificate key shorter than 32 bytes only opens what is sealed already; make a new \
             one with `mainstay certs key`",
        )
        .into())
    }

    /// Reads and checks the certificates; says on stderr what an operator should know.
    pub(crate) fn read(&self, cluster: Option<&ClusterConfiguration>) -> anyhow::Result<CertSet> {
        let directory = self.directory(cluster);
        let found = directory.read().map_err(|error| disk_failed(&error, ""))?;
        if found.entries().all(|(_, file)| file.is_none()) {
            let ca = directory.path(bootstrap::kubeadm::CertEntry::CaCert);
            let ca = ca.unwrap_or_default();
            return Err(Stop::failed(format!(
                "there are no certificates (no {}); run this on a master, or give \
                 --certificate-dir",
                ca.display()
            ))
            .into());
        }
        let upload = found.into_upload().map_err(|defects| {
            Stop::failed(format!("the certificates are not fit for a join: {defects}"))
        })?;
        for entry in &upload.converted {
            input::warn(&format!(
                "{entry} is uploaded in SEC1 form, because kubeadm up to 1.21 reads no EC key in \
                 PKCS#8; it is the same key"
            ));
        }
        warn_of_dates(&upload.certs, Timestamp::now());
        Ok(upload.certs)
    }

    fn directory(&self, cluster: Option<&ClusterConfiguration>) -> PkiDirectory {
        let given = self.certificate_dir.clone();
        match cluster {
            None => PkiDirectory::stacked(given.unwrap_or_else(|| CERTIFICATES_DIR.into())),
            Some(cluster) => {
                let mut cluster = cluster.clone();
                cluster.certificates_dir = given.unwrap_or(cluster.certificates_dir);
                PkiDirectory::of(&cluster)
            }
        }
    }
}

/// The end of an upload that lives this long.
pub(crate) fn end_of_upload(ttl: Duration) -> anyhow::Result<Expiration> {
    let end = api::end_of(ttl, Timestamp::now()).filter(|_| ttl >= Duration::from_secs(1));
    Ok(end.ok_or_else(|| {
        Stop::usage("certificates are not uploaded without an end; give a lifetime such as 1h")
    })?)
}

/// Says which certificates do not hold now.
pub(super) fn warn_of_dates(certs: &CertSet, now: Timestamp) {
    for dates in certs.certificates() {
        let entry = dates.entry;
        match dates.validity(now) {
            Validity::Current => {}
            Validity::NotYet => input::warn(&format!(
                "{entry} is not valid yet; is the clock of this machine right?"
            )),
            Validity::Expired => {
                input::warn(&format!("{entry} has expired; a join will fail until it is renewed"));
            }
        }
    }
}

/// The end of something because of the disk, with the way out if there is one.
pub(super) fn disk_failed(error: &PkiError, way_out: &str) -> Stop {
    match error {
        PkiError::Read { source, .. } | PkiError::Write { source, .. }
            if source.kind() == ErrorKind::PermissionDenied =>
        {
            let root = "only root may touch a master's private keys";
            Stop::new(Exit::Refused, format!("{error}; {root}"))
        }
        _ => Stop::failed(format!("{error}{way_out}")),
    }
}

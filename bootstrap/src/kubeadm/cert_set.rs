//! The certificates of one cluster in clear, and what is wrong with them.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::entry::{CertEntry, EntryKind, Topology};
use super::key_pair::{PrivateKey, PublicKey};
use super::pem::{self, PemBlock};

/// The files that a new master needs, as raw bytes, for one topology.
///
/// A file that is missing or empty is absent: kubeadm makes no difference between the two. The
/// bytes are wiped on drop and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct CertSet {
    topology: Topology,
    files: BTreeMap<CertEntry, Zeroizing<Vec<u8>>>,
}

/// A set made ready for upload by [`CertSet::into_upload`].
#[derive(Debug)]
pub struct Upload {
    /// The set; it has no defects, and its EC keys are in SEC1 form.
    pub certs: CertSet,
    /// The keys that had to be rewritten from PKCS#8 to SEC1, because kubeadm up to 1.21 refuses an
    /// EC key in PKCS#8. Same key, other bytes; every kubeadm reads SEC1.
    pub converted: Vec<CertEntry>,
}

impl CertSet {
    /// Puts a set together. Empty files count as absent; entries that are not of this topology are
    /// left out.
    #[must_use]
    pub fn new(
        topology: Topology,
        files: impl IntoIterator<Item = (CertEntry, Zeroizing<Vec<u8>>)>,
    ) -> Self {
        let wanted = topology.entries();
        let files = files
            .into_iter()
            .filter(|(entry, file)| wanted.contains(entry) && !file.is_empty())
            .collect();
        Self { topology, files }
    }

    /// Where this cluster's etcd runs.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The bytes of one file, or `None` if it is absent.
    #[must_use]
    pub fn file(&self, entry: CertEntry) -> Option<&[u8]> {
        self.files.get(&entry).map(|file| file.as_slice())
    }

    /// Every entry of the topology with its file, absent ones included.
    pub fn entries(&self) -> impl Iterator<Item = (CertEntry, Option<&[u8]>)> {
        self.topology.entries().iter().map(|entry| (*entry, self.file(*entry)))
    }

    /// Everything that would make a join fail or a cluster split: absent files, files that hold
    /// something else than their name says, keys that do not fit their certificate. Dates are not
    /// looked at, see [`CertSet::certificates`].
    #[must_use]
    pub fn defects(&self) -> Vec<Defect> {
        let entries = self.topology.entries();
        let files = entries.iter().filter_map(|entry| self.file_defect(*entry));
        let pairs = entries.iter().filter_map(|entry| self.pair_defect(*entry));
        files.chain(pairs).collect()
    }

    /// The dates of the first certificate of each file, as kubeadm uses the first only.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateDates> {
        let dates = |(entry, file): (CertEntry, Option<&[u8]>)| {
            let blocks = pem::blocks(file?);
            let certificate = first_certificate(&blocks)?;
            let validity = certificate.validity();
            // "No end" is written as the last second of 9999 (RFC 5280), a day beyond jiff's range.
            let moment = |second| Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
            Some(CertificateDates {
                entry,
                not_before: moment(validity.not_before.timestamp()),
                not_after: moment(validity.not_after.timestamp()),
            })
        };
        self.entries().filter_map(dates).collect()
    }

    /// Makes the set ready for upload.
    ///
    /// # Errors
    /// [`Defects`] if there are any. kubeadm uploads such sets too, and the join fails later.
    pub fn into_upload(mut self) -> Result<Upload, Defects> {
        let defects = self.defects();
        if !defects.is_empty() {
            return Err(Defects(defects));
        }
        let mut converted = Vec::new();
        for (entry, file) in &mut self.files {
            let key = PrivateKey::from_blocks(&pem::blocks(file)).filter(PrivateKey::is_ec_pkcs8);
            if let Some(sec1) = key.and_then(|key| key.to_sec1_pem()) {
                *file = sec1;
                converted.push(*entry);
            }
        }
        Ok(Upload { certs: self, converted })
    }

    /// What is wrong with one file by itself.
    fn file_defect(&self, entry: CertEntry) -> Option<Defect> {
        let Some(file) = self.file(entry) else {
            return (!entry.may_be_empty()).then_some(Defect::Absent { entry });
        };
        let blocks = pem::blocks(file);
        if blocks.is_empty() {
            return Some(Defect::NotPem { entry });
        }
        let good = match entry.kind() {
            EntryKind::Authority => match first_certificate(&blocks) {
                Some(certificate) if !certificate.is_ca() => {
                    return Some(Defect::NotAuthority { entry });
                }
                certificate => certificate.is_some_and(|found| certified_key(&found).is_some()),
            },
            EntryKind::Certificate | EntryKind::PublicKey => {
                !public_keys(entry, &blocks).is_empty()
            }
            EntryKind::PrivateKey => PrivateKey::from_blocks(&blocks).is_some(),
        };
        (!good).then(|| Defect::WrongContent { entry, found: labels(&blocks) })
    }

    /// Whether a private key does not fit its certificate or public key.
    fn pair_defect(&self, key: CertEntry) -> Option<Defect> {
        let counterpart = key.counterpart()?;
        let private = PrivateKey::from_blocks(&pem::blocks(self.file(key)?))?;
        let public = public_keys(counterpart, &pem::blocks(self.file(counterpart)?));
        let fits = public.is_empty() || public.iter().any(|public| private.fits(public));
        (!fits).then_some(Defect::Mismatch { key, counterpart })
    }
}

impl fmt::Debug for CertSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.files.iter().map(|(entry, file)| (entry.data_key(), file.len()));
        f.debug_map().entries(sizes).finish()
    }
}

/// The public keys in a file of this entry's kind. Of certificates only the first counts; `sa.pub` has
/// the old and the new key, in any order, while the key of service accounts is replaced.
fn public_keys(entry: CertEntry, blocks: &[PemBlock]) -> Vec<PublicKey> {
    let bare = |block: &&PemBlock| block.label == "PUBLIC KEY";
    if entry.kind() == EntryKind::PublicKey && blocks.iter().any(|block| bare(&block)) {
        let keys = blocks.iter().filter(bare);
        return keys.filter_map(|block| PublicKey::from_spki(&block.der)).collect();
    }
    first_certificate(blocks).as_ref().and_then(certified_key).into_iter().collect()
}

fn certified_key(certificate: &X509Certificate<'_>) -> Option<PublicKey> {
    PublicKey::from_spki(certificate.public_key().raw)
}

fn first_certificate(blocks: &[PemBlock]) -> Option<X509Certificate<'_>> {
    let block = blocks.iter().find(|block| block.label == "CERTIFICATE")?;
    X509Certificate::from_der(&block.der).ok().map(|(_rest, certificate)| certificate)
}

/// The labels of a file's blocks, for a message.
fn labels(blocks: &[PemBlock]) -> String {
    let labels: Vec<_> = blocks.iter().map(|block| block.label.as_str()).collect();
    labels.join(", ")
}

/// From when until when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateDates {
    /// The file it stands in.
    pub entry: CertEntry,
    /// First second of validity.
    pub not_before: Timestamp,
    /// Last second of validity.
    pub not_after: Timestamp,
}

impl CertificateDates {
    /// How the certificate stands at `now`.
    #[must_use]
    pub fn validity(&self, now: Timestamp) -> Validity {
        if now < self.not_before {
            Validity::NotYet
        } else if now > self.not_after {
            Validity::Expired
        } else {
            Validity::Current
        }
    }
}

/// Whether a certificate holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It will hold later; usually a clock is wrong.
    NotYet,
    /// It holds.
    Current,
    /// It holds no more; renew it before any join.
    Expired,
}

/// One thing wrong with a [`CertSet`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// A file that a join needs is not there. For a `.key` next to its `.crt` this is an external
    /// CA, whose certificates kubeadm does not upload either.
    #[error(
        "{entry} is absent; a join needs it (with an external CA the certificates must be copied \
         by hand)"
    )]
    Absent {
        /// The entry.
        entry: CertEntry,
    },
    /// A file without a readable PEM block.
    #[error("{entry} is not PEM")]
    NotPem {
        /// The entry.
        entry: CertEntry,
    },
    /// PEM of another kind, or of a kind that kubeadm does not take (only RSA and EC keys are).
    #[error("{entry} must hold {} with an RSA or EC key that kubeadm reads, but holds: {found}", .entry.kind())]
    WrongContent {
        /// The entry.
        entry: CertEntry,
        /// The PEM labels found.
        found: String,
    },
    /// A certificate that may not sign others.
    #[error("{entry} is not the certificate of a CA")]
    NotAuthority {
        /// The entry.
        entry: CertEntry,
    },
    /// A private key that belongs to something else.
    #[error("{key} does not belong to {counterpart}")]
    Mismatch {
        /// The private key.
        key: CertEntry,
        /// The certificate or public key it was compared with.
        counterpart: CertEntry,
    },
}

impl Defect {
    /// The entry that it is about; of a pair, the private key.
    #[must_use]
    pub fn entry(&self) -> CertEntry {
        match self {
            Self::Absent { entry }
            | Self::NotPem { entry }
            | Self::WrongContent { entry, .. }
            | Self::NotAuthority { entry }
            | Self::Mismatch { key: entry, .. } => *entry,
        }
    }

    /// Whether only a file is missing, so that the others may still be of use.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

/// All defects of a set; never empty. Mend the files, there is nothing to retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defects(pub Vec<Defect>);

impl fmt::Display for Defects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, defect) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{defect}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Defects {}

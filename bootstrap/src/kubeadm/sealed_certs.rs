//! The content of the Secret `kubeadm-certs`.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::cert_set::CertSet;
use super::entry::{CertEntry, Topology};
use super::key::CertificateKey;
use super::object::{ObjectMeta, OwnerReference, Secret};
use super::random::{Random, RandomError};
use super::seal::{self, Nonce, OpenError, SealError};

/// Name of the Secret.
pub const CERTS_SECRET_NAME: &str = "kubeadm-certs";

/// Namespace of the Secret and of all bootstrap tokens.
pub const SYSTEM_NAMESPACE: &str = "kube-system";

/// Most bytes that all values of a Secret may have together; Kubernetes' `MaxSecretSize`.
const MAX_BYTES: usize = 1 << 20;

/// Sealed values by data key. Nothing in here is secret without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCerts {
    topology: Topology,
    values: BTreeMap<String, Vec<u8>>,
}

impl SealedCerts {
    /// Seals every entry of the topology with a fresh nonce; absent files become empty values.
    ///
    /// # Errors
    /// [`SealedCertsError`] if the key is not of 32 bytes, the result would not fit into a Secret,
    /// or there are no random numbers.
    pub fn seal(
        certs: &CertSet,
        key: &CertificateKey,
        random: &mut impl Random,
    ) -> Result<Self, SealedCertsError> {
        let mut values = BTreeMap::new();
        for (entry, file) in certs.entries() {
            let value = match file {
                Some(file) => seal::seal(key, Nonce::generate(random)?, file)
                    .map_err(|source| SealedCertsError::Seal { entry, source })?,
                None => Vec::new(),
            };
            values.insert(entry.data_key().to_owned(), value);
        }
        let bytes = values.values().map(Vec::len).sum();
        if bytes > MAX_BYTES {
            return Err(SealedCertsError::TooLarge { bytes });
        }
        Ok(Self { topology: certs.topology(), values })
    }

    /// Takes the values out of a Secret and finds the topology by the names that are there.
    ///
    /// # Errors
    /// [`SealedCertsError`] if it is another Secret or entries of the topology are missing. An
    /// entry may be empty, but its name must be there; kubeadm insists on that too.
    pub fn from_secret(secret: &Secret) -> Result<Self, SealedCertsError> {
        if secret.metadata.name != CERTS_SECRET_NAME {
            return Err(SealedCertsError::OtherSecret { name: secret.metadata.name.clone() });
        }
        let data = &secret.data.0;
        let has = |entry: CertEntry| data.contains_key(entry.data_key());
        let topology = match (has(CertEntry::EtcdCaCert), has(CertEntry::ExternalEtcdCaCert)) {
            (true, false) => Topology::Stacked,
            (false, true) => Topology::External,
            (true, true) => return Err(SealedCertsError::BothTopologies),
            (false, false) => return Err(SealedCertsError::NoTopology),
        };
        if let Some(entry) = topology.entries().iter().copied().find(|entry| !has(*entry)) {
            return Err(SealedCertsError::MissingEntry { entry, topology });
        }
        let values = data.iter().map(|(name, value)| (name.clone(), value.0.to_vec())).collect();
        Ok(Self { topology, values })
    }

    /// The Secret to write. With `owner` it disappears when the owner does; without it stays until
    /// somebody deletes it. No type is set, so the API server stores `Opaque`, as for kubeadm.
    #[must_use]
    pub fn to_secret(&self, owner: Option<OwnerReference>) -> Secret {
        let mut metadata = ObjectMeta::named(CERTS_SECRET_NAME, SYSTEM_NAMESPACE);
        metadata.owner_references.extend(owner);
        let mut secret = Secret::new(metadata);
        for (name, value) in &self.values {
            secret.data.insert(name, value.clone());
        }
        secret
    }

    /// Where the etcd of this cluster runs, by the names of the entries. A joiner goes by
    /// `kubeadm-config` instead, so compare the two.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Names and lengths of all values in bytes, foreign ones included.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.len()))
    }

    /// Opens all values or none. A value that opens to nothing counts as absent. A foreign entry
    /// must open as well, or every join fails; its content is not kept.
    ///
    /// # Errors
    /// [`SealedCertsError`] tells a wrong key (nothing opens) from a damaged or foreign entry.
    pub fn open(&self, key: &CertificateKey) -> Result<CertSet, SealedCertsError> {
        let mut opened = Vec::new();
        let mut failed = Vec::new();
        for (name, value) in self.values.iter().filter(|(_, value)| !value.is_empty()) {
            match seal::open(key, value) {
                Ok(file) => opened.push((name, file)),
                Err(source) => failed.push((name, source)),
            }
        }
        if !failed.is_empty() {
            return Err(SealedCertsError::of(&failed, opened.is_empty()));
        }
        let named = |(name, file): (&String, Zeroizing<Vec<u8>>)| {
            CertEntry::from_data_key(name).map(|entry| (entry, file))
        };
        Ok(CertSet::new(self.topology, opened.into_iter().filter_map(named)))
    }
}

/// Why `kubeadm-certs` could not be made or read. Except for [`Random`](SealedCertsError::Random),
/// trying again gives the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedCertsError {
    /// The Secret is not `kubeadm-certs`.
    #[error("the Secret is {name:?}, not \"kubeadm-certs\"")]
    OtherSecret {
        /// Its name.
        name: String,
    },
    /// Neither etcd CA is there.
    #[error(
        "the Secret names no etcd CA (etcd-ca.crt or external-etcd-ca.crt), so it was not made by \
         kubeadm; upload the certificates again"
    )]
    NoTopology,
    /// Both etcd CAs are there.
    #[error(
        "the Secret names both etcd-ca.crt and external-etcd-ca.crt; a cluster has one of the two, \
         so upload the certificates again"
    )]
    BothTopologies,
    /// An entry that every join of this topology asks for is not there, not even empty.
    #[error("the Secret lacks {entry}, which a join with {topology} needs; upload again")]
    MissingEntry {
        /// The entry.
        entry: CertEntry,
        /// The topology found.
        topology: Topology,
    },
    /// Nothing opens with this key.
    #[error(
        "the certificate key does not open the Secret; each upload makes a new key, so use the one \
         of the latest upload or upload again"
    )]
    WrongKey,
    /// One of kubeadm's entries does not open.
    #[error("{entry} cannot be opened, so no certificate is used: {source}; upload again")]
    Open {
        /// The entry.
        entry: CertEntry,
        /// Why.
        source: OpenError,
    },
    /// An entry that does not belong there, and is not sealed with the key.
    #[error(
        "the Secret has a foreign entry {name:?} that is not sealed with the certificate key; it \
         makes every join fail, so remove it"
    )]
    ForeignEntry {
        /// Its name.
        name: String,
    },
    /// A file could not be sealed.
    #[error("{entry}: {source}")]
    Seal {
        /// The entry.
        entry: CertEntry,
        /// Why.
        source: SealError,
    },
    /// The sealed files together are more than a Secret holds.
    #[error("the sealed certificates have {bytes} bytes, more than the 1048576 of a Secret")]
    TooLarge {
        /// Bytes of all values.
        bytes: usize,
    },
    /// No nonce could be made.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl SealedCertsError {
    /// The error that helps most, of all entries that do not open.
    fn of(failed: &[(&String, OpenError)], nothing_opened: bool) -> Self {
        if nothing_opened && failed.iter().all(|(_, why)| *why == OpenError::Authentication) {
            return Self::WrongKey;
        }
        let ours = |(name, source): &(&String, OpenError)| {
            let entry = CertEntry::from_data_key(name)?;
            Some(Self::Open { entry, source: source.clone() })
        };
        failed.iter().find_map(ours).unwrap_or_else(|| {
            let name = failed.first().map(|(name, _)| (*name).clone()).unwrap_or_default();
            Self::ForeignEntry { name }
        })
    }
}

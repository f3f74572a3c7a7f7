//! The names of the certificates that a new master needs, and where each is kept.

use std::fmt;

/// Where etcd runs; it decides which entries `kubeadm-certs` must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topology {
    /// An etcd member on each master: 8 entries.
    Stacked,
    /// etcd on machines of its own: 9 entries.
    External,
}

impl Topology {
    /// The entries of this topology, in a fixed order. All must be in the Secret.
    #[must_use]
    pub fn entries(self) -> &'static [CertEntry] {
        match self {
            Self::Stacked => &STACKED,
            Self::External => &EXTERNAL,
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stacked => "stacked etcd",
            Self::External => "external etcd",
        })
    }
}

/// One entry of `kubeadm-certs`: a certificate authority, a key, or a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is named like its file; see `data_key`")]
pub enum CertEntry {
    CaCert,
    CaKey,
    FrontProxyCaCert,
    FrontProxyCaKey,
    ServiceAccountPublic,
    ServiceAccountKey,
    EtcdCaCert,
    EtcdCaKey,
    ExternalEtcdCaCert,
    ExternalEtcdCert,
    ExternalEtcdKey,
}

impl CertEntry {
    /// The entry's key in the data of the Secret.
    #[must_use]
    pub fn data_key(self) -> &'static str {
        match self {
            Self::CaCert => "ca.crt",
            Self::CaKey => "ca.key",
            Self::FrontProxyCaCert => "front-proxy-ca.crt",
            Self::FrontProxyCaKey => "front-proxy-ca.key",
            Self::ServiceAccountPublic => "sa.pub",
            Self::ServiceAccountKey => "sa.key",
            Self::EtcdCaCert => "etcd-ca.crt",
            Self::EtcdCaKey => "etcd-ca.key",
            Self::ExternalEtcdCaCert => "external-etcd-ca.crt",
            Self::ExternalEtcdCert => "external-etcd.crt",
            Self::ExternalEtcdKey => "external-etcd.key",
        }
    }

    /// The entry with this data key, or `None` if kubeadm knows no such entry.
    #[must_use]
    pub fn from_data_key(key: &str) -> Option<Self> {
        STACKED.iter().chain(&EXTERNAL).copied().find(|entry| entry.data_key() == key)
    }

    /// The file below the certificates directory, or `None` for the files of an external etcd,
    /// whose paths stand in the cluster's configuration.
    #[must_use]
    pub fn file_in_certificates_dir(self) -> Option<&'static str> {
        match self {
            Self::EtcdCaCert => Some("etcd/ca.crt"),
            Self::EtcdCaKey => Some("etcd/ca.key"),
            Self::ExternalEtcdCaCert | Self::ExternalEtcdCert | Self::ExternalEtcdKey => None,
            other => Some(other.data_key()),
        }
    }

    /// What the file must hold.
    #[must_use]
    pub fn kind(self) -> EntryKind {
        match self {
            Self::CaCert | Self::FrontProxyCaCert | Self::EtcdCaCert => EntryKind::Authority,
            // Nothing is signed with the CA of an external etcd here, it is only trusted.
            Self::ExternalEtcdCaCert | Self::ExternalEtcdCert => EntryKind::Certificate,
            Self::ServiceAccountPublic => EntryKind::PublicKey,
            Self::CaKey
            | Self::FrontProxyCaKey
            | Self::ServiceAccountKey
            | Self::EtcdCaKey
            | Self::ExternalEtcdKey => EntryKind::PrivateKey,
        }
    }

    /// The certificate or public key that a private key must fit.
    #[must_use]
    pub fn counterpart(self) -> Option<Self> {
        match self {
            Self::CaKey => Some(Self::CaCert),
            Self::FrontProxyCaKey => Some(Self::FrontProxyCaCert),
            Self::ServiceAccountKey => Some(Self::ServiceAccountPublic),
            Self::EtcdCaKey => Some(Self::EtcdCaCert),
            Self::ExternalEtcdKey => Some(Self::ExternalEtcdCert),
            _ => None,
        }
    }

    /// Whether a working cluster can do without the file. An external etcd without TLS has none of
    /// its three; all others must be there for a join to succeed.
    #[must_use]
    pub fn may_be_empty(self) -> bool {
        self.file_in_certificates_dir().is_none()
    }
}

impl fmt::Display for CertEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.data_key())
    }
}

/// What the file of an entry holds, all of it PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A certificate that may sign others, possibly followed by more.
    Authority,
    /// A certificate.
    Certificate,
    /// A private key.
    PrivateKey,
    /// A public key, or a certificate that holds it.
    PublicKey,
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority => "a CA certificate",
            Self::Certificate => "a certificate",
            Self::PrivateKey => "a private key",
            Self::PublicKey => "a public key",
        })
    }
}

/// kubeadm's `certsToTransfer` with a local etcd.
const STACKED: [CertEntry; 8] = [
    CertEntry::CaCert,
    CertEntry::CaKey,
    CertEntry::FrontProxyCaCert,
    CertEntry::FrontProxyCaKey,
    CertEntry::ServiceAccountPublic,
    CertEntry::ServiceAccountKey,
    CertEntry::EtcdCaCert,
    CertEntry::EtcdCaKey,
];

/// kubeadm's `certsToTransfer` with an external etcd.
const EXTERNAL: [CertEntry; 9] = [
    CertEntry::CaCert,
    CertEntry::CaKey,
    CertEntry::FrontProxyCaCert,
    CertEntry::FrontProxyCaKey,
    CertEntry::ServiceAccountPublic,
    CertEntry::ServiceAccountKey,
    CertEntry::ExternalEtcdCaCert,
    CertEntry::ExternalEtcdCert,
    CertEntry::ExternalEtcdKey,
];

//! A cluster's certificates: one CA, and a serving certificate of it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// The files of one cluster.
pub(crate) struct Pki {
    dir: TempDir,
}

impl Pki {
    /// For masters and balancers on loopback.
    pub(crate) fn new() -> Self {
        Self::naming([Ipv4Addr::LOCALHOST.into()])
    }

    /// For masters and balancers at these addresses.
    pub(crate) fn naming(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let pki = Self { dir: tempfile::tempdir().unwrap() };
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        pki.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = addresses.into_iter().map(|ip| ip.to_string()).collect();
        let params = CertificateParams::new(names).unwrap();
        pki.write("serving.pem", &params.signed_by(&key, &issuer).unwrap().pem());
        pki.write("serving.key", &key.serialize_pem());
        pki
    }

    fn write(&self, name: &str, pem: &str) {
        std::fs::write(self.dir.path().join(name), pem).unwrap();
    }

    /// Where all files are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The CA's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }
}

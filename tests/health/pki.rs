//! A cluster's certificates: one CA, and a serving certificate of it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
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
        Self::of(&ca(), addresses, |_| ())
    }

    /// On loopback, with a certificate that names no address but this.
    pub(crate) fn only_for(name: &str) -> Self {
        let names = |params: &mut CertificateParams| {
            *params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        };
        Self::of(&ca(), [], names)
    }

    /// Of one cluster, on loopback: a certificate as it should be, and one that has ended.
    pub(crate) fn good_and_ended() -> [Self; 2] {
        let ca = ca();
        let ended = |params: &mut CertificateParams| params.not_after = date_time_ymd(2001, 1, 1);
        let own = || [Ipv4Addr::LOCALHOST.into()];
        [Self::of(&ca, own(), |_| ()), Self::of(&ca, own(), ended)]
    }

    fn of(
        (pem, issuer): &(String, Issuer<'_, KeyPair>),
        addresses: impl IntoIterator<Item = IpAddr>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let pki = Self { dir: tempfile::tempdir().unwrap() };
        pki.write("ca.pem", pem);
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = addresses.into_iter().map(|ip| ip.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        pki.write("serving.pem", &params.signed_by(&key, issuer).unwrap().pem());
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

/// A new CA, and what signs in its name.
fn ca() -> (String, Issuer<'static, KeyPair>) {
    let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
}

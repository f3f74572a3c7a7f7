//! The certificates that kubeadm makes: three CAs, a pair for service accounts, and an apiserver's.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

/// Writes the PKI of a first master.
pub(crate) fn create(pki: &Path) {
    fs::create_dir_all(pki.join("etcd")).unwrap();
    for name in ["ca", "front-proxy-ca", "etcd/ca"] {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        // A watcher must never see half of it.
        write(&pki.join(format!("{name}.key")), &key.serialize_pem());
        write(&pki.join(format!("{name}.crt")), &params.self_signed(&key).unwrap().pem());
    }
    let key = KeyPair::generate().unwrap();
    write(&pki.join("sa.key"), &key.serialize_pem());
    write(&pki.join("sa.pub"), &key.public_key_pem());
}

/// Writes an apiserver's certificate of the CA that is there.
pub(crate) fn serve(pki: &Path, names: &[IpAddr]) {
    let ca_key = key_of(&pki.join("ca.key"));
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "ca");
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    write(&pki.join("apiserver.key"), &key.serialize_pem());
    write(&pki.join("apiserver.crt"), &certificate.pem());
}

/// A P-256 key in either form; SEC1 is what old joiners read, and what rcgen does not.
fn key_of(path: &Path) -> KeyPair {
    match PrivateKeyDer::from_pem_file(path).unwrap() {
        PrivateKeyDer::Sec1(sec1) => {
            let der = sec1.secret_sec1_der();
            let (private, public) = (&der[7..39], &der[der.len() - 65..]);
            let pkcs8 = [PKCS8_BEGIN, private, PKCS8_MIDDLE, public].concat();
            KeyPair::try_from(pkcs8).unwrap()
        }
        other => KeyPair::try_from(other.secret_der().to_vec()).unwrap(),
    }
}

/// A PKCS#8 key of P-256 up to its private number (RFC 5958, RFC 5915).
const PKCS8_BEGIN: &[u8] = &[
    0x30, 0x81, 0x87, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x6d, 0x30, 0x6b, 2, 1, 1, 4, 0x20,
];

/// What stands between its private number and its public point.
const PKCS8_MIDDLE: &[u8] = &[0xa1, 0x44, 3, 0x42, 0];

/// Whole or not at all.
pub(crate) fn write(path: &Path, content: &str) {
    let beside = path.with_extension("new");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&beside, content).unwrap();
    fs::rename(&beside, path).unwrap();
}

//! A client certificate by the cluster's own CA, as `kubeadm kubeconfig user` makes them.
//!
//! kubeadm writes RSA keys as PKCS#1 and EC keys as SEC1; the library that signs wants PKCS#8, so
//! the key is wrapped, not changed.

use std::time::Duration;

use data_encoding::BASE64;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::json;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::key_pair::{Pkcs8, PrivateKey, PublicKey};
use super::pem;

/// Clocks of two machines may differ by this much.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A certificate with its key, both as PEM.
pub struct ClientCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: Zeroizing<String>,
}

impl ClientCertificate {
    /// Issues a certificate for a user of the cluster. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`IssueError`]; no message shows any of the key.
    pub fn issue(
        user: &str,
        ca: &[u8],
        ca_key: &[u8],
        now: u64,
        validity: Duration,
    ) -> Result<Self, IssueError> {
        let issuer = issuer(ca, ca_key)?;
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let epoch = date_time_ymd(1970, 1, 1);
        let now = Duration::from_secs(now);
        params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
        params.not_after = epoch + now + validity;
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        check_issuer(certificate.der(), ca)?;
        Ok(Self { certificate: certificate.pem(), key: Zeroizing::new(key.serialize_pem()) })
    }

    /// A kubeconfig that logs in with it.
    #[must_use]
    pub fn kubeconfig(&self, user: &str, server: &str, ca: &[u8]) -> Zeroizing<String> {
        let key = Zeroizing::new(BASE64.encode(self.key.as_bytes()));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "kubernetes", "cluster": {
                "server": server,
                "certificate-authority-data": BASE64.encode(ca),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": BASE64.encode(self.certificate.as_bytes()),
                // Put in below, so that no library keeps a copy.
                "client-key-data": "",
            }}],
            "contexts": [{"name": user, "context": {"cluster": "kubernetes", "user": user}}],
            "current-context": user,
        });
        let empty = r#""client-key-data":"""#;
        let text = config.to_string();
        let (head, tail) = text.split_once(empty).unwrap_or((&text, ""));
        let mut whole = Zeroizing::new(String::with_capacity(text.len() + key.len()));
        for part in [head, r#""client-key-data":""#, key.as_str(), "\"", tail] {
            whole.push_str(part);
        }
        whole
    }
}

/// The CA as the library wants it.
fn issuer(ca: &[u8], ca_key: &[u8]) -> Result<Issuer<'static, KeyPair>, IssueError> {
    let blocks = pem::blocks(ca);
    let certificate = blocks.iter().find(|block| block.label == "CERTIFICATE");
    let der = &certificate.ok_or(IssueError::NoCertificate)?.der;
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| IssueError::NoCertificate)?;
    let public = PublicKey::from_spki(parsed.public_key().raw).ok_or(IssueError::Kind)?;
    let blocks = pem::blocks(ca_key);
    let key = PrivateKey::from_blocks(&blocks).ok_or(IssueError::NoKey)?;
    if !key.fits(&public) {
        return Err(IssueError::OtherKey);
    }
    let wrapped = key.to_pkcs8(&blocks, &public).ok_or(IssueError::Kind)?;
    let algorithm = match wrapped.kind {
        Pkcs8::Rsa => &PKCS_RSA_SHA256,
        Pkcs8::P256 => &PKCS_ECDSA_P256_SHA256,
        Pkcs8::P384 => &PKCS_ECDSA_P384_SHA384,
    };
    let pkcs8 = PrivatePkcs8KeyDer::from(wrapped.der.as_slice());
    let key =
        KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, algorithm).map_err(|_| IssueError::NoKey)?;
    let certificate = CertificateDer::from(der.to_vec());
    Issuer::from_ca_cert_der(&certificate, key).map_err(failed)
}

/// Whether the CA is found by the name that the library wrote: an apiserver looks it up byte by
/// byte, and the library does not keep every form of a name.
fn check_issuer(issued: &[u8], ca: &[u8]) -> Result<(), IssueError> {
    let blocks = pem::blocks(ca);
    let ca = blocks.iter().find(|block| block.label == "CERTIFICATE");
    let ca = &ca.ok_or(IssueError::NoCertificate)?.der;
    let read = |der| X509Certificate::from_der(der).map_err(|_| IssueError::NoCertificate);
    let ((_, ca), (_, issued)) = (read(ca)?, read(issued)?);
    if issued.issuer().as_raw() == ca.subject().as_raw() { Ok(()) } else { Err(IssueError::Name) }
}

/// The library's messages hold no key.
fn failed(error: rcgen::Error) -> IssueError {
    IssueError::Failed(error.to_string())
}

/// Why no certificate was issued. Wrong files; nothing to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// No certificate of a CA.
    #[error("ca.crt holds no certificate")]
    NoCertificate,
    /// No private key.
    #[error("ca.key holds no private key that can sign (RSA from 2048 bits, or EC P-256 or P-384)")]
    NoKey,
    /// Not the CA's key.
    #[error("ca.key is not the key of ca.crt")]
    OtherKey,
    /// A kind of key that cannot sign here.
    #[error("the cluster's CA has a key of another kind than RSA, P-256 or P-384")]
    Kind,
    /// A name that cannot be written again as it is.
    #[error(
        "the subject of ca.crt has a form that cannot be written into another certificate (two \
         attributes of one kind, or several in one part)"
    )]
    Name,
    /// The library refused.
    #[error("cannot issue a certificate: {0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, IsCa};

    use super::*;

    /// A company's CA may have two organisational units.
    #[test]
    fn a_name_that_cannot_be_written_again_is_told() {
        let day = Duration::from_secs(86_400);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationalUnitName, "one");
        let issue = |params: &CertificateParams| {
            let key = KeyPair::generate().unwrap();
            let ca = params.self_signed(&key).unwrap().pem();
            let key = key.serialize_pem();
            ClientCertificate::issue("it", ca.as_bytes(), key.as_bytes(), 1_800_000_000, day)
        };
        assert!(issue(&params).is_ok());
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 11]), "two");
        assert_eq!(issue(&params).err(), Some(IssueError::Name));
    }
}

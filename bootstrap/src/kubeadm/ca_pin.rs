//! The pin that a joiner trusts a cluster's CA by: `sha256:` of its public key.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::pem;

/// SHA-256 of the DER SubjectPublicKeyInfo as it stands in a certificate.
#[derive(Debug, Clone, Copy)]
pub struct CaPin([u8; 32]);

impl CaPin {
    /// The pin of one certificate.
    ///
    /// # Errors
    /// [`CaPinError::NotACertificate`] if the DER cannot be read.
    pub fn of_certificate(der: &[u8]) -> Result<Self, CaPinError> {
        let (_rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| CaPinError::NotACertificate)?;
        let sum = digest(&SHA256, certificate.public_key().raw);
        sum.as_ref().try_into().map(Self).map_err(|_| CaPinError::NotACertificate)
    }

    /// The pins of all certificates of a PEM bundle, in its order, at least one. Put all of them
    /// on a join command; kubeadm up to 1.21.0 looks at the first only.
    ///
    /// # Errors
    /// [`CaPinError`] if there is no certificate or one cannot be read.
    pub fn of_bundle(pem: &[u8]) -> Result<Vec<Self>, CaPinError> {
        let blocks = pem::blocks(pem);
        let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
        let pins = certificates.map(|block| Self::of_certificate(&block.der));
        let pins = pins.collect::<Result<Vec<_>, _>>()?;
        if pins.is_empty() { Err(CaPinError::NoCertificate) } else { Ok(pins) }
    }

    /// The certificates of a PEM bundle that have this pin, as DER; perhaps none.
    ///
    /// # Errors
    /// [`CaPinError`] if a certificate cannot be read.
    pub fn pick(self, pem: &[u8]) -> Result<Vec<Vec<u8>>, CaPinError> {
        let blocks = pem::blocks(pem);
        let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
        let mut picked = Vec::new();
        for certificate in certificates {
            if Self::of_certificate(&certificate.der)? == self {
                picked.push(certificate.der.to_vec());
            }
        }
        Ok(picked)
    }

    /// The PEM bundle of certificates.
    #[must_use]
    pub fn bundle_of(certificates: &[Vec<u8>]) -> Vec<u8> {
        certificates.iter().flat_map(|der| pem::encode("CERTIFICATE", der).to_vec()).collect()
    }

    /// Whether one of these CAs is not among the known ones.
    #[must_use]
    pub fn any_new(cas: &[Self], known: &[Self]) -> bool {
        cas.iter().any(|ca| !known.contains(ca))
    }

    /// kubeadm's rule: a cluster is trusted if any of its CAs has any of the pins.
    #[must_use]
    pub fn any_matches(cas: &[Self], allowed: &[Self]) -> bool {
        cas.iter().any(|ca| allowed.contains(ca))
    }
}

impl PartialEq for CaPin {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for CaPin {}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER.encode(&self.0))
    }
}

impl FromStr for CaPin {
    type Err = CaPinError;

    /// Reads `sha256:` and 64 hexadecimal digits, both in any case.
    fn from_str(text: &str) -> Result<Self, CaPinError> {
        let (kind, hex) = text.split_once(':').ok_or(CaPinError::Shape)?;
        if !kind.eq_ignore_ascii_case("sha256") {
            return Err(CaPinError::Kind);
        }
        let sum = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| CaPinError::Shape)?;
        sum.try_into().map(Self).map_err(|_| CaPinError::Shape)
    }
}

/// Why there is no pin. Wrong input, nothing to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CaPinError {
    /// Not of the form of a pin.
    #[error("a CA pin is \"sha256:\" followed by 64 hexadecimal digits")]
    Shape,
    /// Another hash.
    #[error("a CA pin must be of the kind sha256")]
    Kind,
    /// No certificate in the text.
    #[error("there is no PEM certificate to pin")]
    NoCertificate,
    /// A certificate that cannot be read.
    #[error("a certificate cannot be read, so it cannot be pinned")]
    NotACertificate,
}

//! Whom a master believes to be the coordinator.
//!
//! The first time by pin: the chain that is served must hold a CA whose pin stands in the ticket,
//! and the certificate must chain to that CA, for a server of the one name that coordinators have.
//! The address plays no part, so it may move. Later the CA itself is known.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::error::Failure;
use crate::kubeadm::CaPin;

/// Most certificates of a chain that are looked at; ours has two.
const CHAIN_MAX: usize = 8;

/// What proves that it is the coordinator.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// A CA with one of these pins.
    Pins(&'a [CaPin]),
    /// This CA, PEM.
    Ca(&'a str),
}

/// What proves that we are a member; both PEM.
#[derive(Clone, Copy)]
pub struct MemberCertificate<'a> {
    /// The certificate.
    pub certificate: &'a str,
    /// Its private key.
    pub key: &'a str,
}

/// The TLS side of a client. TLS 1.3 only: both ends are ours.
pub(super) fn config(
    trust: Trust<'_>,
    member: Option<MemberCertificate<'_>>,
) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unusable("the TLS library", &error))?;
    let builder = match trust {
        Trust::Pins(pins) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinnedCa { pins: pins.to_vec(), provider })),
        Trust::Ca(pem) => builder.with_root_certificates(roots(pem)?),
    };
    let mut config = match member {
        None => builder.with_no_client_auth(),
        Some(member) => {
            let chain = certificates("the certificate of this member", member.certificate)?;
            let key = PrivateKeyDer::from_pem_slice(member.key.as_bytes())
                // The parser's message may quote the key.
                .map_err(|_| unusable("the private key", &"it is no PEM of a private key"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable("the certificate of this member", &error))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(pem: &str) -> Result<RootCertStore, Failure> {
    let what = "the coordinator's CA";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, pem)? {
        roots.add(certificate).map_err(|error| unusable(what, &error))?;
    }
    Ok(roots)
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(unusable(what, &"it is no PEM of a certificate")),
    }
}

fn unusable(what: &'static str, reason: &dyn std::fmt::Display) -> Failure {
    Failure::Identity { what, reason: reason.to_string() }
}

/// What a handshake that failed says about the other side.
pub(super) fn failure(error: &std::io::Error) -> Failure {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(other)))) => {
            match other.downcast_ref::<NotPinned>() {
                Some(NotPinned { offered }) => Failure::WrongPin { offered: offered.clone() },
                None => Failure::Tls { reason: error.to_string() },
            }
        }
        Some(Error::InvalidCertificate(error)) => {
            Failure::Certificate { reason: error.to_string() }
        }
        Some(Error::AlertReceived(alert)) => {
            Failure::CertificateRefused { reason: format!("{alert:?}") }
        }
        Some(Error::InvalidMessage(_)) => {
            Failure::Tls { reason: "whatever listens there does not speak TLS".to_owned() }
        }
        _ => Failure::Tls { reason: error.to_string() },
    }
}

/// No CA of the chain has a pin that we know.
#[derive(Debug, thiserror::Error)]
#[error("no CA of the chain is pinned")]
struct NotPinned {
    offered: Vec<CaPin>,
}

/// Finds the pinned CA in what the server sends, and verifies with it and nothing else.
#[derive(Debug)]
struct PinnedCa {
    pins: Vec<CaPin>,
    provider: Arc<CryptoProvider>,
}

impl PinnedCa {
    fn authority<'a>(
        &self,
        chain: &'a [CertificateDer<'_>],
    ) -> Result<&'a CertificateDer<'a>, NotPinned> {
        let mut offered = Vec::new();
        for certificate in chain.iter().take(CHAIN_MAX).filter(|der| is_ca(der)) {
            match CaPin::of_certificate(certificate) {
                Ok(pin) if self.pins.contains(&pin) => return Ok(certificate),
                Ok(pin) => offered.push(pin),
                Err(_) => {}
            }
        }
        Err(NotPinned { offered })
    }
}

/// Whether the certificate may sign others.
fn is_ca(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.is_ca())
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = self.authority(intermediates).map_err(|not_pinned| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(not_pinned))))
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

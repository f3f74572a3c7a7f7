//! How the probes know that a backend is an apiserver of our cluster.
//!
//! With the cluster's CA its certificate must chain to it and name the address we dialled, or
//! `kubernetes`, as that of every apiserver does and no other: behind an address translation it cannot
//! know how we see it. Whether it is valid now is another question, to which our clock may have the
//! wrong answer. Without a CA any certificate is accepted: the probe then tells health and no identity, and sends nothing
//! that a stranger could use.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

/// Why a TLS configuration for the probes cannot be made. The operator must mend the file.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The text holds no certificate.
    #[error("{0} holds no certificate in PEM form")]
    NoCertificate(&'static str),
    /// The text holds a certificate that cannot be used.
    #[error("{what} cannot be used: {reason}")]
    Unusable {
        /// Which of the files.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

/// A client certificate with its key, both as PEM.
#[derive(Clone, Copy)]
pub struct ClientIdentity<'a> {
    /// The certificate, and those between it and its CA.
    pub certificate: &'a [u8],
    /// Its key.
    pub key: &'a [u8],
}

/// Which apiservers the probes believe, and who they say they are.
#[derive(Clone, Debug)]
pub struct ProbeIdentity {
    /// For the handshake. It does not look at the time of a certificate.
    pub tls: Arc<ClientConfig>,
    /// Looks at the time too; none without a CA.
    strict: Option<Arc<WebPkiServerVerifier>>,
}

impl ProbeIdentity {
    /// Of a cluster with this CA.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn new(
        ca: Option<&[u8]>,
        client: Option<ClientIdentity<'_>>,
    ) -> Result<Self, IdentityError> {
        let strict = ca.map(verifier).transpose()?;
        let tls = match &strict {
            Some(strict) => configured(Arc::new(AtAnyTime(Arc::clone(strict))), client)?,
            None => client_config(None, client)?,
        };
        Ok(Self { tls, strict })
    }

    /// Whether the certificate of a finished handshake has ended, or is not valid yet. It is right in
    /// all else.
    #[must_use]
    pub fn is_outdated(&self, connection: &CommonState, name: &ServerName<'_>) -> bool {
        let (Some(strict), Some([own, between @ ..])) =
            (&self.strict, connection.peer_certificates())
        else {
            return false;
        };
        verify(strict, (own, between), name, UnixTime::now()).is_err()
    }
}

/// A TLS configuration that believes the apiservers of a cluster with this CA.
///
/// # Errors
/// See [`IdentityError`].
pub fn client_config(
    ca: Option<&[u8]>,
    client: Option<ClientIdentity<'_>>,
) -> Result<Arc<ClientConfig>, IdentityError> {
    match ca {
        Some(pem) => configured(verifier(pem)?, client),
        None => configured(Arc::new(AnyCertificate(provider())), client),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn verifier(pem: &[u8]) -> Result<Arc<WebPkiServerVerifier>, IdentityError> {
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(pem)?), provider());
    builder.build().map_err(|error| unusable("the cluster CA", &error))
}

fn configured(
    verifier: Arc<dyn ServerCertVerifier>,
    client: Option<ClientIdentity<'_>>,
) -> Result<Arc<ClientConfig>, IdentityError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("the TLS library", &error))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match client {
        Some(client) => {
            let chain = certificates("the client certificate", client.certificate)?;
            let key = PrivateKeyDer::from_pem_slice(client.key)
                .map_err(|error| unusable("the client key", &error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable("the client certificate", &error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the cluster CA", pem)? {
        roots.add(certificate).map_err(|error| unusable("the cluster CA", &error))?;
    }
    Ok(roots)
}

fn certificates(
    what: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(what, &error))?;
    if found.is_empty() { Err(IdentityError::NoCertificate(what)) } else { Ok(found) }
}

fn unusable(what: &'static str, error: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Unusable { what, reason: error.to_string() }
}

/// The name in the certificate of every apiserver, whatever its address.
const ANY_APISERVER: &str = "kubernetes";

/// Verifies a certificate, with those between it and its CA, for this name or any apiserver's.
fn verify(
    verifier: &WebPkiServerVerifier,
    (own, between): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let verified = verifier.verify_server_cert(own, between, name, &[], now);
    match (&verified, ServerName::try_from(ANY_APISERVER)) {
        (
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )),
            Ok(any),
        ) => verifier.verify_server_cert(own, between, &any, &[], now).or(verified),
        _ => verified,
    }
}

/// Times that are tried: one for each certificate of a chain, and more than any chain has.
const TIMES_MAX: usize = 8;

/// Verifies all but the time. A clock that is wrong, ours or that of whoever made the certificate,
/// does not make another cluster of it.
#[derive(Debug)]
struct AtAnyTime(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AtAnyTime {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        mut now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut times = 0..TIMES_MAX;
        loop {
            let verified = verify(&self.0, (end_entity, intermediates), server_name, now);
            match verified {
                Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                })) if times.next().is_some() => now = not_after,
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if times.next().is_some() => now = not_before,
                verified => return verified,
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Accepts any certificate, and still checks that the peer holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong_with_a_file() {
        let said = |pem: &[u8]| client_config(Some(pem), None).unwrap_err().to_string();
        assert_eq!(said(b""), "the cluster CA holds no certificate in PEM form");
        assert!(
            said(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
                .starts_with("the cluster CA cannot be used")
        );
        assert!(client_config(None, None).is_ok());
    }
}

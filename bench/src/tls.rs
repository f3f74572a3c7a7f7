//! TLS between the clients and the backends of the control-plane mix. The proxies in between see
//! only bytes, as in a real cluster.

use std::{net::IpAddr, sync::Arc};

use anyhow::Result;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What both sides speak inside TLS.
const ALPN: &[u8] = b"h2";

/// The name in the certificate: where all backends listen.
const NAME: [u8; 4] = [127, 0, 0, 1];

/// A certificate that is made for one process and trusted by those it tells.
pub(crate) struct Identity {
    /// The certificate, which the clients must trust.
    pub(crate) certificate: Vec<u8>,
    /// The server side.
    pub(crate) acceptor: TlsAcceptor,
}

impl Identity {
    /// Makes a key and a certificate.
    pub(crate) fn new() -> Result<Self> {
        let name = IpAddr::from(NAME).to_string();
        let made = rcgen::generate_simple_self_signed([name])?;
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { certificate: certificate.to_vec(), acceptor })
    }
}

/// The client side, which trusts nothing but `certificate`. It resumes no session: every call pays
/// for a whole handshake, as that of a short-lived `kubectl` does.
pub(crate) fn connector(certificate: Vec<u8>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate))?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The name a client expects, whichever address it connects to.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::from(IpAddr::from(NAME))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

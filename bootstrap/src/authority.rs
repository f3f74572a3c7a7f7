//! The coordinator's own certificate authority: it proves the coordinator to masters, by the pin in
//! their ticket, and members to the coordinator. It has nothing to do with the cluster's CA.
//!
//! Key and certificate lie in the state directory and are made at the first start. They are never
//! made anew in silence: every ticket and every member depends on them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::coordinator::CertificateStatus;
use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SerialNumber,
};
use ring::digest::{SHA256, digest};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use crate::kubeadm::{CaPin, OsRandom, Random};
use crate::protocol::{COORDINATOR_NAME, MEMBER_CERTIFICATE};
use crate::store;

/// File of the CA's certificate in the state directory.
pub const CA_FILE: &str = "coordinator-ca.crt";

/// File of the CA's key in the state directory.
pub const KEY_FILE: &str = "coordinator-ca.key";

/// Validity of the CA and of the serving certificate, which is made anew at each start. kubeadm
/// gives its CAs ten years too.
const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Clocks of two machines may differ by this much.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Bytes of a serial number; RFC 5280 allows 20.
const SERIAL_BYTES: usize = 16;

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    pin: CaPin,
}

/// Somebody's wish for a certificate. Its signature was checked: it holds the key.
pub struct CertificateRequest {
    csr: CertificateSigningRequestParams,
}

/// A certificate for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberCertificate {
    /// The certificate as PEM.
    pub pem: String,
    /// Seconds since 1970 when it ends.
    pub ends: u64,
}

/// Why there is no authority or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The disk.
    #[error("cannot {what} {}: {source}", .path.display())]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One of the two files is missing or no use.
    #[error(
        "the coordinator's CA is damaged ({reason}); restore {CA_FILE} and {KEY_FILE} from a backup, \
         or remove both: then all tickets are void and all members must register again"
    )]
    Damaged {
        /// What is wrong, without any of the key.
        reason: String,
    },
    /// A library said no.
    #[error("cannot make a certificate: {0}")]
    Make(String),
    /// Not a request.
    #[error("the certificate request cannot be used: {0}")]
    Request(String),
}

impl Authority {
    /// The authority of a state directory; made if there is none.
    ///
    /// # Errors
    /// [`AuthorityError`]. Damaged files are left as they are.
    pub fn open(state_dir: &Path) -> Result<Self, AuthorityError> {
        let certificate = read(&state_dir.join(CA_FILE))?;
        let key = read(&state_dir.join(KEY_FILE))?.map(Zeroizing::new);
        match (certificate, key) {
            (Some(certificate), Some(key)) => Self::load(certificate, &key),
            // The key is written first: alone it is the rest of a start that was interrupted.
            (None, _) => Self::make(state_dir),
            (Some(_), None) => {
                Err(AuthorityError::Damaged { reason: format!("{KEY_FILE} is missing") })
            }
        }
    }

    fn load(pem: String, key: &str) -> Result<Self, AuthorityError> {
        let damaged = |reason: &str| AuthorityError::Damaged { reason: reason.to_owned() };
        // The libraries' messages could quote the key.
        let key = KeyPair::from_pem(key)
            .map_err(|_| damaged(&format!("{KEY_FILE} holds no key in PEM form")))?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| damaged(&format!("{CA_FILE} holds no certificate in PEM form")))?;
        let pin = CaPin::of_certificate(&certificate)
            .map_err(|error| damaged(&format!("{CA_FILE}: {error}")))?;
        let ours: [u8; 32] = sha256(&key.subject_public_key_info());
        if pin.to_string() != format!("sha256:{}", HEXLOWER.encode(&ours)) {
            return Err(damaged(&format!("{KEY_FILE} is not the key of {CA_FILE}")));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| damaged(&format!("{CA_FILE}: {error}")))?;
        Ok(Self { issuer, certificate, pem, pin })
    }

    fn make(state_dir: &Path) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(make)?;
        let key_pem = Zeroizing::new(key.serialize_pem());
        let mut params = params("Mainstay coordinator CA", CA_VALIDITY)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let made = CertifiedIssuer::self_signed(params, key).map_err(make)?;
        write(&state_dir.join(KEY_FILE), key_pem.as_bytes())?;
        write(&state_dir.join(CA_FILE), made.pem().as_bytes())?;
        Self::load(made.pem(), &key_pem)
    }

    /// The pin that stands in tickets.
    #[must_use]
    pub fn pin(&self) -> &CaPin {
        &self.pin
    }

    /// The CA's certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// When the CA ends: then every ticket and every member's certificate does too.
    #[must_use]
    pub fn ends(&self) -> CertificateStatus {
        use x509_parser::prelude::FromDer;
        let now = i64::try_from(unix(SystemTime::now())).unwrap_or(i64::MAX);
        let parsed = x509_parser::certificate::X509Certificate::from_der(&self.certificate);
        // It was read when it was loaded.
        let end = parsed.map_or(now, |(_, it)| it.validity().not_after.timestamp());
        CertificateStatus { name: "coordinator CA".to_owned(), seconds_left: end - now }
    }

    /// Reads a request and checks that whoever made it holds its key.
    ///
    /// # Errors
    /// [`AuthorityError::Request`].
    pub fn request(pem: &str) -> Result<CertificateRequest, AuthorityError> {
        let csr = CertificateSigningRequestParams::from_pem(pem)
            .map_err(|error| AuthorityError::Request(error.to_string()))?;
        Ok(CertificateRequest { csr })
    }

    /// A certificate that lets the holder of the request's key act as the member `name`; nothing
    /// else of the request is taken over.
    ///
    /// # Errors
    /// [`AuthorityError::Make`].
    pub fn certify(
        &self,
        name: &str,
        request: &CertificateRequest,
    ) -> Result<MemberCertificate, AuthorityError> {
        let mut params = params(name, MEMBER_CERTIFICATE)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&request.csr.public_key, &self.issuer).map_err(make)?;
        let ends = unix(SystemTime::now() + MEMBER_CERTIFICATE);
        Ok(MemberCertificate { pem: certificate.pem(), ends })
    }

    /// The TLS of the join API: our certificate with a new key, clients with a certificate of ours
    /// or with none, TLS 1.3 only because both ends are ours.
    ///
    /// # Errors
    /// [`AuthorityError::Make`].
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, AuthorityError> {
        let key = KeyPair::generate().map_err(make)?;
        let mut params = params(COORDINATOR_NAME, CA_VALIDITY)?;
        params.subject_alt_names =
            CertificateParams::new([COORDINATOR_NAME.to_owned()]).map_err(make)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer).map_err(make)?;
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(|error| make_text(&error))?;
        let provider = Arc::new(default_provider());
        let members =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| make_text(&error))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| make_text(&error))?
            .with_client_cert_verifier(members)
            .with_single_cert(vec![leaf.der().clone(), self.certificate.clone()], key)
            .map_err(|error| make_text(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl CertificateRequest {
    /// The name that it asks for.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        match self.csr.params.distinguished_name.get(&DnType::CommonName) {
            Some(rcgen::DnValue::Utf8String(name)) => Some(name),
            Some(rcgen::DnValue::PrintableString(name)) => Some(name.as_str()),
            _ => None,
        }
    }

    /// SHA-256 of its public key (SubjectPublicKeyInfo), hexadecimal.
    #[must_use]
    pub fn key(&self) -> String {
        HEXLOWER.encode(&sha256(&self.csr.public_key.subject_public_key_info()))
    }
}

/// Who a client certificate of ours is for: name and SHA-256 of its key. The TLS library has checked
/// that we made it and that it is in its time.
#[must_use]
pub fn identity_of(certificate: &CertificateDer<'_>) -> Option<(String, String)> {
    use x509_parser::prelude::FromDer;
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let key = HEXLOWER.encode(&sha256(parsed.public_key().raw));
    Some((name, key))
}

fn params(name: &str, validity: Duration) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + validity).into();
    let mut serial = [0; SERIAL_BYTES];
    OsRandom.fill(&mut serial).map_err(|error| AuthorityError::Make(error.to_string()))?;
    // A serial number is positive.
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn make(error: rcgen::Error) -> AuthorityError {
    make_text(&error)
}

fn make_text(error: &dyn std::fmt::Display) -> AuthorityError {
    AuthorityError::Make(error.to_string())
}

fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(AuthorityError::Damaged { reason: format!("{} is no text", path.display()) })
        }
        Err(source) => Err(AuthorityError::File { what: "read", path: path.to_owned(), source }),
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), AuthorityError> {
    store::save(path, content).map_err(|source| AuthorityError::File {
        what: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csr(name: &str) -> (KeyPair, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        (key, pem)
    }

    #[test]
    fn is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let made = Authority::open(dir.path()).unwrap();
        let again = Authority::open(dir.path()).unwrap();
        assert_eq!(made.pin(), again.pin());
        assert!(again.server_config().is_ok());
    }

    #[test]
    fn damage_is_said_and_nothing_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let pin = Authority::open(dir.path()).unwrap().pin().to_string();
        let key = fs::read(dir.path().join(KEY_FILE)).unwrap();
        let other = tempfile::tempdir().unwrap();
        Authority::open(other.path()).unwrap();
        let foreign = fs::read(other.path().join(KEY_FILE)).unwrap();
        for damage in [b"".to_vec(), b"no key".to_vec(), vec![0xff; 40], foreign] {
            fs::write(dir.path().join(KEY_FILE), &damage).unwrap();
            let said = Authority::open(dir.path()).err().unwrap().to_string();
            assert!(said.contains("is damaged"), "{said}");
            assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap(), damage);
        }
        fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        assert!(Authority::open(dir.path()).is_err());
        fs::write(dir.path().join(KEY_FILE), key).unwrap();
        assert_eq!(Authority::open(dir.path()).unwrap().pin().to_string(), pin);
    }

    #[test]
    fn an_interrupted_first_start_is_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path()).unwrap();
        fs::remove_file(dir.path().join(CA_FILE)).unwrap();
        assert!(Authority::open(dir.path()).is_ok());
    }

    #[test]
    fn certifies_the_key_under_our_name_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let (key, pem) = csr("master-1");
        let request = Authority::request(&pem).unwrap();
        assert_eq!(request.common_name(), Some("master-1"));
        let made = authority.certify("master-1", &request).unwrap();
        let der = CertificateDer::from_pem_slice(made.pem.as_bytes()).unwrap();
        let (name, hash) = identity_of(&der).unwrap();
        assert_eq!((name.as_str(), hash.as_str()), ("master-1", request.key().as_str()));
        assert_eq!(hash, HEXLOWER.encode(&sha256(&key.subject_public_key_info())));
        let shown = x509_parser::pem::parse_x509_pem(made.pem.as_bytes()).unwrap().1;
        let parsed = shown.parse_x509().unwrap();
        let usage = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !parsed.is_ca());
    }

    #[test]
    fn a_request_must_be_signed_by_its_key() {
        let (_, pem) = csr("master-1");
        let mut der = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents;
        let last = der.len() - 1;
        der[last] ^= 1;
        let text = data_encoding::BASE64.encode(&der);
        let broken = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"
        );
        assert!(Authority::request(&broken).is_err());
        for text in [
            "",
            "no request",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            assert!(Authority::request(text).is_err());
        }
    }
}

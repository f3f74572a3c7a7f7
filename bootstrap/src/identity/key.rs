//! The private key of a member, and certificate requests with it.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// An ECDSA P-256 key. It never leaves the machine that made it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberKey(Zeroizing<String>);

impl MemberKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError`] if the system has no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let key = KeyPair::generate().map_err(|_| KeyError::Generate)?;
        Ok(Self(Zeroizing::new(key.serialize_pem())))
    }

    /// The key, PEM; a secret.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.0
    }

    /// A certificate request, PEM, with this common name; its signature proves that we have the key.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] if what was stored is no key.
    pub fn request(&self, name: &str) -> Result<String, KeyError> {
        // rcgen's messages may quote the key.
        let key = KeyPair::from_pem(&self.0).map_err(|_| KeyError::Unusable)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let request = params.serialize_request(&key).map_err(|_| KeyError::Unusable)?;
        request.pem().map_err(|_| KeyError::Unusable)
    }
}

impl std::fmt::Debug for MemberKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemberKey(withheld)")
    }
}

/// Why there is no request. Nothing to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No random numbers.
    #[error("this machine gives no random numbers for a private key")]
    Generate,
    /// Not a key.
    #[error("the private key in the state directory cannot be used")]
    Unusable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer;

    #[test]
    fn a_request_names_the_member_and_is_signed() {
        let key = MemberKey::generate().unwrap();
        let pem = key.request("master1").unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        assert_eq!(request.certification_request_info.subject.to_string(), "CN=master1");
        let stored: MemberKey =
            serde_json::from_str(&serde_json::to_string(&key).unwrap()).unwrap();
        assert_eq!(stored, key);
        assert!(!format!("{key:?}").contains("PRIVATE"));
        assert_eq!(
            MemberKey(Zeroizing::new("no key".to_owned())).request("master1"),
            Err(KeyError::Unusable)
        );
    }
}

//! The key that seals the certificates, as `kubeadm init --upload-certs` prints it.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::random::{Random, RandomError};

/// An AES key, written as hexadecimal digits.
///
/// New keys have 32 bytes. Keys of 16 and 24 bytes are read, because kubeadm up to 1.28 took them
/// (AES-128 and AES-192), and only open what is sealed already. The bytes are wiped on drop,
/// compared in constant time and never shown by `Debug`.
#[derive(Clone)]
pub struct CertificateKey(Zeroizing<Vec<u8>>);

impl CertificateKey {
    /// Length of a new key in bytes; kubeadm's `CertificateKeySize`.
    pub const BYTES: usize = 32;

    /// Makes a new key of 32 bytes.
    ///
    /// # Errors
    /// [`RandomError`] if `random` has nothing to give.
    pub fn generate(random: &mut impl Random) -> Result<Self, RandomError> {
        let mut bytes = Zeroizing::new(vec![0; Self::BYTES]);
        random.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The key as 64 (or 32, 48) lower-case hexadecimal digits. Shows the secret.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER.encode(&self.0))
    }

    /// Whether the key has today's length, so that it may seal.
    #[must_use]
    pub fn can_seal(&self) -> bool {
        self.0.len() == Self::BYTES
    }

    /// The 16, 24 or 32 bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for CertificateKey {
    type Err = CertificateKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(CertificateKeyError::Empty);
        }
        // Like Go's hex.DecodeString: a foreign character is named before an odd length.
        let foreign = text.chars().enumerate().find(|(_, c)| !c.is_ascii_hexdigit());
        if let Some((position, character)) = foreign {
            return Err(CertificateKeyError::NotHex { code: character.into(), position });
        }
        if !text.len().is_multiple_of(2) {
            return Err(CertificateKeyError::OddLength { digits: text.len() });
        }
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map(Zeroizing::new);
        match bytes {
            Ok(bytes) if matches!(bytes.len(), 16 | 24 | 32) => Ok(Self(bytes)),
            _ => Err(CertificateKeyError::Size { bytes: text.len() / 2 }),
        }
    }
}

impl PartialEq for CertificateKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for CertificateKey {}

impl fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateKey({} bytes)", self.0.len())
    }
}

/// Why a text is no certificate key. All are wrong input: ask for the key again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateKeyError {
    /// Nothing was given.
    #[error(
        "the certificate key is empty; it is the 64 hexadecimal digits that the upload printed"
    )]
    Empty,
    /// A digit is missing or doubled.
    #[error(
        "the certificate key has {digits} hexadecimal digits, an odd number; one is missing or \
         one too many (64 are expected)"
    )]
    OddLength {
        /// How many digits were given.
        digits: usize,
    },
    /// Something else than a hexadecimal digit.
    #[error(
        "the certificate key holds U+{code:04X} at position {position}, which is not a \
         hexadecimal digit; it is written without prefix, blanks or line breaks"
    )]
    NotHex {
        /// The first foreign character, as a Unicode code point.
        code: u32,
        /// Its position in characters, from 0.
        position: usize,
    },
    /// A length that no AES key has.
    #[error(
        "the certificate key has {bytes} bytes; kubeadm's keys have 32 bytes (64 hexadecimal \
         digits), before 1.29 also 16 or 24"
    )]
    Size {
        /// How many bytes were given.
        bytes: usize,
    },
}

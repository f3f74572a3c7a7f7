//! The envelope of one entry of `kubeadm-certs`: AES-GCM, `nonce(12) ‖ ciphertext ‖ tag(16)`.
//!
//! There is no associated data, so the name of an entry is not protected: two swapped values open
//! without complaint. That is why [`CertSet`](super::CertSet) checks what it opened.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::aes::Aes192;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use zeroize::Zeroizing;

use super::key::CertificateKey;
use super::random::{Random, RandomError};

/// Length of the nonce in bytes.
const NONCE_BYTES: usize = 12;

/// Length of the authentication tag in bytes.
const TAG_BYTES: usize = 16;

/// A number used once. It is consumed by [`seal`], so that it cannot be used twice.
#[derive(Debug)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// A fresh random nonce.
    ///
    /// # Errors
    /// [`RandomError`] if `random` has nothing to give.
    pub fn generate(random: &mut impl Random) -> Result<Self, RandomError> {
        let mut bytes = [0; NONCE_BYTES];
        random.fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Seals `plaintext`; the result is 28 bytes longer.
///
/// # Errors
/// [`SealError`] if the key is shorter than 32 bytes (newer kubeadm could not read the result), or
/// if the plaintext is beyond what AES-GCM can seal.
pub fn seal(key: &CertificateKey, nonce: Nonce, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    if !key.can_seal() {
        return Err(SealError::KeySize { bytes: key.bytes().len() });
    }
    let sealed = Aes256Gcm::new_from_slice(key.bytes())
        .ok()
        .and_then(|cipher| cipher.encrypt(&nonce.0.into(), plaintext).ok())
        .ok_or(SealError::TooLong)?;
    Ok([nonce.0.as_slice(), &sealed].concat())
}

/// Opens what [`seal`] or kubeadm made; the plaintext is wiped on drop.
///
/// # Errors
/// [`OpenError`] says whether the value is cut short or does not fit the key.
pub fn open(key: &CertificateKey, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let bytes = sealed.len();
    let (nonce, body) =
        sealed.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::ShorterThanNonce { bytes })?;
    if body.len() < TAG_BYTES {
        return Err(OpenError::CutShort { bytes });
    }
    let key = key.bytes();
    let opened = match key.len() {
        16 => open_with::<Aes128Gcm>(key, *nonce, body),
        24 => open_with::<AesGcm<Aes192, U12>>(key, *nonce, body),
        _ => open_with::<Aes256Gcm>(key, *nonce, body),
    };
    opened.map(Zeroizing::new).ok_or(OpenError::Authentication)
}

/// Opens `body` with one cipher; `None` if it does not fit.
fn open_with<C>(key: &[u8], nonce: [u8; NONCE_BYTES], body: &[u8]) -> Option<Vec<u8>>
where
    C: KeyInit + Aead<NonceSize = U12>,
{
    C::new_from_slice(key).ok()?.decrypt(&nonce.into(), body).ok()
}

/// Why a value could not be sealed. Neither is worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A key of the sizes that are only read.
    #[error(
        "a certificate key of {bytes} bytes only opens what is sealed already; upload with a key \
         of 32 bytes"
    )]
    KeySize {
        /// Length of the key.
        bytes: usize,
    },
    /// More than AES-GCM can seal (64 GiB).
    #[error("the file is too long to be sealed")]
    TooLong,
}

/// Why a value could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The value has not even a nonce.
    #[error(
        "the value has {bytes} bytes, less than the 12 of a nonce; it was not sealed or is cut"
    )]
    ShorterThanNonce {
        /// Length of the value.
        bytes: usize,
    },
    /// The value is too short to hold a tag, so nothing vouches for it.
    #[error("the value has {bytes} bytes, less than the 28 of nonce and tag; it is cut short")]
    CutShort {
        /// Length of the value.
        bytes: usize,
    },
    /// The tag does not fit: another key, or changed bytes.
    #[error("the value does not fit this certificate key, or it was changed")]
    Authentication,
}

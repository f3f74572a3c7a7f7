//! Credentials for a joiner pass through the coordinator, but it cannot read them: the master that
//! makes them seals them for a key of the joiner.
//!
//! X25519 between the joiner's key and one that is made for this message, HKDF-SHA256 over the
//! shared secret, AES-256-GCM under the joiner's name. The coordinator keeps the CA keys of the
//! cluster neither on its disk nor in its memory; one that has been taken over could still put its
//! own key in the joiner's place.

use data_encoding::BASE64;
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::kubeadm::{Random, RandomError};

/// Length of an X25519 public key.
const PUBLIC_BYTES: usize = 32;

/// Length of the nonce and of the tag of AES-GCM.
const NONCE_BYTES: usize = 12;

/// Length of an AES-256 key.
const KEY_BYTES: usize = 32;

/// Separates these keys from any others that the same secret could make.
const PURPOSE: &[u8] = b"mainstay join credentials 1";

/// The joiner's half: opens one message.
pub struct SealingKey {
    private: EphemeralPrivateKey,
    public: Vec<u8>,
}

impl SealingKey {
    /// A new key.
    ///
    /// # Errors
    /// [`SealingError::Random`] if the system has no random numbers.
    pub fn generate() -> Result<Self, SealingError> {
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new())
            .map_err(|_| SealingError::Random)?;
        let public = private.compute_public_key().map_err(|_| SealingError::Random)?;
        Ok(Self { private, public: public.as_ref().to_vec() })
    }

    /// The public half, base64.
    #[must_use]
    pub fn public(&self) -> String {
        BASE64.encode(&self.public)
    }

    /// Opens what was sealed for this key and `joiner`.
    ///
    /// # Errors
    /// [`SealingError::Broken`] if it was not, or has been changed.
    pub fn open(self, joiner: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealingError> {
        let message = BASE64.decode(sealed.as_bytes()).map_err(|_| SealingError::Broken)?;
        let (theirs, rest) = message.split_at_checked(PUBLIC_BYTES).ok_or(SealingError::Broken)?;
        let key = shared(self.private, theirs, &self.public, theirs)?;
        let (nonce, ciphertext) =
            rest.split_first_chunk::<NONCE_BYTES>().ok_or(SealingError::Broken)?;
        cipher::open(&key, nonce, joiner.as_bytes(), ciphertext)
    }
}

/// Seals `plaintext` for the public key and name of a joiner; the result is base64.
///
/// # Errors
/// [`SealingError`] if the key is none, or the system has no random numbers.
pub fn seal(
    public: &str,
    joiner: &str,
    plaintext: &[u8],
    random: &mut impl Random,
) -> Result<String, SealingError> {
    let theirs = public_bytes(public)?;
    let ours = SealingKey::generate()?;
    let key = shared(ours.private, &theirs, &theirs, &ours.public)?;
    let mut nonce = [0; NONCE_BYTES];
    random.fill(&mut nonce)?;
    let ciphertext = cipher::seal(&key, &nonce, joiner.as_bytes(), plaintext)?;
    let mut message = ours.public;
    message.extend_from_slice(&nonce);
    message.extend_from_slice(&ciphertext);
    Ok(BASE64.encode(&message))
}

/// The bytes of a public key.
///
/// # Errors
/// [`SealingError::NoKey`] if the text is none.
pub fn public_bytes(text: &str) -> Result<Vec<u8>, SealingError> {
    match BASE64.decode(text.as_bytes()) {
        Ok(bytes) if bytes.len() == PUBLIC_BYTES => Ok(bytes),
        _ => Err(SealingError::NoKey),
    }
}

/// The AES key of the two halves; both public keys go into it, the joiner's first.
fn shared(
    private: EphemeralPrivateKey,
    peer: &[u8],
    joiner: &[u8],
    sealer: &[u8],
) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealingError> {
    let peer = UnparsedPublicKey::new(&X25519, peer);
    agreement::agree_ephemeral(private, &peer, |secret| {
        let salt = Salt::new(HKDF_SHA256, &[joiner, sealer].concat());
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let extracted = salt.extract(secret);
        let expanded = extracted.expand(&[PURPOSE], KeyLength);
        expanded.and_then(|okm| okm.fill(key.as_mut_slice())).map(|()| key)
    })
    .and_then(|key| key)
    .map_err(|_| SealingError::Broken)
}

/// Tells ring how long the key is.
struct KeyLength;

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        KEY_BYTES
    }
}

/// AES-256-GCM with the joiner's name as associated data.
mod cipher {
    use super::{KEY_BYTES, NONCE_BYTES, SealingError, Zeroizing};
    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    fn key(bytes: &[u8; KEY_BYTES]) -> Result<LessSafeKey, SealingError> {
        UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new).map_err(|_| SealingError::Broken)
    }

    pub(super) fn seal(
        bytes: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        name: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealingError> {
        let mut text = plaintext.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        key(bytes)?
            .seal_in_place_append_tag(nonce, Aad::from(name), &mut text)
            .map_err(|_| SealingError::Broken)?;
        Ok(text)
    }

    pub(super) fn open(
        bytes: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        name: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealingError> {
        let mut text = Zeroizing::new(ciphertext.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key(bytes)?
            .open_in_place(nonce, Aad::from(name), &mut text)
            .map_err(|_| SealingError::Broken)?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

/// Why credentials cannot be sealed or opened. Ask for new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// No random numbers.
    #[error("the system has no random numbers")]
    Random,
    /// Not a public key.
    #[error("the sealing key is not 32 bytes in base64")]
    NoKey,
    /// Sealed for somebody else, or changed on the way.
    #[error("the credentials cannot be opened: they are for another key or were changed")]
    Broken,
}

impl From<RandomError> for SealingError {
    fn from(_: RandomError) -> Self {
        Self::Random
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubeadm::OsRandom;

    #[test]
    fn only_the_joiner_opens_it() {
        let joiner = SealingKey::generate().unwrap();
        let sealed = seal(&joiner.public(), "master-1", b"a secret", &mut OsRandom).unwrap();
        assert!(!sealed.contains("secret"));
        assert_eq!(*joiner.open("master-1", &sealed).unwrap(), b"a secret");
        let other = SealingKey::generate().unwrap();
        assert_eq!(other.open("master-1", &sealed), Err(SealingError::Broken));
    }

    #[test]
    fn name_and_every_byte_are_bound() {
        for position in 0..4 {
            let joiner = SealingKey::generate().unwrap();
            let sealed = seal(&joiner.public(), "master-1", b"a secret", &mut OsRandom).unwrap();
            let mut bytes = BASE64.decode(sealed.as_bytes()).unwrap();
            let at = [1, PUBLIC_BYTES + 1, PUBLIC_BYTES + NONCE_BYTES + 1, bytes.len() - 1];
            bytes[at[position]] ^= 1;
            let changed = BASE64.encode(&bytes);
            assert_eq!(joiner.open("master-1", &changed), Err(SealingError::Broken));
        }
        let joiner = SealingKey::generate().unwrap();
        let sealed = seal(&joiner.public(), "master-1", b"a secret", &mut OsRandom).unwrap();
        assert_eq!(joiner.open("master-2", &sealed), Err(SealingError::Broken));
    }

    #[test]
    fn what_is_no_key_or_no_message_is_refused() {
        for text in ["", "AAAA", "not base64"] {
            assert_eq!(seal(text, "m", b"x", &mut OsRandom), Err(SealingError::NoKey), "{text}");
            let key = SealingKey::generate().unwrap();
            assert_eq!(key.open("m", text), Err(SealingError::Broken), "{text}");
        }
    }
}

//! kubeadm's bootstrap token, `abcdef.0123456789abcdef`.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::random::{Random, RandomError};

/// Length of the public part.
const ID_LENGTH: usize = 6;

/// Length of the secret part.
const SECRET_LENGTH: usize = 16;

/// The characters of both parts, in kubeadm's order (`validBootstrapTokenChars`).
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Random bytes from here on are dropped, so that each character is equally likely (7 × 36).
const REJECT_FROM: u8 = 252;

/// How many bytes are drawn for one character before the source is held for broken. A sound one
/// passes this with a probability of 2^-384.
const MAX_DRAWS: usize = 64;

/// The public part of a token: six characters of `a-z0-9`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(String);

impl TokenId {
    /// The six characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the Secret that holds the token.
    #[must_use]
    pub fn secret_name(&self) -> String {
        format!("{}{}", Self::SECRET_NAME_PREFIX, self.0)
    }

    /// The id in the name of a token's Secret, or `None` for another name.
    #[must_use]
    pub fn from_secret_name(name: &str) -> Option<Self> {
        name.strip_prefix(Self::SECRET_NAME_PREFIX)?.parse().ok()
    }

    const SECRET_NAME_PREFIX: &str = "bootstrap-token-";
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        check_part("id", text, ID_LENGTH)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A bootstrap token: public id and secret. `Debug` shows the id only, the secret is wiped on drop
/// and compared in constant time.
#[derive(Clone)]
pub struct BootstrapToken {
    id: TokenId,
    secret: Zeroizing<String>,
}

impl BootstrapToken {
    /// Makes a new token.
    ///
    /// # Errors
    /// [`RandomError`] if `random` has nothing usable to give.
    pub fn generate(random: &mut impl Random) -> Result<Self, RandomError> {
        let id = TokenId(random_text(ID_LENGTH, random)?.to_string());
        Ok(Self { id, secret: random_text(SECRET_LENGTH, random)? })
    }

    /// Puts a token together from its parts.
    ///
    /// # Errors
    /// [`TokenError`] names the part and what is wrong with it, without showing it.
    pub fn from_parts(id: &str, secret: &str) -> Result<Self, TokenError> {
        let id = id.parse()?;
        check_part("secret", secret, SECRET_LENGTH)?;
        Ok(Self { id, secret: Zeroizing::new(secret.to_owned()) })
    }

    /// The public part.
    #[must_use]
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// The secret part: 16 ASCII bytes.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The whole token, `id.secret`. Shows the secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}.{}", self.id, self.secret()))
    }
}

impl FromStr for BootstrapToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (id, secret) = text.split_once('.').ok_or(TokenError::NoDot)?;
        Self::from_parts(id, secret)
    }
}

impl PartialEq for BootstrapToken {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && bool::from(self.secret.as_bytes().ct_eq(other.secret.as_bytes()))
    }
}

impl Eq for BootstrapToken {}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootstrapToken({}.<hidden>)", self.id)
    }
}

/// `length` characters, each drawn by rejection sampling.
fn random_text(length: usize, random: &mut impl Random) -> Result<Zeroizing<String>, RandomError> {
    let mut text = Zeroizing::new(String::with_capacity(length));
    for _ in 0..length {
        text.push(random_character(random)?);
    }
    Ok(text)
}

fn random_character(random: &mut impl Random) -> Result<char, RandomError> {
    let mut drawn = [0];
    for _ in 0..MAX_DRAWS {
        random.fill(&mut drawn)?;
        let [byte] = drawn;
        if byte < REJECT_FROM {
            let character = ALPHABET.get(usize::from(byte) % ALPHABET.len());
            return character.copied().map(char::from).ok_or(RandomError);
        }
    }
    Err(RandomError)
}

/// Checks length and characters of one part.
fn check_part(part: &'static str, text: &str, expected: usize) -> Result<(), TokenError> {
    if let Some(position) = text.bytes().position(|byte| !ALPHABET.contains(&byte)) {
        return Err(TokenError::Character { part, position });
    }
    if text.len() != expected {
        return Err(TokenError::Length { part, found: text.len(), expected });
    }
    Ok(())
}

/// Why a text is no token. All are wrong input: ask for the token again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no dot between id and secret.
    #[error("the token has no dot; it is 6 characters, a dot and 16 characters of a-z and 0-9")]
    NoDot,
    /// A part is too short or too long.
    #[error("the {part} of the token has {found} characters instead of {expected}")]
    Length {
        /// `id` or `secret`.
        part: &'static str,
        /// Characters given.
        found: usize,
        /// Characters wanted.
        expected: usize,
    },
    /// A part has a character outside the alphabet.
    #[error(
        "the {part} of the token has a character other than a-z and 0-9 after its first {position}"
    )]
    Character {
        /// `id` or `secret`.
        part: &'static str,
        /// How many good bytes stand before it.
        position: usize,
    },
}

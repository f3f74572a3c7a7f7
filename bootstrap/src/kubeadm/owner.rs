//! What ends the life of `kubeadm-certs`: a token that nobody can use, whose deletion at its
//! expiration makes the garbage collector delete the Secret that it owns.

use jiff::Timestamp;

use super::expiration::Expiration;
use super::object::{OwnerReference, Secret};
use super::token::BootstrapToken;
use super::token_secret::{DESCRIPTION, EXPIRATION, TOKEN_SECRET_TYPE, bare_secret};

/// kubeadm's description of the owner token, word for word.
pub const OWNER_DESCRIPTION: &str = "Proxy for managing TTL for the kubeadm-certs secret";

/// The Secret of an owner token: id, secret, description, expiration and nothing else, so that it
/// can neither log in nor sign. Create it before `kubeadm-certs`.
#[must_use]
pub fn owner_token(token: &BootstrapToken, expiration: Expiration) -> Secret {
    let mut secret = bare_secret(token, Some(expiration));
    secret.data.insert(DESCRIPTION, OWNER_DESCRIPTION);
    secret
}

/// The reference to put into `kubeadm-certs`.
///
/// # Errors
/// [`OwnerError`] if `created` has no UID: it must be the Secret as the API server answered. With
/// a made-up UID the garbage collector would delete `kubeadm-certs` within seconds.
pub fn owner_reference(created: &Secret) -> Result<OwnerReference, OwnerError> {
    let uid = created.metadata.uid.clone().filter(|uid| !uid.is_empty()).ok_or(OwnerError)?;
    Ok(OwnerReference {
        api_version: "v1".to_owned(),
        block_owner_deletion: Some(true),
        controller: Some(true),
        kind: "Secret".to_owned(),
        name: created.metadata.name.clone(),
        uid,
    })
}

/// The Secret was not the API server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the owner token has no UID, so it is not the one that the API server stored")]
pub struct OwnerError;

/// How long an owned Secret still lives, by one of its owner references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerState {
    /// The owner is there until the given time; `None` if it never expires.
    Live(Option<Expiration>),
    /// The owner's time is over; it and the owned Secret are about to be collected. Without a
    /// running controller manager they stay.
    Expired(Expiration),
    /// The owner's expiration cannot be read, which the token cleaner takes for expired.
    Unreadable,
    /// The owner is gone; the owned Secret is about to be collected.
    Missing,
    /// The name belongs to another object now, which counts as gone.
    OtherUid,
}

impl OwnerState {
    /// The state at `now`, given what the API server has under the reference's name.
    #[must_use]
    pub fn of(reference: &OwnerReference, found: Option<&Secret>, now: Timestamp) -> Self {
        let Some(owner) = found else {
            return Self::Missing;
        };
        if owner.metadata.uid.as_deref() != Some(reference.uid.as_str()) {
            return Self::OtherUid;
        }
        // The token cleaner looks at Secrets of this type only.
        let cleaned = owner.secret_type.as_deref() == Some(TOKEN_SECRET_TYPE);
        let Some(expiration) =
            owner.data.bytes(EXPIRATION).filter(|text| cleaned && !text.is_empty())
        else {
            return Self::Live(None);
        };
        match std::str::from_utf8(expiration).ok().and_then(|text| text.parse().ok()) {
            None => Self::Unreadable,
            Some(expiration) if Expiration::is_past(expiration, now) => Self::Expired(expiration),
            Some(expiration) => Self::Live(Some(expiration)),
        }
    }

    /// Whether the owned Secret may vanish at any moment.
    #[must_use]
    pub fn is_doomed(self) -> bool {
        !matches!(self, Self::Live(_))
    }
}

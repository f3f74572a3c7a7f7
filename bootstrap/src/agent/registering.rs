//! Registers a master with one coordinator and remembers what that gave.

use tracing::debug;

use super::unix_now;
use crate::client::{ClientError, JoinClient};
use crate::identity::{AgentDir, DirError, Identity, KeyError, KnownCoordinator, Seat};
use crate::kubeadm::{CaPin, CaPinError};
use crate::protocol::{Intent, Registered, Renewal};
use crate::ticket::CoordinatorAddr;

/// What this registration says besides who we are.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// The cluster's CA, if the machine has it.
    pub cluster_ca: Option<String>,
    /// `--first`.
    pub force: bool,
}

/// Registers, and stores the certificate. A key that is known needs no token: that is tried first
/// if this coordinator registered us before, and last if the token is refused.
///
/// # Errors
/// [`RegisterError`]
pub async fn register_with(
    dir: &AgentDir,
    identity: &Identity,
    known: &KnownCoordinator,
    circumstances: Circumstances,
) -> Result<Registered, RegisterError> {
    let client = known.stranger()?;
    let csr = identity.key.request(&identity.name)?;
    let Circumstances { cluster_ca, force } = circumstances;
    let registration = identity.registration(csr, cluster_ca, force);
    let token = identity.join_token();
    let registered = if !known.needs_token() {
        match (client.register(None, &registration).await, token) {
            (Err(error), Some(token)) if error.is_unknown_to_it() => {
                debug!(%error, "the key is not known any more; using the token");
                client.register(Some(&token), &registration).await?
            }
            (answer, _) => answer?,
        }
    } else {
        match client.register(token.as_ref(), &registration).await {
            // The answer to an earlier try may have been lost, and the ticket had that one use.
            Err(error) if token.is_some() && error.is_unknown_to_it() => {
                client.register(None, &registration).await.map_err(|_| error)?
            }
            answer => answer?,
        }
    };
    accept(dir, identity, known, registered, Some(identity.intent))
}

/// Renews the certificate for the same key.
pub(super) async fn renew(
    dir: &AgentDir,
    identity: &Identity,
    known: &KnownCoordinator,
    client: &JoinClient,
) -> Result<Registered, RegisterError> {
    let renewal = Renewal { csr: identity.key.request(&identity.name)? };
    let registered = client.renew(&renewal).await?;
    let intent = known.seat.as_ref().and_then(|seat| seat.intent);
    accept(dir, identity, known, registered, intent)
}

/// Believes and stores an answer. Its CA must be one of the ticket: the connection proved that
/// already, but this CA is what counts from now on.
fn accept(
    dir: &AgentDir,
    identity: &Identity,
    known: &KnownCoordinator,
    registered: Registered,
    intent: Option<Intent>,
) -> Result<Registered, RegisterError> {
    let coordinator = || known.address.clone();
    let pins = CaPin::of_bundle(registered.coordinator_ca.as_bytes())
        .map_err(|source| RegisterError::Ca { coordinator: coordinator(), source })?;
    if !pins.iter().all(|pin| known.trusted().contains(pin)) {
        return Err(RegisterError::OtherCa { coordinator: coordinator() });
    }
    if registered.name != identity.name {
        return Err(RegisterError::OtherName { coordinator: coordinator() });
    }
    let seat = Seat::new(&registered, intent, unix_now());
    match dir.update(|identity| identity.seat(known, seat))? {
        Some(_) => Ok(registered),
        None => Err(RegisterError::Left),
    }
}

/// Why we are not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The coordinator did not.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The key is of no use.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nothing can be stored.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// Its CA is none.
    #[error("{coordinator}: the CA that it gave: {source}")]
    Ca {
        /// Which coordinator.
        coordinator: CoordinatorAddr,
        /// Why.
        source: CaPinError,
    },
    /// Its CA is not pinned.
    #[error("{coordinator}: it gave a CA that the ticket does not name; nothing was kept")]
    OtherCa {
        /// Which coordinator.
        coordinator: CoordinatorAddr,
    },
    /// It means somebody else.
    #[error("{coordinator}: it registered us under another name; nothing was kept")]
    OtherName {
        /// Which coordinator.
        coordinator: CoordinatorAddr,
    },
    /// `mainstay leave` ran meanwhile.
    #[error("this machine has left meanwhile")]
    Left,
}

impl RegisterError {
    /// The coordinator's part in it, if it had one.
    #[must_use]
    pub fn client(&self) -> Option<&ClientError> {
        match self {
            Self::Client(error) => Some(error),
            _ => None,
        }
    }
}

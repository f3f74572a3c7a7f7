//! A bootstrap token as the cluster keeps it: a Secret in `kube-system`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::expiration::{Expiration, ExpirationError};
use super::object::{ObjectMeta, Secret};
use super::sealed_certs::SYSTEM_NAMESPACE;
use super::token::{BootstrapToken, TokenError};

/// Type of a token's Secret.
pub const TOKEN_SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";

/// The group that kubeadm gives its tokens, and that its RBAC rules let read what a join needs.
pub const DEFAULT_TOKEN_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

/// Names of the entries (`k8s.io/cluster-bootstrap/token/api`).
pub(super) const TOKEN_ID: &str = "token-id";
pub(crate) const TOKEN_SECRET: &str = "token-secret";
pub(super) const DESCRIPTION: &str = "description";
pub(super) const EXPIRATION: &str = "expiration";
const USAGE_PREFIX: &str = "usage-bootstrap-";
const EXTRA_GROUPS: &str = "auth-extra-groups";

/// What a token may be used for. Two usages are known; others may stand in a Secret and are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usage(Cow<'static, str>);

impl Usage {
    /// To log in to the API server.
    pub const AUTHENTICATION: Self = Self(Cow::Borrowed("authentication"));

    /// To sign `cluster-info`, so that a joiner can trust it.
    pub const SIGNING: Self = Self(Cow::Borrowed("signing"));

    /// Both, as kubeadm gives them by default.
    #[must_use]
    pub fn all() -> BTreeSet<Self> {
        BTreeSet::from([Self::AUTHENTICATION, Self::SIGNING])
    }
}

impl FromStr for Usage {
    type Err = TokenSecretError;

    /// Takes the two known usages only.
    fn from_str(text: &str) -> Result<Self, TokenSecretError> {
        [Self::AUTHENTICATION, Self::SIGNING]
            .into_iter()
            .find(|usage| usage.0 == text)
            .ok_or_else(|| TokenSecretError::UnknownUsage { usage: text.to_owned() })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token with its purpose and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSecret {
    /// The token.
    pub token: BootstrapToken,
    /// Free text; empty if there is none.
    pub description: String,
    /// When it ends; `None` for never.
    pub expiration: Option<Expiration>,
    /// What it may be used for.
    pub usages: BTreeSet<Usage>,
    /// Groups of whoever logs in with it, besides `system:bootstrappers`.
    pub groups: Vec<String>,
}

impl TokenSecret {
    /// A token with kubeadm's defaults: both usages and its usual group, no description.
    #[must_use]
    pub fn new(token: BootstrapToken, expiration: Option<Expiration>) -> Self {
        Self {
            token,
            description: String::new(),
            expiration,
            usages: Usage::all(),
            groups: vec![DEFAULT_TOKEN_GROUP.to_owned()],
        }
    }

    /// Whether the token has ended at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expiration.is_some_and(|expiration| expiration.is_past(now))
    }

    /// The Secret to create. Empty fields have no entry.
    ///
    /// # Errors
    /// [`TokenSecretError`] for groups that would make the token fail to log in, which the API
    /// server does not check.
    pub fn to_secret(&self) -> Result<Secret, TokenSecretError> {
        self.check_groups()?;
        let mut secret = bare_secret(&self.token, self.expiration);
        if !self.description.is_empty() {
            secret.data.insert(DESCRIPTION, self.description.as_str());
        }
        for usage in &self.usages {
            secret.data.insert(format!("{USAGE_PREFIX}{usage}"), "true");
        }
        if !self.groups.is_empty() {
            secret.data.insert(EXTRA_GROUPS, self.groups.join(","));
        }
        Ok(secret)
    }

    /// Reads a token's Secret, as strictly as kubeadm does.
    ///
    /// # Errors
    /// [`TokenSecretError`]; `kubeadm token list` reports such a Secret and goes on to the next.
    pub fn from_secret(secret: &Secret) -> Result<Self, TokenSecretError> {
        let name = &secret.metadata.name;
        if secret.secret_type.as_deref() != Some(TOKEN_SECRET_TYPE) {
            return Err(TokenSecretError::OtherType { name: name.clone() });
        }
        let id = entry(secret, TOKEN_ID)?;
        let token = BootstrapToken::from_parts(id, entry(secret, TOKEN_SECRET)?)
            .map_err(|source| TokenSecretError::Token { name: name.clone(), source })?;
        if *name != token.id().secret_name() {
            return Err(TokenSecretError::OtherName { name: name.clone() });
        }
        // Like Go, which takes any bytes for a string; none that is not UTF-8 is an expiration.
        let optional =
            |entry| String::from_utf8_lossy(secret.data.bytes(entry).unwrap_or_default());
        let expiration = Some(optional(EXPIRATION))
            .filter(|text| !text.is_empty())
            .map(|text| text.parse())
            .transpose()
            .map_err(|source| TokenSecretError::Expiration { name: name.clone(), source })?;
        let groups = optional(EXTRA_GROUPS);
        let groups = groups.split(',').filter(|group| !group.is_empty());
        Ok(Self {
            token,
            description: optional(DESCRIPTION).into_owned(),
            expiration,
            usages: usages(secret),
            groups: groups.map(str::to_owned).collect(),
        })
    }

    fn check_groups(&self) -> Result<(), TokenSecretError> {
        if !self.groups.is_empty() && !self.usages.contains(&Usage::AUTHENTICATION) {
            return Err(TokenSecretError::GroupsWithoutAuthentication);
        }
        match self.groups.iter().find(|group| !is_group(group)) {
            Some(group) => Err(TokenSecretError::Group { group: group.clone() }),
            None => Ok(()),
        }
    }
}

/// A token's Secret with id, secret and expiration only.
pub(super) fn bare_secret(token: &BootstrapToken, expiration: Option<Expiration>) -> Secret {
    let mut secret = Secret::new(ObjectMeta::named(token.id().secret_name(), SYSTEM_NAMESPACE));
    secret.secret_type = Some(TOKEN_SECRET_TYPE.to_owned());
    secret.data.insert(TOKEN_ID, token.id().as_str());
    secret.data.insert(TOKEN_SECRET, token.secret());
    if let Some(expiration) = expiration {
        secret.data.insert(EXPIRATION, expiration.to_string());
    }
    secret
}

/// A required entry.
fn entry<'a>(secret: &'a Secret, entry: &'static str) -> Result<&'a str, TokenSecretError> {
    secret
        .data
        .text(entry)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| TokenSecretError::MissingEntry { name: secret.metadata.name.clone(), entry })
}

/// The usages whose value is exactly `true`.
fn usages(secret: &Secret) -> BTreeSet<Usage> {
    let usage =
        |name: &String| Some(Usage(Cow::Owned(name.strip_prefix(USAGE_PREFIX)?.to_owned())));
    let granted = secret.data.0.iter().filter(|(_, value)| value.0.as_slice() == b"true");
    granted.filter_map(|(name, _)| usage(name)).collect()
}

/// `\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`, Kubernetes' `BootstrapGroupPattern`.
fn is_group(group: &str) -> bool {
    let Some(name) = group.strip_prefix("system:bootstrappers:") else {
        return false;
    };
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 256
        && name.as_bytes().last().is_some_and(plain)
        && name.bytes().all(|byte| plain(&byte) || byte == b':' || byte == b'-')
}

/// Why a token's Secret cannot be read or written. Wrong input, nothing to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenSecretError {
    /// The Secret is no token.
    #[error("Secret {name:?} is not of the type bootstrap.kubernetes.io/token")]
    OtherType {
        /// Name of the Secret.
        name: String,
    },
    /// A required entry is absent or empty.
    #[error("Secret {name:?} has no entry {entry:?}")]
    MissingEntry {
        /// Name of the Secret.
        name: String,
        /// Name of the entry.
        entry: &'static str,
    },
    /// Id or secret are malformed.
    #[error("Secret {name:?}: {source}")]
    Token {
        /// Name of the Secret.
        name: String,
        /// What is wrong.
        source: TokenError,
    },
    /// Name and id differ.
    #[error("Secret {name:?} is not named bootstrap-token- and its token-id")]
    OtherName {
        /// Name of the Secret.
        name: String,
    },
    /// The expiration cannot be read; the token cleaner deletes the token at once.
    #[error("Secret {name:?}: {source}")]
    Expiration {
        /// Name of the Secret.
        name: String,
        /// What is wrong.
        source: ExpirationError,
    },
    /// A usage that Kubernetes does not know.
    #[error("unknown usage {usage:?}; the usages are signing and authentication")]
    UnknownUsage {
        /// The usage given.
        usage: String,
    },
    /// Groups on a token that cannot log in.
    #[error("a token has groups only with the usage authentication")]
    GroupsWithoutAuthentication,
    /// A group that makes the login fail.
    #[error(
        "group {group:?} is not system:bootstrappers: followed by characters of a-z, 0-9, ':' and \
         '-', the last of them a letter or digit"
    )]
    Group {
        /// The group given.
        group: String,
    },
}

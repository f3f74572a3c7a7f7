//! Bootstrap tokens in the cluster.

use super::client::Cluster;
use super::error::ApiError;
use super::undo;
use crate::kubeadm::{
    List, SYSTEM_NAMESPACE, Secret, TOKEN_SECRET_TYPE, TokenId, TokenSecret, TokenSecretError,
};

/// A token as the cluster stored it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    id: TokenId,
    uid: Option<String>,
}

impl NewToken {
    /// Takes the token back, for a caller whose next step failed. Another token that took its name
    /// meanwhile is left alone.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn take_back(&self, cluster: &Cluster) -> Result<(), ApiError> {
        undo::take_back(cluster, &self.id.secret_name(), self.uid.as_deref()).await
    }
}

/// Stores a new token. One that may have been stored although no answer came is taken back.
///
/// # Errors
/// [`TokenCallError::Exists`] if there is one with this id; with a generated token, generate
/// another one.
pub async fn create_token(
    cluster: &Cluster,
    token: &TokenSecret,
) -> Result<NewToken, TokenCallError> {
    let id = token.token.id().clone();
    let secret = token.to_secret()?;
    let stored: Result<Secret, _> = cluster.create(&secrets_path(), &secret).await;
    match stored {
        Ok(stored) => Ok(NewToken { id, uid: stored.metadata.uid }),
        Err(error) if already_exists(&error) => Err(TokenCallError::Exists { id }),
        Err(error) => {
            if error.may_have_been_done() {
                // It ends by itself; a failure here changes nothing about the answer.
                undo::take_back_unsure(cluster, &secret).await.ok();
            }
            Err(error.into())
        }
    }
}

/// The tokens of the cluster, in the server's order.
#[derive(Debug)]
pub struct FoundTokens {
    /// Those that can be read.
    pub tokens: Vec<TokenSecret>,
    /// Why others cannot.
    pub unreadable: Vec<TokenSecretError>,
}

/// Lists all tokens, owner tokens included.
///
/// # Errors
/// [`ApiError`]
pub async fn list_tokens(cluster: &Cluster) -> Result<FoundTokens, ApiError> {
    let type_only = TOKEN_SECRET_TYPE.replace('/', "%2F");
    let path = format!("{}?fieldSelector=type%3D{type_only}", secrets_path());
    let list: Option<List<Secret>> = cluster.get(&path).await?;
    let mut found = FoundTokens { tokens: Vec::new(), unreadable: Vec::new() };
    for secret in list.map(|list| list.items).unwrap_or_default() {
        match TokenSecret::from_secret(&secret) {
            Ok(token) => found.tokens.push(token),
            Err(error) => found.unreadable.push(error),
        }
    }
    Ok(found)
}

/// Deletes a token.
///
/// # Errors
/// [`ApiError`]; one that is not there has [`ApiStatus::is_not_found`](super::ApiStatus).
pub async fn delete_token(cluster: &Cluster, id: &TokenId) -> Result<(), ApiError> {
    cluster.delete(&secret_path(&id.secret_name()), None).await
}

/// Whether the object of a POST is there already.
pub(super) fn already_exists(error: &ApiError) -> bool {
    error.status().is_some_and(super::ApiStatus::already_exists)
}

/// All Secrets of `kube-system`.
pub(super) fn secrets_path() -> String {
    format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets")
}

/// One Secret of `kube-system`.
pub(super) fn secret_path(name: &str) -> String {
    format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets/{name}")
}

/// Why there is no new token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenCallError {
    /// The id is taken.
    #[error(
        "a token with id \"{id}\" already exists; delete it with `mainstay token delete {id}` or \
         leave the token out to get a new one"
    )]
    Exists {
        /// The id.
        id: TokenId,
    },
    /// The token would be of no use.
    #[error(transparent)]
    Token(#[from] TokenSecretError),
    /// The call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

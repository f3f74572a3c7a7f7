//! The upload of the certificates, in kubeadm's order of calls but for two points: everything that
//! can be checked is checked before the first call, and the owner token is deleted again if a later
//! call fails. kubeadm leaves it behind for two hours then.

use serde::Serialize;
use serde::de::IgnoredAny;

use super::client::Cluster;
use super::error::ApiError;
use super::tokens::{already_exists, secret_path, secrets_path};
use super::undo;
use crate::kubeadm::{
    BootstrapToken, CERTS_SECRET_NAME, CertSet, CertificateKey, Expiration, OwnerError, Random,
    RandomError, SYSTEM_NAMESPACE, SealedCerts, SealedCertsError, Secret, TokenId, certs_role,
    certs_role_binding, owner_reference, owner_token,
};

/// How often another id is tried for the owner token. There are 2 × 10^9 ids, so a second try is
/// rare and a third means that something is wrong.
const OWNER_TRIES: usize = 3;

/// How often create and replace are tried in turn while somebody else creates and deletes.
const STORE_TRIES: usize = 3;

/// A finished upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// When it ends.
    pub expiration: Expiration,
    /// Whether an earlier upload was replaced, whose key is worth nothing now.
    pub replaced: bool,
    /// The owner token as the API server stored it.
    owner: Secret,
}

impl Uploaded {
    /// Takes the upload back by deleting its owner: the garbage collector deletes the rest. For a
    /// caller whose next step failed.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn take_back(&self, cluster: &Cluster) -> Result<(), ApiError> {
        delete_owner(cluster, &self.owner).await
    }

    /// Name of the owner token's Secret.
    #[must_use]
    pub fn owner_name(&self) -> &str {
        &self.owner.metadata.name
    }
}

/// Ends an upload of which the owner's id is remembered. `kubeadm-certs` is deleted at once if that
/// owner still is its owner, and with `certs_uid` only if it still is that Secret: a later upload,
/// ours or kubeadm's, is left alone. What is gone already is fine.
///
/// # Errors
/// [`ApiError`]; may be tried again.
pub async fn end_upload(
    cluster: &Cluster,
    owner: &TokenId,
    certs_uid: Option<&str>,
) -> Result<(), ApiError> {
    let name = owner.secret_name();
    let path = secret_path(CERTS_SECRET_NAME);
    if let Some(secret) = cluster.get::<Secret>(&path).await? {
        let metadata = &secret.metadata;
        let owned = metadata.owner_references.iter().any(|reference| reference.name == name);
        let same = certs_uid.is_none_or(|uid| metadata.uid.as_deref() == Some(uid));
        if owned && same {
            cluster.take_back(&path, metadata.uid.as_deref()).await?;
        }
    }
    cluster.take_back(&secret_path(&name), None).await
}

/// Seals the certificates and uploads them, to end at `expiration`.
///
/// Order: POST owner token, POST (if it is there, PUT) `kubeadm-certs`, POST or PUT Role and
/// RoleBinding. Pass what [`CertSet::into_upload`] made. When `stop` resolves after the first call,
/// the upload ends as if the next one had failed; to drop the returned future instead would leave
/// the owner token behind.
///
/// # Errors
/// [`UploadError`]; nothing of the upload stays then, except as its message says.
pub async fn upload_certs(
    cluster: &Cluster,
    certs: &CertSet,
    key: &CertificateKey,
    expiration: Expiration,
    random: &mut impl Random,
    stop: impl Future<Output = ()>,
) -> Result<Uploaded, UploadError> {
    let sealed = SealedCerts::seal(certs, key, random)?;
    let owner = create_owner(cluster, expiration, random).await?;
    let reference = match owner_reference(&owner) {
        Ok(reference) => reference,
        Err(error) => {
            // Without a UID the name is all there is; a failure changes nothing about the answer.
            delete_owner(cluster, &owner).await.ok();
            return Err(error.into());
        }
    };
    let secret = sealed.to_secret(Some(reference));
    let failure = tokio::select! {
        stored = store(cluster, &secret) => match stored {
            Ok(replaced) => {
                return Ok(Uploaded { expiration, replaced, owner });
            }
            Err(failure) => Some(failure),
        },
        () = stop => None,
    };
    let left_behind = leftover(delete_owner(cluster, &owner).await, &owner, expiration);
    Err(match failure {
        None => UploadError::Interrupted { left_behind },
        Some((step, source)) => UploadError::Store { step, source, left_behind },
    })
}

/// Creates the Secret whose end is the end of the upload.
async fn create_owner(
    cluster: &Cluster,
    expiration: Expiration,
    random: &mut impl Random,
) -> Result<Secret, UploadError> {
    let mut tries = 0;
    loop {
        let token = BootstrapToken::generate(random)?;
        let secret = owner_token(&token, expiration);
        tries += 1;
        match cluster.create::<_, Secret>(&secrets_path(), &secret).await {
            Ok(stored) => return Ok(stored),
            Err(error) if already_exists(&error) && tries < OWNER_TRIES => {}
            Err(source) => {
                if source.may_have_been_done() {
                    // It ends by itself; a failure here changes nothing about the answer.
                    undo::take_back_unsure(cluster, &secret).await.ok();
                }
                return Err(UploadError::Owner(source));
            }
        }
    }
}

/// Everything after the owner token; the error names the step.
async fn store(cluster: &Cluster, secret: &Secret) -> Result<bool, (&'static str, ApiError)> {
    let secrets = (secrets_path(), secret_path(CERTS_SECRET_NAME));
    let replaced = create_or_replace(cluster, &secrets, secret)
        .await
        .map_err(|error| ("Secret kubeadm-certs", error))?;
    let role = certs_role();
    create_or_replace(cluster, &rbac_paths("roles", &role.metadata.name), &role)
        .await
        .map_err(|error| ("Role kubeadm:kubeadm-certs", error))?;
    let binding = certs_role_binding();
    let paths = rbac_paths("rolebindings", &binding.metadata.name);
    create_or_replace(cluster, &paths, &binding)
        .await
        .map_err(|error| ("RoleBinding kubeadm:kubeadm-certs", error))?;
    Ok(replaced)
}

/// POST, and PUT if the object is there already; tells whether it was. In between it may be
/// deleted (an earlier upload is collected) or changed, hence a few tries.
pub(super) async fn create_or_replace(
    cluster: &Cluster,
    (collection, object_path): &(String, String),
    object: &impl Serialize,
) -> Result<bool, ApiError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match cluster.create::<_, IgnoredAny>(collection, object).await {
            Ok(_) => return Ok(false),
            Err(error) if already_exists(&error) => {}
            Err(error) => return Err(error),
        }
        match cluster.replace(object_path, object).await {
            Ok(()) => return Ok(true),
            Err(error) if tries < STORE_TRIES && is_race(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether somebody else deleted or changed the object at the same time.
fn is_race(error: &ApiError) -> bool {
    error.status().is_some_and(|status| status.is_not_found() || status.is_conflict())
}

/// Collection and object of a kind of RBAC rule.
fn rbac_paths(kind: &str, name: &str) -> (String, String) {
    let collection =
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/{kind}");
    let object = format!("{collection}/{name}");
    (collection, object)
}

/// Deletes the owner token, if it still is the one that was created.
async fn delete_owner(cluster: &Cluster, owner: &Secret) -> Result<(), ApiError> {
    undo::take_back(cluster, &owner.metadata.name, owner.metadata.uid.as_deref()).await
}

/// What to say if the owner token could not be deleted.
fn leftover(deleted: Result<(), ApiError>, owner: &Secret, expiration: Expiration) -> String {
    match deleted {
        Ok(()) => String::new(),
        Err(_) => format!(
            "; the owner token {} could not be deleted again and ends by itself at {expiration}",
            owner.metadata.name
        ),
    }
}

/// Why nothing was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Wrong key or certificates; no call was made.
    #[error(transparent)]
    Seal(#[from] SealedCertsError),
    /// The machine gives no random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The API server stored the owner token without telling its UID.
    #[error(transparent)]
    NoUid(#[from] OwnerError),
    /// The owner token could not be created.
    #[error("cannot create the owner token of the upload: {0}")]
    Owner(#[source] ApiError),
    /// It was told to stop, and the owner token was deleted again.
    #[error("interrupted; nothing is uploaded{left_behind}")]
    Interrupted {
        /// What stays, as the end of a sentence; usually nothing.
        left_behind: String,
    },
    /// A later step failed, and the owner token was deleted again.
    #[error("cannot write {step}: {source}{left_behind}")]
    Store {
        /// The object.
        step: &'static str,
        /// Why.
        source: ApiError,
        /// What stays, as the end of a sentence; usually nothing.
        left_behind: String,
    },
}

impl UploadError {
    /// The failed call, if it was one.
    #[must_use]
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Owner(source) | Self::Store { source, .. } => Some(source),
            _ => None,
        }
    }
}

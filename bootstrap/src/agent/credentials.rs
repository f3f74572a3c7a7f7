//! Credentials for one joiner, made as kubeadm makes them: the certificates under a new key, and a
//! new bootstrap token. Both end by themselves after a quarter of an hour, whatever happens to the
//! agent, the coordinator or the joiner; usually they are revoked when the join has ended.

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::Master;
use crate::cluster::{
    Access, AccessError, ApiError, Cluster, ConfigCallError, NewToken, TokenCallError, UploadError,
    Uploaded, create_token, delete_token, end_upload, is_ready_node, kubeadm_config, upload_certs,
    uploaded_certs,
};
use crate::kubeadm::{
    BootstrapToken, CertificateKey, ClusterConfiguration, Defects, Expiration, PkiDirectory,
    PkiError, Random, RandomError, TokenId, TokenSecret,
};
use crate::protocol::{Credentials, Made};
use crate::sealing::{self, SealingError};

/// How long credentials live: a join takes below a minute, and slow image downloads some more. The
/// owner token of the upload gets the same, so that nothing outlives it.
const LIFETIME: SignedDuration = SignedDuration::from_mins(15);

/// How often another token id is tried; see `cluster::upload`.
const TOKEN_TRIES: usize = 3;

/// Most bytes of a joiner's name in a description.
const NAME_MAX: usize = 253;

/// Makes credentials for a joiner and seals them for its key. Where a later call fails, or `stop`
/// resolves, what was made before is taken back.
///
/// # Errors
/// [`IssueError`]
pub async fn issue(
    master: &Master,
    joiner: &str,
    sealing_key: &str,
    random: &mut impl Random,
    stop: impl Future<Output = ()>,
) -> Result<(String, Made), IssueError> {
    // Everything that can be wrong here is found before the first call.
    sealing::public_bytes(sealing_key)?;
    let access = Access::load(&[master.admin_conf()])?;
    let pins = access.pins()?.iter().map(ToString::to_string).collect();
    let server = access.join_address().to_owned();
    let cluster = Cluster::connect(access)?;
    let config = kubeadm_config(&cluster).await?;
    let endpoint = endpoint(config.as_ref(), server)?;
    let certs = pki(master, config.as_ref()).read()?.into_upload()?.certs;
    if is_ready_node(&cluster, joiner).await? {
        return Err(IssueError::StillReady(joiner.to_owned()));
    }
    let key = CertificateKey::generate(random)?;
    let end = end()?;
    let uploaded = upload_certs(&cluster, &certs, &key, end, random, stop).await?;
    let (token, stored) = match store_token(&cluster, joiner, end, random).await {
        Ok(stored) => stored,
        Err(error) => {
            // It ends by itself; a failure here changes nothing about the answer.
            uploaded.take_back(&cluster).await.ok();
            return Err(error);
        }
    };
    let credentials = Credentials {
        endpoint,
        token: token.to_text(),
        ca_cert_hashes: pins,
        certificate_key: key.to_hex(),
    };
    match seal(&credentials, sealing_key, joiner, random) {
        Ok(sealed) => Ok((sealed, made(&cluster, &token, &uploaded).await)),
        Err(error) => {
            uploaded.take_back(&cluster).await.ok();
            stored.take_back(&cluster).await.ok();
            Err(error)
        }
    }
}

/// Deletes what [`issue`] made. What is gone already, or has become somebody else's, is left alone.
///
/// # Errors
/// [`IssueError`]; may be tried again.
pub async fn revoke(master: &Master, made: &Made) -> Result<(), IssueError> {
    let ids = (made.token_id.parse::<TokenId>(), made.owner_id.parse::<TokenId>());
    let (Ok(token), Ok(owner)) = ids else {
        return Err(IssueError::NotMade);
    };
    let cluster = Cluster::connect(Access::load(&[master.admin_conf()])?)?;
    match delete_token(&cluster, &token).await {
        Err(error) if !error.status().is_some_and(crate::cluster::ApiStatus::is_not_found) => {
            return Err(error.into());
        }
        _ => {}
    }
    Ok(end_upload(&cluster, &owner, made.certs_uid.as_deref()).await?)
}

fn end() -> Result<Expiration, IssueError> {
    let end = Timestamp::now().checked_add(LIFETIME).map_err(|_| IssueError::Clock)?;
    Ok(Expiration::utc(end))
}

/// The balancer as the cluster itself names it; kubeadm reads it from there anyway.
fn endpoint(config: Option<&ClusterConfiguration>, server: String) -> Result<String, IssueError> {
    let Some(config) = config else {
        return Ok(server);
    };
    let endpoint = config.control_plane_endpoint.as_ref().ok_or(IssueError::NoEndpoint)?;
    // Without a port it is the one at which kubeadm let the apiservers listen, as admin.conf says.
    Ok(if endpoint.port().is_some() { endpoint.to_string() } else { server })
}

/// The certificates of this master, where the cluster's configuration says they are. A master whose
/// kubeadm directory was moved has them there.
pub(super) fn pki(master: &Master, config: Option<&ClusterConfiguration>) -> PkiDirectory {
    let ours = master.kubernetes_dir.join("pki");
    let Some(config) = config else {
        return PkiDirectory::stacked(ours);
    };
    let mut config = config.clone();
    if master.kubernetes_dir != crate::plan::MasterFiles::usual_directory() {
        config.certificates_dir = ours;
    }
    PkiDirectory::of(&config)
}

async fn store_token(
    cluster: &Cluster,
    joiner: &str,
    end: Expiration,
    random: &mut impl Random,
) -> Result<(BootstrapToken, NewToken), IssueError> {
    let mut tries = 0;
    loop {
        let token = BootstrapToken::generate(random)?;
        let mut secret = TokenSecret::new(token.clone(), Some(end));
        let name: String = joiner.chars().take(NAME_MAX).collect();
        secret.description = format!("Made by mainstay for the join of {name}");
        tries += 1;
        match create_token(cluster, &secret).await {
            Ok(stored) => return Ok((token, stored)),
            Err(TokenCallError::Exists { .. }) if tries < TOKEN_TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn seal(
    credentials: &Credentials,
    sealing_key: &str,
    joiner: &str,
    random: &mut impl Random,
) -> Result<String, IssueError> {
    // Credentials always have a JSON form.
    let text = Zeroizing::new(serde_json::to_vec(credentials).unwrap_or_default());
    Ok(sealing::seal(sealing_key, joiner, &text, random)?)
}

/// What to revoke. The UID of `kubeadm-certs` only if the upload is still ours.
async fn made(cluster: &Cluster, token: &BootstrapToken, uploaded: &Uploaded) -> Made {
    let owner = uploaded.owner_name();
    let found = uploaded_certs(cluster).await.ok().flatten();
    let ours = found.filter(|secret| {
        secret.metadata.owner_references.iter().any(|reference| reference.name == owner)
    });
    let owner_id = TokenId::from_secret_name(owner).map(|id| id.as_str().to_owned());
    Made {
        token_id: token.id().as_str().to_owned(),
        owner_id: owner_id.unwrap_or_default(),
        certs_uid: ours.and_then(|secret| secret.metadata.uid),
    }
}

/// Why there are no credentials. None of the messages holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The joiner's key is none.
    #[error("the joiner's key: {0}")]
    Sealing(#[from] SealingError),
    /// No administrator's kubeconfig.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The cluster's configuration is not known.
    #[error(transparent)]
    Config(#[from] ConfigCallError),
    /// The cluster has no common address.
    #[error(
        "the cluster has no controlPlaneEndpoint, so no further master can join; set it in \
         kubeadm-config to the address of the balancer"
    )]
    NoEndpoint,
    /// kubeadm would refuse to join. May be tried again.
    #[error(
        "the Node {0} is still Ready from before, and kubeadm joins it only when the cluster has \
         noticed that it is gone; if its kubelet is stopped, `kubectl delete node {0}` helps at once"
    )]
    StillReady(String),
    /// The certificates cannot be read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The certificates are not fit for a join.
    #[error("the certificates of this master are not fit for a join: {0}")]
    Defects(#[from] Defects),
    /// No random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The upload failed.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The token could not be made.
    #[error(transparent)]
    Token(#[from] TokenCallError),
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The clock is beyond all dates.
    #[error("the clock of this machine is wrong")]
    Clock,
    /// Ids that no [`issue`] made.
    #[error("what is to be revoked was not made here")]
    NotMade,
}

impl IssueError {
    /// Whether nothing is wrong, but something must pass first.
    #[must_use]
    pub fn must_wait(&self) -> bool {
        matches!(self, Self::StillReady(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_a_port_is_at_the_port_of_the_kubeconfig() {
        let endpoint_of = |text: &str| {
            let yaml = format!(
                "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n\
                 kubernetesVersion: v1.24.0\ncontrolPlaneEndpoint: {text}\n"
            );
            let config = ClusterConfiguration::parse(&yaml).unwrap();
            endpoint(Some(&config), "lb.example.com:7443".to_owned()).unwrap()
        };
        assert_eq!(endpoint_of("lb.example.com"), "lb.example.com:7443");
        assert_eq!(endpoint_of("lb.example.com:8443"), "lb.example.com:8443");
        assert_eq!(endpoint_of("'[fd00::1]:6443'"), "[fd00::1]:6443");
    }
}

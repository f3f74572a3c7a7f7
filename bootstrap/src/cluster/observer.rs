//! The coordinator's own access to the cluster: just enough to watch who the apiservers are.
//!
//! A master makes it, because the CA's key is there and an administrator's kubeconfig; the
//! coordinator gets a kubeconfig that reads EndpointSlices and Endpoints of `default` and nothing
//! else.

use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::client::Cluster;
use super::error::ApiError;
use super::upload::create_or_replace;
use crate::kubeadm::{
    CertEntry, ClientCertificate, IssueError, ObjectMeta, PkiDirectory, PkiError, PolicyRule, Role,
    RoleBinding, RoleRef, Subject,
};

/// Name of the user, the Role and the RoleBinding.
pub const OBSERVER: &str = "mainstay:observer";

/// Namespace of `kubernetes`, its Endpoints and its EndpointSlices.
const NAMESPACE: &str = "default";

/// API group of both rules.
const RBAC: &str = "rbac.authorization.k8s.io";

/// How long the certificate lasts. The agent of a master makes a new one long before.
const VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);

/// The Role: read who the apiservers are.
#[must_use]
pub fn observer_role() -> Role {
    let rule = |group: &str, resource: &str| PolicyRule {
        api_groups: vec![group.to_owned()],
        resource_names: Vec::new(),
        resources: vec![resource.to_owned()],
        verbs: ["get", "list", "watch"].map(str::to_owned).to_vec(),
    };
    Role {
        api_version: format!("{RBAC}/v1"),
        kind: "Role".to_owned(),
        metadata: ObjectMeta::named(OBSERVER, NAMESPACE),
        rules: vec![rule("", "endpoints"), rule("discovery.k8s.io", "endpointslices")],
    }
}

/// The RoleBinding: the Role for the user of that name.
#[must_use]
pub fn observer_role_binding() -> RoleBinding {
    let rbac = || RBAC.to_owned();
    RoleBinding {
        api_version: format!("{RBAC}/v1"),
        kind: "RoleBinding".to_owned(),
        metadata: ObjectMeta::named(OBSERVER, NAMESPACE),
        role_ref: RoleRef { api_group: rbac(), kind: "Role".to_owned(), name: OBSERVER.to_owned() },
        subjects: vec![Subject {
            api_group: rbac(),
            kind: "User".to_owned(),
            name: OBSERVER.to_owned(),
        }],
    }
}

/// Makes sure that the observer may read, and issues its certificate: a kubeconfig for `server`, the
/// control plane endpoint. May be repeated at any time; earlier certificates stay valid until they
/// end.
///
/// The files are looked at first, so that nothing is changed if there is no certificate to be had.
///
/// # Errors
/// [`ObserverError`]
pub async fn observer_kubeconfig(
    cluster: &Cluster,
    pki: &PkiDirectory,
    server: &str,
    now: Timestamp,
) -> Result<Zeroizing<String>, ObserverError> {
    let certs = pki.read()?;
    let ca = certs.file(CertEntry::CaCert).ok_or(ObserverError::NoCa)?;
    let key = certs.file(CertEntry::CaKey).ok_or(ObserverError::ExternalCa)?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let issued = ClientCertificate::issue(OBSERVER, ca, key, seconds, VALIDITY)?;
    allow(cluster).await?;
    Ok(issued.kubeconfig(OBSERVER, server, ca))
}

/// POST or PUT of the Role and the RoleBinding.
async fn allow(cluster: &Cluster) -> Result<(), ObserverError> {
    let step = |object: &'static str| move |source| ObserverError::Api { object, source };
    create_or_replace(cluster, &paths("roles"), &observer_role())
        .await
        .map_err(step("Role mainstay:observer"))?;
    create_or_replace(cluster, &paths("rolebindings"), &observer_role_binding())
        .await
        .map_err(step("RoleBinding mainstay:observer"))?;
    Ok(())
}

/// Collection and object.
fn paths(kind: &str) -> (String, String) {
    let collection = format!("/apis/{RBAC}/v1/namespaces/{NAMESPACE}/{kind}");
    let object = format!("{collection}/{OBSERVER}");
    (collection, object)
}

/// Why there is no access for the coordinator. It then learns masters by registration only.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    /// The files cannot be read.
    #[error(transparent)]
    Files(#[from] PkiError),
    /// There is no CA.
    #[error("there is no ca.crt of the cluster")]
    NoCa,
    /// The CA's key is elsewhere.
    #[error(
        "there is no ca.key, so the cluster's CA is external; let it sign a client certificate for \
         the user mainstay:observer, and give its kubeconfig to the balancer as kubernetes.kubeconfig"
    )]
    ExternalCa,
    /// No certificate.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A call failed.
    #[error("cannot write {object}: {source}")]
    Api {
        /// What was to be written.
        object: &'static str,
        /// Why not.
        source: ApiError,
    },
}

//! The Role and RoleBinding that let a joining master read `kubeadm-certs`.

use serde::{Deserialize, Serialize};

use super::object::ObjectMeta;
use super::sealed_certs::{CERTS_SECRET_NAME, SYSTEM_NAMESPACE};
use super::token_secret::DEFAULT_TOKEN_GROUP;

/// Name of both objects; kubeadm's `KubeadmCertsClusterRoleName`, although they are namespaced.
const NAME: &str = "kubeadm:kubeadm-certs";

/// API group of both objects.
const GROUP: &str = "rbac.authorization.k8s.io";

/// A `rbac.authorization.k8s.io/v1` Role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// `rbac.authorization.k8s.io/v1`.
    pub api_version: String,
    /// `Role`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it allows.
    pub rules: Vec<PolicyRule>,
}

/// One rule of a [`Role`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// API groups; the empty one is the core group.
    pub api_groups: Vec<String>,
    /// Names of objects; all if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Kinds of objects, in plural.
    pub resources: Vec<String>,
    /// What may be done.
    pub verbs: Vec<String>,
}

/// A `rbac.authorization.k8s.io/v1` RoleBinding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleBinding {
    /// `rbac.authorization.k8s.io/v1`.
    pub api_version: String,
    /// `RoleBinding`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// The role given.
    pub role_ref: RoleRef,
    /// Who gets it.
    pub subjects: Vec<Subject>,
}

/// The role of a [`RoleBinding`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleRef {
    /// API group of the role.
    pub api_group: String,
    /// `Role`.
    pub kind: String,
    /// Name of the role.
    pub name: String,
}

/// One who gets the role of a [`RoleBinding`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// API group; the server would fill it in.
    pub api_group: String,
    /// `Group`.
    pub kind: String,
    /// Name of the group.
    pub name: String,
}

/// The Role: read `kubeadm-certs` and nothing else.
#[must_use]
pub fn certs_role() -> Role {
    let only = |text: &str| vec![text.to_owned()];
    Role {
        api_version: format!("{GROUP}/v1"),
        kind: "Role".to_owned(),
        metadata: ObjectMeta::named(NAME, SYSTEM_NAMESPACE),
        rules: vec![PolicyRule {
            api_groups: only(""),
            resource_names: only(CERTS_SECRET_NAME),
            resources: only("secrets"),
            verbs: only("get"),
        }],
    }
}

/// The RoleBinding: the Role for whoever logs in with one of kubeadm's tokens.
#[must_use]
pub fn certs_role_binding() -> RoleBinding {
    RoleBinding {
        api_version: format!("{GROUP}/v1"),
        kind: "RoleBinding".to_owned(),
        metadata: ObjectMeta::named(NAME, SYSTEM_NAMESPACE),
        role_ref: RoleRef {
            api_group: GROUP.to_owned(),
            kind: "Role".to_owned(),
            name: NAME.to_owned(),
        },
        subjects: vec![Subject {
            api_group: GROUP.to_owned(),
            kind: "Group".to_owned(),
            name: DEFAULT_TOKEN_GROUP.to_owned(),
        }],
    }
}

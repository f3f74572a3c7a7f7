//! The few calls to the Kubernetes API that kubeadm's certificates and tokens need.
//!
//! [`Access`] finds the cluster by a kubeconfig, [`Cluster`] makes single calls, and the functions
//! here put them into kubeadm's order. Nothing is retried behind the caller's back: a call that may
//! work later says so ([`ApiError::may_work_later`]), and whoever calls decides.

mod access;
mod client;
mod config;
mod error;
mod observer;
mod owner;
mod stream;
mod tokens;
mod traces;
mod undo;
mod upload;

pub use access::{ADMIN_CONF, Access, AccessError, KubeconfigFiles};
pub use client::Cluster;
pub use config::{ConfigCallError, kubeadm_config, server_version};
pub use error::{ApiError, ApiStatus};
pub use observer::{
    OBSERVER, ObserverError, observer_kubeconfig, observer_role, observer_role_binding,
};
pub use owner::{Owner, owners, uploaded_certs};
pub use stream::Lines;
pub use tokens::{FoundTokens, NewToken, TokenCallError, create_token, delete_token, list_tokens};
pub use traces::{
    Missing, has_node, is_ready_node, missing_addons, missing_of_init, missing_of_join,
};
pub use upload::{UploadError, Uploaded, end_upload, upload_certs};

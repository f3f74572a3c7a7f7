//! The Kubernetes source: which apiservers the cluster itself lists.
//!
//! `default/kubernetes` is kept by the apiservers, 5 to 25 s behind the truth, and holds every master
//! however it joined. It is watched through the balancer itself, so that any living master will do.
//! [`endpoints`] reads what the API says, [`backoff`] says how long to wait, both pure; [`source`] is
//! the task. What it learns goes into [`crate::sources`], where an empty answer says nothing; an API
//! that is not there says nothing either. [`cluster_ca`] finds the cluster's CA by its pin.

pub mod backoff;
pub mod cluster_ca;
pub mod credentials;
pub mod endpoints;
pub mod source;

pub use cluster_ca::{CaFinder, ClusterCa};
pub use credentials::Credentials;
pub use source::{CredentialsFeed, KubernetesSource, Pace, SourceStatus};

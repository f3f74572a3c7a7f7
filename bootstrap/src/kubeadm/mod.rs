//! kubeadm's certificates, tokens and configuration, bit for bit.
//!
//! What kubeadm uploaded can be read here, and what is written here kubeadm can join with. The
//! formats are those of kubeadm 1.14 to 1.36; sources are given where a constant is not obvious.
//!
//! Nothing in here talks to a network. Pure parts read neither a clock nor random numbers: time is
//! an argument, and random numbers come through [`Random`]. Only [`PkiDirectory`] touches files.

mod random;

mod key;
mod seal;

mod entry;
mod key_pair;
mod pem;

mod cert_set;
mod pki_dir;
mod sealed_certs;

mod object;
mod owner;
mod rbac;

mod expiration;
mod token;
mod token_secret;
mod token_table;

mod ca_pin;
mod client_certificate;
mod cluster_info;
mod jws;
mod kubeconfig;

mod cluster_config;
mod config_file;
mod endpoint;
mod join_command;
mod join_file;
mod node_options;
mod version;
mod yaml;

pub use ca_pin::{CaPin, CaPinError};
pub use cert_set::{CertSet, CertificateDates, Defect, Defects, Upload, Validity};
pub use client_certificate::{ClientCertificate, IssueError};
pub use cluster_config::{
    ClusterConfigError, ClusterConfiguration, Etcd, ExternalEtcd, KUBEADM_CONFIG_NAME, Networking,
};
pub use cluster_info::{CLUSTER_INFO_NAME, ClusterInfo, ClusterInfoError, PUBLIC_NAMESPACE};
pub use config_file::{ConfigFile, ConfigFileError, GoawayChance};
pub use endpoint::{ControlPlaneEndpoint, EndpointError, is_dns_subdomain};
pub use entry::{CertEntry, EntryKind, Topology};
pub use expiration::{Expiration, ExpirationError, short_human_duration};
pub use join_command::{JoinCommand, JoinLine, JoinRole};
pub use join_file::JoinFile;
pub use key::{CertificateKey, CertificateKeyError};
pub use kubeconfig::{Authority, ClusterAccess, KubeconfigError};
pub use node_options::NodeOptions;
pub use object::{
    ConfigMap, Data, List, ObjectError, ObjectMeta, OwnerReference, Secret, SecretBytes,
};
pub use owner::{OWNER_DESCRIPTION, OwnerError, OwnerState, owner_reference, owner_token};
pub use pki_dir::{FileOutcome, PkiDirectory, PkiError, WriteMode};
pub use random::{OsRandom, Random, RandomError};
pub use rbac::{PolicyRule, Role, RoleBinding, RoleRef, Subject, certs_role, certs_role_binding};
pub use seal::{Nonce, OpenError, SealError, open, seal};
pub use sealed_certs::{CERTS_SECRET_NAME, SYSTEM_NAMESPACE, SealedCerts, SealedCertsError};
pub use token::{BootstrapToken, TokenError, TokenId};
pub(crate) use token_secret::TOKEN_SECRET;
pub use token_secret::{
    DEFAULT_TOKEN_GROUP, TOKEN_SECRET_TYPE, TokenSecret, TokenSecretError, Usage,
};
pub use token_table::{TokenTable, token_table};
pub use version::{ConfigApi, KubernetesVersion, VersionError};

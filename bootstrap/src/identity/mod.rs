//! Who a master is to its coordinators, and where it keeps that between two runs: a private key,
//! and for each coordinator its address, its pins, its CA and the certificate that it gave.
//!
//! All of it is one file, so that no crash leaves a key beside the certificate of another one.

mod directory;
mod key;
mod member;

pub use directory::{AgentDir, DirError, LockKind, RunLock};
pub use key::{KeyError, MemberKey};
pub use member::{Identity, KnownCoordinator, Kubeadm, Seat};

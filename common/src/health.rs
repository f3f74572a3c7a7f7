//! The way back from the balancer to the coordinator: which member is in what state, and why.
//!
//! The program translates the balancer's own feed into this one, so that neither of the two sides
//! knows the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::status::BackendState;

/// The health of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// Its name.
    pub name: String,
    /// Address of its apiserver.
    pub addr: SocketAddr,
    /// What it may get; never [`BackendState::Removed`].
    pub state: BackendState,
    /// Since when.
    pub since: Instant,
    /// The signal that led to the state, in a few words; empty before the first probe.
    pub why: String,
}

/// The health of all members, written when it changes: one writer, any number of readers. A backend
/// that connections pass over for a moment (`SKIPPED`) is `UP` here.
pub type HealthFeed = watch::Receiver<Arc<Vec<MemberState>>>;

//! Who the masters are: the one type that passes from the coordinator to the balancer.
//!
//! The coordinator writes a [`Membership`] into a watch channel, the balancer reads it. Whoever
//! reads sees one generation, whole.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Most members one balancer serves. A control plane has 3, 5 or 7 masters; the bound keeps the
/// set of backends already tried for a connection in one machine word.
pub const MEMBERS_MAX: usize = 64;

/// Where we learnt of a member, in falling order of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Listed by the operator, in the configuration or by `--backend`.
    Static,
    /// Announced itself to the coordinator.
    Registered,
    /// Read from the `kubernetes` EndpointSlice of the cluster.
    Kubernetes,
    /// Read from our own state directory after a restart.
    Remembered,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Static => "static",
            Self::Registered => "registered",
            Self::Kubernetes => "kubernetes",
            Self::Remembered => "remembered",
        })
    }
}

/// A master as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Unique among the members; the operator's name for it, else its address.
    pub name: String,
    /// Address of its apiserver.
    pub addr: SocketAddr,
    /// Where we learnt of it.
    pub source: Source,
}

/// All members at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Grows by one with each change, so that a log line can name the snapshot it speaks of.
    pub generation: u64,
    /// At most [`MEMBERS_MAX`], names and addresses each unique.
    pub members: Vec<Member>,
}

/// The seam between the coordinator and the balancer: one writer, any number of readers.
pub type MembershipFeed = watch::Receiver<Arc<Membership>>;

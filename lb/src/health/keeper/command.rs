//! What the rest of the program may ask of the keeper.

use std::net::SocketAddr;
use std::time::Duration;

use common::status::Rebalancing;
use tokio::sync::oneshot;

use super::KeeperRecord;
use crate::health::prober::ProbeMethod;

/// What an operator or a reload asks for.
#[derive(Debug)]
pub enum Command {
    /// Drain the backend of this name, or take that back. Answers whether there is one.
    Drain {
        /// Name of the member.
        name: String,
        /// Whether it shall be drained.
        drained: bool,
        /// In which time its sessions are closed; none are without one.
        over: Option<Duration>,
        /// Where the answer goes.
        answer: oneshot::Sender<bool>,
    },
    /// The machine of this member goes down, or is back: nothing that the operator asked for changes.
    /// Answers whether there is such a member.
    GoingDown {
        /// Address of its apiserver.
        addr: SocketAddr,
        /// Whether it goes down.
        going: bool,
        /// Where the answer goes.
        answer: oneshot::Sender<bool>,
    },
    /// Question the backends in another way from now on.
    Probe(ProbeMethod),
    /// Move load now, without waiting for the imbalance to last; or only say what that would do.
    Rebalance {
        /// Whether to do it.
        act: bool,
        /// Where the answer goes.
        answer: oneshot::Sender<Rebalancing>,
    },
    /// Say what another process must know, and then decide nothing: until `resume` is dropped.
    Pause {
        /// Where the answer goes.
        answer: oneshot::Sender<KeeperRecord>,
        /// Held by whoever asked.
        resume: oneshot::Receiver<()>,
    },
}

//! The balancer: takes client connections and gives each to the backend with the fewest.
//!
//! It knows members and bytes, nothing of Kubernetes objects or secrets. What it decides it decides
//! in pure code ([`pick`], [`refusal`], [`relay`]'s mover policy, [`budget`]); thin tasks around
//! that code touch sockets. The data path runs on threads of its own ([`worker`]) and waits for
//! nothing but the two sockets of a session.
//!
//! The path of a connection: [`listener`] → [`dial`] (asks [`pool`], which asks [`pick`]) →
//! [`relay`] → [`close_reason`].

pub mod balancer;

pub mod budget;
mod crowd;
mod gate;
pub mod listener;
pub mod ports;
pub mod socket_options;
pub mod worker;

pub mod backend;
pub mod measures;
pub mod pick;
pub mod pool;
pub mod rebalance;
pub mod refusal;
pub mod slow_start;
pub mod storm;

pub mod health;

pub mod client_hello;
pub mod dial;
pub mod first_flight;
pub mod relay;
pub mod session;

pub mod handover;

pub mod clock;
pub mod close_reason;
pub mod ledger;

pub use backend::{Backend, ConnectionGuard};
pub use balancer::{Balancer, Settings};
pub use close_reason::CloseReason;
pub use pool::{BackendSet, Pool};
pub use session::Session;

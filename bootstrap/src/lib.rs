//! The coordinator's side: where the balancer's members come from.
//!
//! It knows masters, not client sockets; what it learns it writes into the feed that the balancer
//! reads.

pub mod membership;

pub use membership::MembershipWriter;

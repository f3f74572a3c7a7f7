//! The masters' side of the join API: single calls to one coordinator, over TLS that is verified
//! against the ticket's pins, and after that against the CA they stood for.
//!
//! Each call is a connection of its own, so that a coordinator may restart, and its address move,
//! between any two of them. Every call may be repeated; when, is the caller's decision, for which
//! [`Backoff`] and [`ClientError::may_work_later`] are there.

mod backoff;
mod calls;
mod connection;
mod error;
mod tls;

pub use backoff::Backoff;
pub use calls::JoinClient;
pub use error::{ClientError, Failure};
pub use tls::{MemberCertificate, Trust};

#[cfg(test)]
mod tests;

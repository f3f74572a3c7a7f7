//! What we take from the Kubernetes API against a stand-in that misbehaves on demand: the watch of
//! the apiservers, the search for the cluster's CA, and the observer's credentials.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail like the test itself"
)]

mod cluster_ca;
mod credentials;
mod observer;
mod source;
mod stand_in;

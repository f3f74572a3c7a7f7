//! kubeadm's commands of the real program: on saved files, against an apiserver that runs in the
//! test and notes every call, and against a real one where there is one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail like the test itself"
)]

mod apiserver;
mod download;
mod first_master;
mod lab;
mod offline;
mod real_apiserver;
mod real_cluster;
mod real_source;
mod refusals;
mod rollback;
mod show;
mod store;
mod tokens;
mod upload;

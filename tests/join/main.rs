//! The story of a control plane on the real binaries: a balancer with its coordinator, machines that
//! become masters by one command each, their agents, and what happens when any of them dies.
//!
//! Stand-ins are kubeadm (this test binary, started anew), which checks what it is told and makes
//! the files that the real one makes, and the apiservers, which share one store of objects.

// Helpers of a test may fail as tests do; clippy's own exception covers `#[test]` functions only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

// The harness serves the socket tests too; each target uses its own part of it.
#[allow(dead_code, unused_imports)]
#[path = "../support/mod.rs"]
mod support;

// As an apiserver keeps objects for the tests of kubeadm's part.
#[allow(dead_code)]
#[path = "../kubeadm/store.rs"]
mod store;

mod administrator;

mod apiserver;

mod authority;

mod balancer;

mod external;

mod handed;

mod hosts;

mod https;

mod kills;

mod kubeadm;

mod lost;

mod machine;

mod metrics;

mod outages;

mod place;

mod story;

mod trouble;

mod two;

//! Tests of health on the real binary: what it does when masters crash, freeze, vanish, answer
//! wrongly or come back. The masters are stand-ins that speak TLS, each a process of its own, so
//! that signals can freeze and kill them.

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

mod clients;

mod cluster;

mod cluster_api;

// The chaos suite uses them too, in part otherwise.
#[allow(dead_code)]
mod master;

// Hand-overs have tests of their own, which use all of it.
#[allow(dead_code)]
#[path = "../handover/giver.rs"]
mod giver;

mod pki;

mod stand_in;

mod lost;

mod answers;

mod first_flight;

mod rebalanced;

mod returned;

mod verbs;

mod measures;

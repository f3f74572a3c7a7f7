//! Hand-overs of the real binary: a new process takes ports and established sessions, and nobody
//! notices; or it does not, and nobody notices that either.

// Helpers of a test may fail as tests do; clippy's own exception covers `#[test]` functions only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

// This target uses a part of the harness that others use more of.
#[allow(dead_code, unused_imports)]
#[path = "../support/mod.rs"]
mod support;

mod first;

mod giver;

mod killed;

mod kinds;

mod ports;

mod records;

mod refusals;

mod stopped;

mod streams;

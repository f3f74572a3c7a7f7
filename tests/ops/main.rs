//! Tests of what an operator does with the program: taking over from another balancer, looking at
//! connections, installing, asking what is wrong, following the documents.

// Helpers of a test may fail as tests do; clippy's own exception covers `#[test]` functions only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

// The harness serves the socket tests too; each target uses its own part of it.
#[allow(dead_code, unused_imports)]
#[path = "../support/mod.rs"]
mod support;

mod doctor;

mod documents;

mod image;

mod import;

mod ledger;

mod package;

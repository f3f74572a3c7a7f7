//! Tests of the real binary on loopback: what clients, backends, operators and signals do to it.

// Helpers of a test may fail as tests do; clippy's own exception covers `#[test]` functions only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

// The harness serves other targets too; each uses its own part of it.
#[allow(dead_code, unused_imports)]
#[path = "../support/mod.rs"]
mod support;

mod spread;

mod idle;

mod bulk;

mod endings;

mod dial;

mod limits;

mod faults;

mod log;

mod reload;

mod port;

mod stop;

mod admin;

mod events;

mod input;

mod config_file;

mod help;

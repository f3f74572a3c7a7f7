//! The join API over real TLS, asked by the masters' own client and by hostile ones.

// Helpers of a test may fail as tests do; clippy's own exception covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod asked;
mod hostile;
mod lab;
mod openapi;
mod schema;
mod story;

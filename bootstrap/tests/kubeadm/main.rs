//! What real kubeadm wrote is read, checked and written again to the same bytes; worked vectors
//! give the values they must; nothing panics on arbitrary input.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::panic,
    reason = "a test's helpers fail like the test itself"
)]

mod certificates;
mod configuration;
mod discovery;
mod pki_directory;
mod properties;
mod support;
mod tokens;
mod vectors;

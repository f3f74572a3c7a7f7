//! The `mainstay` program: a control-plane load balancer for kubeadm clusters.
//!
//! Thin: what a subcommand does stands in `cli`, the wiring of the running balancer in `serve`, its
//! HTTP endpoint in `admin`; everything that can be wrong is decided in the libraries.

mod admin;
mod cli;
mod doctor;
mod exit;
mod import;
mod ledger;
mod master;
mod serve;
mod telemetry;
mod units;

use std::process::ExitCode;

/// A session is three allocations that are aligned to cache lines. glibc pads each by half and keeps
/// the rests: 1.7 kB a session instead of 0.9, and a twentieth more processor time for a connection.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    exit::code_of(cli::run())
}

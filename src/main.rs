//! The `mainstay` program: a control-plane load balancer for kubeadm clusters.
//!
//! Thin: what a subcommand does stands in `cli`, the wiring of the running balancer in `serve`, its
//! HTTP endpoint in `admin`; everything that can be wrong is decided in the libraries.

mod admin;
mod cli;
mod exit;
mod import;
mod ledger;
mod serve;
mod telemetry;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    exit::code_of(cli::run())
}

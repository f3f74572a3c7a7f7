//! The admin endpoint: whether we live, whether we are ready, metrics, status.
//!
//! It runs on the control thread. Whatever a client of it does, no byte of a session waits.

pub(crate) mod client;
pub(crate) mod coordinator;
mod events;
pub(crate) mod follow;
mod histograms;
mod limits;
mod metrics;
mod page;
mod report;
mod routes;
mod server;
mod token;

pub(crate) use report::{Report, Sources};
pub(crate) use server::{AdminSocket, lengthen_queue, serve};
pub(crate) use token::AdminToken;

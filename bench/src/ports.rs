//! Ports for everything that is started, each used once in a run.
//!
//! They lie below the range the kernel gives to outgoing connections: a port from that range may
//! still be held by a closed connection of an earlier measurement when the next proxy wants to
//! listen. And since no port comes twice, closed connections of one measurement take no address
//! from another.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context as _, Result};

const FIRST: u16 = 10_000;
const LAST: u16 = 31_999;

/// How far apart two processes that were started one after the other begin: what a process with the
/// backends takes.
const PORTS_PER_PROCESS: u32 = 7;

/// The next port to try, counted from [`FIRST`]; processes start at different places.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 on which nobody listens.
pub(crate) fn unused() -> Result<u16> {
    let span = LAST - FIRST + 1;
    let own = std::process::id().wrapping_mul(PORTS_PER_PROCESS);
    (0..span)
        .filter_map(|_| {
            let step = own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into());
            u16::try_from(step % u32::from(span)).ok()
        })
        .map(|offset| FIRST + offset)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no port is free")
}

/// An address of 127.0.0.1 on which nobody listens.
pub(crate) fn unused_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, unused()?)))
}

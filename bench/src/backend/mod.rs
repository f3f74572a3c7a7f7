//! Stand-ins for the apiservers behind the balancer. They run in a process of their own, so that
//! their processor time is never counted as the proxy's.

mod echo;

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{ports, threads::Threads};

/// Backends behind every balancer: a control plane's usual three.
pub(crate) const BACKENDS: usize = 3;

/// Serves [`BACKENDS`] backends until standard input ends. Prints their addresses as a JSON list
/// once they listen.
///
/// Standard input is how a backend learns that whoever started it is gone, however that happened.
pub(crate) fn serve(threads: usize) -> Result<()> {
    let threads = Threads::start(threads)?;
    let mut addresses = Vec::new();
    for number in 0..u8::try_from(BACKENDS)? {
        let listener = listen()?;
        addresses.push(listener.local_addr()?);
        echo::start(&threads, listener, number)?;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&addresses)?)?;
    out.flush()?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

fn listen() -> Result<TcpListener> {
    let port = ports::unused()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("listening on {port}"))
}

/// The running process with all backends; it ends when this is dropped.
pub(crate) struct BackendProcess {
    child: Child,
    /// Where the backends listen.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl BackendProcess {
    /// Starts this very program as the backends.
    pub(crate) fn start() -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut child = Command::new(program)
            .arg("backend")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the backends")?;
        let addresses = read_addresses(&mut child);
        let mut backends = Self {
            child,
            addresses: Vec::new(),
        };
        backends.addresses = addresses?;
        Ok(backends)
    }
}

impl Drop for BackendProcess {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read_addresses(child: &mut Child) -> Result<Vec<SocketAddr>> {
    let mut output = child.stdout.take().context("the backends have no output")?;
    let mut line = Vec::new();
    let mut byte = [0];
    while output.read(&mut byte)? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    serde_json::from_slice(&line).context("the backends did not say where they listen")
}

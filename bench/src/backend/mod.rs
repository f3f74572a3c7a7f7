//! Stand-ins for the apiservers behind the balancer. They run in a process of their own, so that
//! their processor time is never counted as the proxy's.

mod echo;
mod kube;

use std::{
    io::{self, BufRead as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsConnector;

use crate::{ports, threads::Threads, tls};

/// Backends behind every balancer: a control plane's usual three.
pub(crate) const BACKENDS: usize = 3;

/// What the backends say of themselves once they listen, as one line of JSON.
#[derive(Serialize, Deserialize)]
struct Greeting {
    addresses: Vec<SocketAddr>,
    /// The certificate they all show, if they speak TLS.
    certificate: Option<Vec<u8>>,
}

/// Serves [`BACKENDS`] backends until standard input ends.
///
/// Standard input is how a backend learns that whoever started it is gone, however that happened.
pub(crate) fn serve(threads: usize, tls: bool) -> Result<()> {
    let threads = Threads::start(threads)?;
    let identity = if tls { Some(tls::Identity::new()?) } else { None };
    let mut addresses = Vec::new();
    for number in 0..u8::try_from(BACKENDS)? {
        let listener = listen()?;
        addresses.push(listener.local_addr()?);
        match &identity {
            Some(identity) => kube::start(&threads, listener, number, identity.acceptor.clone())?,
            None => echo::start(&threads, listener, number)?,
        }
    }
    let certificate = identity.map(|identity| identity.certificate);
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&Greeting { addresses, certificate })?)?;
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
    /// How they are spoken to, if they speak TLS.
    pub(crate) tls: Option<TlsConnector>,
}

impl BackendProcess {
    /// Starts this very program as the backends.
    pub(crate) fn start(tls: bool) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let child = Command::new(program)
            .arg("backend")
            .args(tls.then_some("--tls"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the backends")?;
        let mut backends = Self { child, addresses: Vec::new(), tls: None };
        let greeting = backends.greeting().context("the backends did not say where they listen")?;
        backends.addresses = greeting.addresses;
        backends.tls = greeting.certificate.map(tls::connector).transpose()?;
        Ok(backends)
    }

    fn greeting(&mut self) -> Result<Greeting> {
        let output = self.child.stdout.take().context("no output")?;
        let mut line = String::new();
        io::BufReader::new(output).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for BackendProcess {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

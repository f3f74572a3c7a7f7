//! A stand-in master: an HTTPS server in this process that can be killed and revived.

mod answers;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use common::Tasks;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::certificates::DemoCa;

/// Connections that may wait in the kernel for an accept.
const BACKLOG: u32 = 1024;

/// One master. Its port stays its own while it is dead, so that it can return to it.
pub(crate) struct Master {
    /// As the balancer knows it.
    pub(crate) name: String,
    /// Address of its "apiserver".
    pub(crate) addr: SocketAddr,
    tls: TlsAcceptor,
    life: Life,
}

enum Life {
    /// Bound and not listening: clients are refused.
    Dead(TcpSocket),
    /// The tasks of its listener and its connections.
    Alive(Tasks),
    /// Its port could not be bound again.
    Gone,
}

impl Master {
    /// A master on a free port that does not listen yet.
    pub(crate) fn new(name: String, ca: &DemoCa) -> anyhow::Result<Self> {
        let socket = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Self {
            addr: socket.local_addr()?,
            tls: TlsAcceptor::from(Arc::new(ca.server_config(&name)?)),
            name,
            life: Life::Dead(socket),
        })
    }

    /// Starts to listen, if it is dead.
    pub(crate) fn revive(&mut self) -> anyhow::Result<()> {
        match std::mem::replace(&mut self.life, Life::Gone) {
            Life::Dead(socket) => {
                let listener = socket.listen(BACKLOG)?;
                let tasks = Tasks::new();
                let (tls, name) = (self.tls.clone(), self.name.clone());
                let accepting = accept_loop(listener, tls, name, tasks.clone());
                tasks.spawn_until_stopped("master", accepting);
                self.life = Life::Alive(tasks);
                Ok(())
            }
            Life::Alive(tasks) => {
                self.life = Life::Alive(tasks);
                Ok(())
            }
            Life::Gone => anyhow::bail!("{} has lost its port {}", self.name, self.addr),
        }
    }

    /// Closes its listener and its connections at once, as the kernel does for a killed process.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Life::Alive(tasks) = std::mem::replace(&mut self.life, Life::Gone) {
            tasks.stop();
            tasks.finished().await;
            self.life = Life::Dead(bound(self.addr)?);
        }
        Ok(())
    }
}

fn bound(addr: SocketAddr) -> anyhow::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // The connections that were cut linger in the kernel; they must not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(addr).with_context(|| format!("cannot bind {addr}"))?;
    Ok(socket)
}

/// Serves until it is dropped. Cancel-safe.
async fn accept_loop(listener: TcpListener, tls: TlsAcceptor, name: String, tasks: Tasks) {
    let name: Arc<str> = name.into();
    let addr = listener.local_addr().ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = serve(stream, tls.clone(), Arc::clone(&name), addr);
                tasks.spawn_until_stopped("master connection", serving);
            }
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, tls: TlsAcceptor, name: Arc<str>, addr: Option<SocketAddr>) {
    stream.set_nodelay(true).ok();
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        std::future::ready(answers::answer(&name, addr, request.uri()))
    });
    // A client that goes away is no event here.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

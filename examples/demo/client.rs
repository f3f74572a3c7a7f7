//! A client of the apiserver: HTTPS over a new connection through the balancer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use common::Tasks;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longest wait for an answer, and for the next line of a stream: longer than the balancer's 2 s
/// for one backend, and an end to a demo in which something hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// Makes requests through the balancer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    addr: SocketAddr,
    tls: TlsConnector,
}

impl Client {
    /// A client of the balancer at `addr`.
    pub(crate) fn new(addr: SocketAddr, tls: ClientConfig) -> Self {
        let tls = TlsConnector::from(Arc::new(tls));
        Self { addr, tls }
    }

    /// One request on a connection of its own; the answer must be whole and 200.
    pub(crate) async fn get(&self, path: &str, tasks: &Tasks) -> anyhow::Result<()> {
        let exchange = async {
            let answer = self.open(path, tasks).await?;
            answer.into_body().collect().await?;
            anyhow::Ok(())
        };
        timeout(ANSWER_TIMEOUT, exchange).await.context("no answer in time")?
    }

    /// A stream that lasts until it breaks; `begun` is called with its first line.
    pub(crate) async fn watch(
        &self,
        path: &str,
        tasks: &Tasks,
        begun: impl FnOnce(),
    ) -> anyhow::Error {
        let opened = timeout(ANSWER_TIMEOUT, self.open(path, tasks)).await;
        let mut body = match opened {
            Ok(Ok(answer)) => answer.into_body(),
            Ok(Err(error)) => return error,
            Err(_) => return anyhow::anyhow!("no answer in time"),
        };
        let mut begun = Some(begun);
        loop {
            match timeout(ANSWER_TIMEOUT, body.frame()).await {
                Ok(Some(Ok(_))) => {
                    if let Some(begun) = begun.take() {
                        begun();
                    }
                }
                Ok(Some(Err(error))) => return error.into(),
                Ok(None) => return anyhow::anyhow!("the stream ended"),
                Err(_) => return anyhow::anyhow!("the stream went silent"),
            }
        }
    }

    async fn open(&self, path: &str, tasks: &Tasks) -> anyhow::Result<Response<Incoming>> {
        let stream = TcpStream::connect(self.addr).await.context("connect")?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        let stream = self.tls.connect(name, stream).await.context("TLS")?;
        let answer = request(stream, path, tasks).await?;
        let status = answer.status();
        anyhow::ensure!(status == StatusCode::OK, "{path} answered {status}");
        Ok(answer)
    }
}

/// Sends `GET path` and returns the head of the answer; the connection lives as long as its body.
pub(crate) async fn request<S>(
    stream: S,
    path: &str,
    tasks: &Tasks,
) -> anyhow::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tasks.spawn_until_stopped("client connection", async move {
        // Its failure is seen by whoever waits for the answer.
        connection.await.ok();
    });
    let request = Request::get(path)
        .header("host", "127.0.0.1")
        .header("user-agent", "mainstay-demo")
        .body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?)
}

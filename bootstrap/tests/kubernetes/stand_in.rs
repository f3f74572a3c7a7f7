//! An apiserver over TLS that does what a test says, one request after the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::Tasks;
use data_encoding::BASE64;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The name that its certificate holds beside its address.
pub(crate) const NAME: &str = "lb.example.com";

/// What to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answer with a code and a body.
    Answer(u16, String),
    /// Answer 200 and send these pieces.
    Watch(Vec<Piece>),
}

/// A piece of a watch.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// A line.
    Line(String),
    /// Half a line.
    Half(String),
    /// A pause.
    Pause(Duration),
    /// Nothing more, for ever; without it the watch ends in order.
    Stall,
    /// The connection breaks.
    Break,
}

type Script = Box<dyn Fn(&str, usize) -> Act + Send + Sync>;

/// The running stand-in.
pub(crate) struct StandIn {
    pub(crate) addr: SocketAddr,
    pub(crate) ca_pem: String,
    calls: Arc<Mutex<Vec<String>>>,
    tasks: Tasks,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl StandIn {
    /// Starts one. The script is told what is called and how many calls there were before.
    pub(crate) async fn start(script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        let (ca_pem, config) = tls("kubernetes");
        Self::with(ca_pem, config, script).await
    }

    pub(crate) async fn with(
        ca_pem: String,
        config: Arc<ServerConfig>,
        script: impl Fn(&str, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let tasks = Tasks::new();
        let script: Arc<Script> = Arc::new(Box::new(script));
        let (theirs, inner) = (Arc::clone(&calls), tasks.clone());
        tasks.spawn_until_stopped("stand-in", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving =
                    serve(stream, Arc::clone(&config), Arc::clone(&script), Arc::clone(&theirs));
                inner.spawn_until_stopped("connection", async move {
                    serving.await.ok();
                });
            }
        });
        Self { addr, ca_pem, calls, tasks }
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().clone()
    }

    /// A kubeconfig for it under its name, which no resolver knows.
    pub(crate) fn kubeconfig(&self, token: &str) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://{NAME}:6443"),
                "certificate-authority-data": BASE64.encode(self.ca_pem.as_bytes()),
            }}],
            "contexts": [{"name": "o", "context": {"cluster": "c", "user": "o"}}],
            "current-context": "o",
            "users": [{"name": "o", "user": {"token": token}}],
        })
        .to_string()
    }
}

/// A CA and a server certificate by it.
pub(crate) fn tls(ca_name: &str) -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, ca_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), NAME.to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
    (ca.pem(), Arc::new(config))
}

async fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    script: Arc<Script>,
    calls: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut stream = TlsAcceptor::from(config).accept(stream).await?;
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8(read.drain(..end + 4).collect()).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let bearer = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
        let call = match bearer {
            Some(bearer) => format!("{bearer}: {target}"),
            None => target,
        };
        let before = {
            let mut calls = calls.lock();
            calls.push(call.clone());
            calls.len() - 1
        };
        match script(&call, before) {
            Act::Answer(code, body) => {
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {code} Any\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await?;
            }
            Act::Watch(pieces) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                for piece in pieces {
                    let text = match piece {
                        Piece::Line(line) => format!("{line}\n"),
                        Piece::Half(half) => half,
                        Piece::Pause(pause) => {
                            tokio::time::sleep(pause).await;
                            continue;
                        }
                        Piece::Stall => return std::future::pending().await,
                        Piece::Break => return Ok(()),
                    };
                    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
                    stream.write_all(chunk.as_bytes()).await?;
                    stream.flush().await?;
                }
                stream.write_all(b"0\r\n\r\n").await?;
            }
        }
        stream.flush().await?;
    }
}

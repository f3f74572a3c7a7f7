//! The stand-in master: an HTTPS server in a process of its own, told by lines on its stdin how to
//! behave. The process is this test binary, started anew for the one test here.

use std::io::{self, BufRead};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::cluster_api;
use crate::support::refusing::bound;

/// Names the directory with the certificate.
pub(crate) const DIR: &str = "STAND_IN_DIR";

/// Names the address and port.
pub(crate) const ADDRESS: &str = "STAND_IN_ADDRESS";

/// Is printed when it listens.
pub(crate) const LISTENS: &str = "stand-in listens";

/// Time between two bytes of a trickled ServerHello.
const TRICKLE: Duration = Duration::from_millis(500);

/// How it treats connections and requests.
#[derive(Clone)]
struct Conduct {
    /// `open`, `close` and `reset` before the first byte, or `trickle` a ServerHello.
    door: String,
    /// Wait before any answer.
    delay: Duration,
    readyz: u16,
    healthz: u16,
}

/// No test: the stand-in, if the environment asks for it.
#[test]
#[ignore = "the process of a stand-in master, started by the tests that need one"]
fn stand_in() {
    let (Ok(dir), Ok(address)) = (std::env::var(DIR), std::env::var(ADDRESS)) else {
        return;
    };
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let socket = bound(address.parse().unwrap());
    socket.listen(4096).unwrap();
    socket.set_nonblocking(true).unwrap();
    let conduct = Conduct { door: "open".into(), delay: Duration::ZERO, readyz: 200, healthz: 200 };
    let conduct = Arc::new(Mutex::new(conduct));
    let (told, handle) = (Arc::clone(&conduct), socket.try_clone().unwrap());
    std::thread::spawn(move || obey(&told, &handle));
    let tls = TlsAcceptor::from(Arc::new(config(&PathBuf::from(dir))));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::from_std(socket.into()).unwrap();
        println!("{LISTENS}");
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, tls.clone(), Arc::clone(&conduct)));
                }
                // It stops, or has no descriptor left.
                Err(_) => tokio::time::sleep(TRICKLE / 10).await,
            }
        }
    });
}

fn config(dir: &Path) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(dir.join("serving.pem")).unwrap();
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("serving.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    builder.with_single_cert(chain, key).unwrap()
}

/// Does what the lines say and acknowledges each.
fn obey(conduct: &Mutex<Conduct>, listening: &Socket) {
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        let (what, how) = line.split_once(' ').unwrap();
        let mut conduct = conduct.lock();
        match what {
            "door" => conduct.door = how.to_owned(),
            "delay" => conduct.delay = Duration::from_millis(how.parse().unwrap()),
            "readyz" => conduct.readyz = how.parse().unwrap(),
            "healthz" => conduct.healthz = how.parse().unwrap(),
            "stop" => {
                listening.shutdown(Shutdown::Both).unwrap();
                println!("done {line}");
                std::thread::sleep(Duration::from_millis(how.parse().unwrap()));
                kill_process(getpid(), Signal::TERM).unwrap();
            }
            "backlog" => listening.listen(how.parse().unwrap()).unwrap(),
            _ => panic!("unknown command {line}"),
        }
        println!("done {line}");
    }
}

async fn converse(mut stream: TcpStream, tls: TlsAcceptor, conduct: Arc<Mutex<Conduct>>) {
    stream.set_nodelay(true).ok();
    let port = stream.local_addr().map_or(0, |addr| addr.port());
    let door = conduct.lock().door.clone();
    match door.as_str() {
        "open" => {
            if let Ok(mut stream) = tls.accept(stream).await {
                // Broken connections are part of the tests.
                serve(&mut stream, port, &conduct).await.ok();
            }
        }
        "close" => {
            // So that nothing unread is left, which would make it a reset.
            let _count = stream.read(&mut [0; 4096]).await.unwrap_or(0);
        }
        "reset" => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
        "trickle" => trickle(&mut stream).await,
        _ => panic!("unknown door {door}"),
    }
}

/// The head of a TLS record with a ServerHello, byte by byte; the end never comes.
async fn trickle(stream: &mut TcpStream) {
    let hello = [0x16, 3, 3, 0x10, 0, 2, 0, 0x0f, 0xfc, 3, 3].into_iter();
    for byte in hello.chain(std::iter::repeat(7)) {
        if stream.write_u8(byte).await.is_err() {
            return;
        }
        tokio::time::sleep(TRICKLE).await;
    }
}

async fn serve(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    port: u16,
    conduct: &Mutex<Conduct>,
) -> io::Result<()> {
    loop {
        let head = head_of(stream).await?;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let dir = PathBuf::from(std::env::var_os(DIR).unwrap_or_default());
        if cluster_api::is_watch(path) {
            cluster_api::watch(stream, &dir).await?;
            continue;
        }
        let now = conduct.lock().clone();
        tokio::time::sleep(now.delay).await;
        let answer = match path {
            "/readyz" => answer(now.readyz),
            "/healthz" => answer(now.healthz),
            "/echo" => format!("HTTP/1.1 200 OK\r\nx-master: {port}\r\n\r\n"),
            _ => cluster_api::answer(path, &dir).unwrap_or_else(|| answer(404)),
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        if path == "/echo" {
            return echo(stream).await;
        }
    }
}

async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.shutdown().await,
            count => {
                stream.write_all(&buffer[..count]).await?;
                stream.flush().await?;
            }
        }
    }
}

/// The answer of an apiserver with this status, as it was captured where it was.
fn answer(status: u16) -> String {
    let name = match status {
        200 => "readyz.http",
        401 => "readyz-bad-token.http",
        403 => "secret-anonymous-403.http",
        404 => return plain("404 Not Found", "404 page not found\n"),
        _ => {
            let body = "[+]ping ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n";
            return plain("500 Internal Server Error", body);
        }
    };
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/kubeadm-1.36", name].iter().collect();
    std::fs::read_to_string(path).unwrap().replacen("HTTP/2", "HTTP/1.1", 1)
}

fn plain(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
}

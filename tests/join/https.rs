//! Requests over TLS, answered or not; for the stand-in of kubeadm and for clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;

/// kubeadm's limit for each of its requests.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) type Connection = StreamOwned<ClientConnection, TcpStream>;

/// Asks on a connection of its own; `None` if there is no answer. Without a CA any server is
/// believed, as in discovery.
pub(crate) fn ask(
    addr: SocketAddr,
    ca: Option<&str>,
    bearer: Option<&str>,
    call: (&str, &str),
    body: Option<&Value>,
) -> Option<(u16, Value)> {
    ask_on(&mut connect(addr, ca)?, bearer, call, body)
}

/// Connects; TLS begins with the first request.
pub(crate) fn connect(addr: SocketAddr, ca: Option<&str>) -> Option<Connection> {
    let config = lb::health::identity::client_config(ca.map(str::as_bytes), None).unwrap();
    let stream = TcpStream::connect_timeout(&addr, LIMIT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let name = ServerName::from(addr.ip());
    Some(StreamOwned::new(ClientConnection::new(config, name).ok()?, stream))
}

/// Asks on a connection, which stays open.
pub(crate) fn ask_on(
    stream: &mut Connection,
    bearer: Option<&str>,
    (method, path): (&str, &str),
    body: Option<&Value>,
) -> Option<(u16, Value)> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let bearer = bearer.map(|token| format!("authorization: Bearer {token}\r\n"));
    let (bearer, length) = (bearer.unwrap_or_default(), body.len());
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: kubernetes\r\n{bearer}content-length: {length}\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes()).ok()?;
    stream.flush().ok()?;
    answer(&mut BufReader::new(stream))
}

fn answer(stream: &mut impl BufRead) -> Option<(u16, Value)> {
    let head = head(stream)?;
    let code = head.first()?.split(' ').nth(1)?.parse().ok()?;
    let body = body(stream, &head)?;
    Some((code, serde_json::from_slice(&body).unwrap_or_default()))
}

/// The lines of a head.
pub(crate) fn head(stream: &mut impl BufRead) -> Option<Vec<String>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" if head.is_empty() => return None,
            "" => return Some(head),
            line => head.push(line.to_owned()),
        }
    }
}

/// The body that follows a head.
pub(crate) fn body(stream: &mut impl Read, head: &[String]) -> Option<Vec<u8>> {
    let lower = head.iter().map(|line| line.to_lowercase());
    let mut length = lower.filter_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.next_back().unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

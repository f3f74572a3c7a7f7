//! Addresses as the operator writes them: where we listen, where the masters are, where we are
//! administered.
//!
//! Backends are numbers, not names: a balancer must start while DNS is down, and DNS often runs in
//! the cluster that it balances.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::{Member, Source};

/// The port of kube-apiserver, used where a backend names none.
pub const APISERVER_PORT: u16 = 6443;

/// Longest name of a backend: a DNS subdomain, as Kubernetes node names are.
const NAME_MAX: usize = 253;

/// A path of a unix socket must fit `sun_path`, 108 bytes with its end on Linux.
const UNIX_PATH_MAX: usize = 107;

/// An address to accept clients on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddr(pub SocketAddr);

impl ListenAddr {
    /// Reads `IP:PORT`, `[IPV6]:PORT` or `:PORT` (all addresses of both families).
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(port) = text.strip_prefix(':') {
            let port = port.parse().map_err(|_| format!("`{text}` has no port from 0 to 65535"))?;
            return Ok(Self(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)));
        }
        text.parse().map(Self).map_err(|_| {
            format!("`{text}` is no address to listen on; write `[::]:6443`, `10.0.0.10:6443` or `:6443`")
        })
    }

    /// Whether a connection to `target` would arrive at this address.
    #[must_use]
    pub fn accepts(&self, target: SocketAddr) -> bool {
        let same_ip = self.0.ip() == target.ip();
        let any_to_loopback = self.0.ip().is_unspecified() && target.ip().is_loopback();
        self.0.port() == target.port() && (same_ip || any_to_loopback)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the admin endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddr {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl AdminAddr {
    /// Reads `IP:PORT` or `unix:PATH`.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("`unix:` names no path; write `unix:/run/mainstay/admin.sock`".into()),
            Some(path) if path.len() > UNIX_PATH_MAX => Err(format!(
                "the path of a unix socket has at most {UNIX_PATH_MAX} bytes, this one has {}",
                path.len()
            )),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                format!("`{text}` is no admin address; write `127.0.0.1:6446` or `unix:/run/mainstay/admin.sock`")
            }),
        }
    }
}

impl fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads `IP`, `IP:PORT` or `NAME=IP:PORT` as a static member.
///
/// # Errors
/// One sentence that says what is wrong.
pub fn parse_backend(text: &str) -> Result<Member, String> {
    let (name, addr) = match text.split_once('=') {
        Some((name, addr)) => (Some(checked_name(name)?), addr),
        None => (None, text),
    };
    let addr = backend_addr(addr)?;
    Ok(Member {
        name: name.map_or_else(|| addr.to_string(), str::to_owned),
        addr,
        source: Source::Static,
    })
}

fn backend_addr(text: &str) -> Result<SocketAddr, String> {
    let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, APISERVER_PORT));
    let addr = bare.or_else(|_| text.parse::<SocketAddr>()).map_err(|_| {
        format!("`{text}` is no backend; write `10.0.0.11:6443` (an address, not a name: a balancer must start while DNS is down)")
    })?;
    if addr.port() == 0 {
        return Err(format!("`{text}` has port 0; an apiserver listens on {APISERVER_PORT}"));
    }
    if addr.ip().is_unspecified() || addr.ip().is_multicast() {
        return Err(format!("`{text}` is not the address of one host"));
    }
    Ok(addr)
}

fn checked_name(name: &str) -> Result<&str, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
        let shown: String = name.chars().take(40).collect();
        return Err(format!(
            "`{shown}` is no name of a backend; use letters, digits, `-`, `.`, `_`, at most {NAME_MAX}"
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_backends() {
        let table = [
            ("10.0.0.11", "10.0.0.11:6443", "10.0.0.11:6443"),
            ("10.0.0.11:7443", "10.0.0.11:7443", "10.0.0.11:7443"),
            ("fd00::1", "[fd00::1]:6443", "[fd00::1]:6443"),
            ("[fd00::1]:7443", "[fd00::1]:7443", "[fd00::1]:7443"),
            ("master-0=10.0.0.11", "10.0.0.11:6443", "master-0"),
        ];
        for (text, addr, name) in table {
            let member = parse_backend(text).unwrap();
            assert_eq!((member.addr.to_string().as_str(), member.name.as_str()), (addr, name));
        }
    }

    #[test]
    fn refuses_what_is_no_backend() {
        for text in [
            "",
            "master-0",
            "10.0.0.1:0",
            "0.0.0.0:6443",
            "=10.0.0.1",
            "a b=10.0.0.1",
            "10.0.0.1:99999",
            "[::]:6443",
            "224.0.0.1:6443",
        ] {
            assert!(parse_backend(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sees_a_loop() {
        let any = ListenAddr::parse(":6443").unwrap();
        assert!(any.accepts("127.0.0.1:6443".parse().unwrap()));
        assert!(any.accepts("[::1]:6443".parse().unwrap()));
        assert!(!any.accepts("127.0.0.1:7443".parse().unwrap()));
        assert!(!any.accepts("10.0.0.1:6443".parse().unwrap()));
        let one = ListenAddr::parse("10.0.0.1:6443").unwrap();
        assert!(one.accepts("10.0.0.1:6443".parse().unwrap()));
    }

    #[test]
    fn reads_admin_addresses() {
        assert_eq!(AdminAddr::parse("unix:/a").unwrap(), AdminAddr::Unix("/a".into()));
        assert!(AdminAddr::parse("127.0.0.1:6446").is_ok());
        for text in ["", "unix:", "localhost", "/run/x"] {
            assert!(AdminAddr::parse(text).is_err(), "{text}");
        }
        assert!(AdminAddr::parse(&format!("unix:/{}", "x".repeat(200))).is_err());
    }
}

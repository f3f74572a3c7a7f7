//! Addresses as the operator writes them: where we listen, where the masters are, where we are
//! administered.
//!
//! Backends are numbers, not names: a balancer must start while DNS is down, and DNS often runs in
//! the cluster that it balances.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::{Member, OwnAddresses, Source};

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

    /// Whether a connection to `target` from a machine with these addresses would arrive at this
    /// address.
    #[must_use]
    pub fn accepts(&self, target: SocketAddr, own: &OwnAddresses) -> bool {
        let same_ip = self.0.ip().to_canonical() == target.ip().to_canonical();
        let any = self.0.ip().is_unspecified() && own.has(target.ip());
        self.0.port() == target.port() && (same_ip || any)
    }

    /// Whether this address and another one cannot both be listened on.
    #[must_use]
    pub fn overlaps(&self, other: SocketAddr) -> bool {
        let (ours, theirs) = (self.0.ip().to_canonical(), other.ip().to_canonical());
        // A socket of `[::]` takes connections over IPv4 too.
        let covers =
            |one: IpAddr, other: IpAddr| one.is_unspecified() && (one.is_ipv6() || other.is_ipv4());
        let port = self.0.port();
        port != 0
            && port == other.port()
            && (ours == theirs || covers(ours, theirs) || covers(theirs, ours))
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
    if matches!(addr.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local()) {
        return Err(format!(
            "`{text}` is an address of one link only, which no other host can use as it is; give a \
             routed one"
        ));
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
            "[fe80::1]:6443",
        ] {
            assert!(parse_backend(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sees_a_loop() {
        let own: OwnAddresses = ["10.0.0.7".parse().unwrap()].into_iter().collect();
        let accepts = |listen: &str, target: &str| {
            ListenAddr::parse(listen).unwrap().accepts(target.parse().unwrap(), &own)
        };
        for ours in ["127.0.0.1:6443", "[::1]:6443", "[::ffff:127.0.0.1]:6443", "10.0.0.7:6443"] {
            assert!(accepts(":6443", ours), "{ours}");
        }
        assert!(!accepts(":6443", "127.0.0.1:7443") && !accepts(":6443", "10.0.0.1:6443"));
        assert!(accepts("10.0.0.1:6443", "10.0.0.1:6443"));
        assert!(accepts("10.0.0.1:6443", "[::ffff:10.0.0.1]:6443"));
        assert!(!accepts("10.0.0.1:6443", "10.0.0.7:6443"));
    }

    #[test]
    fn sees_what_cannot_both_be_listened_on() {
        for (one, other, expected) in [
            (":6443", "[::]:6443", true),
            (":6443", "0.0.0.0:6443", true),
            (":6443", "10.0.0.1:6443", true),
            ("10.0.0.1:6443", "[::]:6443", true),
            ("0.0.0.0:6443", "10.0.0.1:6443", true),
            ("0.0.0.0:6443", "[fd00::1]:6443", false),
            ("10.0.0.1:6443", "10.0.0.2:6443", false),
            (":6443", "[::]:6445", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let overlaps = ListenAddr::parse(one).unwrap().overlaps(other.parse().unwrap());
            assert_eq!(overlaps, expected, "{one} {other}");
        }
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

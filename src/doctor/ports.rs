//! The ports that the balancer needs: free, or taken by whom.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;

use common::config::{AdminAddr, Config, ListenAddr};
use rustix::net::{AddressFamily, SocketType, bind, sockopt};

use super::Finding;

/// State of a socket that listens, as /proc/net/tcp has it.
const LISTENING: &str = "0A";

/// Looks at every port of the configuration.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let table = ["tcp", "tcp6"]
        .map(|file| std::fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default());
    let held: Vec<Held> = table.iter().flat_map(|text| listeners(text)).collect();
    let nonlocal = super::host::sysctl("net.ipv4.ip_nonlocal_bind").unwrap_or_default() == "1";
    let seen = Seen { runs: runs(&config.admin, &held), held, nonlocal };
    let mut findings = Vec::new();
    for listen in &config.listen {
        findings.push(port(&format!("listen {listen}"), listen.0, &seen));
    }
    findings.push(match &config.admin {
        AdminAddr::Tcp(addr) => port(&format!("admin {addr}"), *addr, &seen),
        AdminAddr::Unix(path) => socket(path, seen.runs),
    });
    findings
}

/// What was seen of the host before a port is tried.
#[derive(Debug, Default)]
struct Seen {
    held: Vec<Held>,
    /// Whether addresses that the host lacks can be bound.
    nonlocal: bool,
    /// Whether the balancer runs.
    runs: bool,
}

/// Whether a balancer has the admin address.
fn runs(admin: &AdminAddr, held: &[Held]) -> bool {
    match admin {
        AdminAddr::Tcp(addr) => holder(*addr, held).is_some_and(|holder| holder.name == "mainstay"),
        AdminAddr::Unix(path) => UnixStream::connect(path).is_ok(),
    }
}

fn port(check: &str, addr: SocketAddr, seen: &Seen) -> Finding {
    match try_out(addr) {
        Ok(()) => Finding::ok(check, "free"),
        Err(error) => taken(check, addr, error.kind(), holder(addr, &seen.held).as_ref(), seen),
    }
}

/// Binds and does not listen, so that no client meets us.
fn try_out(addr: SocketAddr) -> std::io::Result<()> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let probe = rustix::net::socket(family, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&probe, true)?;
    Ok(bind(&probe, &addr)?)
}

/// What a failed bind means.
fn taken(
    check: &str,
    addr: SocketAddr,
    error: ErrorKind,
    holder: Option<&Holder>,
    seen: &Seen,
) -> Finding {
    match (error, holder) {
        (ErrorKind::AddrInUse, Some(Holder { name, pid })) if name == "mainstay" => {
            Finding::ok(check, format!("held by the mainstay that runs (pid {pid})"))
        }
        (ErrorKind::AddrInUse, Some(Holder { name, pid })) => {
            let fix = if name == "kube-apiserver" {
                "this host is a master; balance on another host, or choose another port with `listen`"
                    .to_owned()
            } else {
                format!("stop {name} (`systemctl disable --now {name}`), or choose another port")
            };
            Finding::fail(check, format!("taken by {name} (pid {pid})"), fix)
        }
        // A port that is closed is bound and listens not, so the kernel names nobody.
        (ErrorKind::AddrInUse, None) if seen.runs => {
            Finding::ok(check, "held, and closed, by the mainstay that runs: no backend serves")
        }
        (ErrorKind::AddrInUse, None) => {
            let fix = format!("`ss -ltnp 'sport = :{}'` as root names the program", addr.port());
            Finding::fail(check, "taken by a program that we may not see", fix)
        }
        (ErrorKind::PermissionDenied, _) => {
            let fix = "run as root, or by the unit, which has CAP_NET_BIND_SERVICE";
            Finding::fail(check, "not permitted: ports below 1024 are privileged", fix)
        }
        (ErrorKind::AddrNotAvailable, _) => {
            let fix = if seen.nonlocal {
                "the address is of the other family, or IPv6 is switched off".to_owned()
            } else {
                format!(
                    "add it (`ip address`), or, if keepalived brings it, `sysctl -w \
                     net.ipv4.ip_nonlocal_bind=1`; or listen on :{}",
                    addr.port()
                )
            };
            Finding::fail(check, "this host does not have the address", fix)
        }
        (other, _) => {
            Finding::fail(check, format!("cannot be bound: {other}"), "choose another address")
        }
    }
}

fn socket(path: &Path, answers: bool) -> Finding {
    let check = format!("admin unix:{}", path.display());
    if answers {
        return Finding::ok(check, "somebody answers there, so the balancer runs");
    }
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()).map(Path::is_dir) {
        Some(false) => Finding::warn(
            check,
            "its directory does not exist",
            "the unit makes /run/mainstay; else make it",
        ),
        _ => Finding::ok(check, "free"),
    }
}

/// A listening socket: its address, and the number by which processes hold it.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    addr: SocketAddr,
    inode: u64,
}

/// The listening sockets of a text in the form of /proc/net/tcp or tcp6.
fn listeners(text: &str) -> Vec<Held> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state) = (fields.get(1)?, fields.get(3)?);
        (*state == LISTENING).then_some(())?;
        Some(Held { addr: address(local)?, inode: fields.get(9)?.parse().ok()? })
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// `0100007F:192B`: the words of the address as the machine has them in memory.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok();
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?.to_ne_bytes()).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    name: String,
    pid: u32,
}

/// Who holds the port of an address; none if we may not see it.
fn holder(addr: SocketAddr, held: &[Held]) -> Option<Holder> {
    let addr = ListenAddr(addr);
    let inodes: Vec<u64> =
        held.iter().filter(|held| addr.overlaps(held.addr)).map(|held| held.inode).collect();
    let names: HashMap<String, ()> =
        inodes.iter().map(|inode| (format!("socket:[{inode}]"), ())).collect();
    let pids = std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut pids: Vec<u32> = pids.collect();
    pids.sort_unstable();
    let holds = |pid: &u32| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
        open.into_iter().flatten().flatten().any(|fd| {
            let target = std::fs::read_link(fd.path()).unwrap_or_default();
            target.to_str().is_some_and(|target| names.contains_key(target))
        })
    };
    let pid = pids.into_iter().find(holds)?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Holder { name: name.trim_end().to_owned(), pid })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::doctor::Grade;

    #[test]
    fn reads_the_kernels_table() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let row = |local: &str, state: &str| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 4711 1 0\n"
            )
        };
        let loopback = format!("{:08X}:192B", u32::from_ne_bytes([127, 0, 0, 1]));
        let text = [head.to_owned(), row(&loopback, "0A"), row(&loopback, "01")].concat();
        let expected = Held { addr: "127.0.0.1:6443".parse().unwrap(), inode: 4711 };
        assert_eq!(listeners(&text), [expected]);
        let six = format!("{}:192B", "0".repeat(32));
        assert_eq!(
            listeners(&[head, &row(&six, "0A")].concat())[0].addr,
            "[::]:6443".parse().unwrap()
        );
        assert!(listeners("head\n 0: zz:1 x 0A\n\n 1: 0 0\n").is_empty());
    }

    #[test]
    fn finds_who_holds_a_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let found = holder(addr, &listeners(&text)).unwrap();
        assert_eq!(found.pid, std::process::id());
    }

    #[test]
    fn what_a_taken_port_means() {
        let addr = "[::]:6443".parse().unwrap();
        let by = |name: &str| Some(Holder { name: name.to_owned(), pid: 7 });
        let judge = |error, holder: Option<Holder>| {
            taken("listen", addr, error, holder.as_ref(), &Seen::default())
        };
        assert_eq!(judge(ErrorKind::AddrInUse, by("mainstay")).grade, Grade::Ok);
        let apiserver = judge(ErrorKind::AddrInUse, by("kube-apiserver"));
        assert!(apiserver.grade == Grade::Fail && apiserver.fix.contains("is a master"));
        let nginx = judge(ErrorKind::AddrInUse, by("nginx"));
        assert!(
            nginx.found == "taken by nginx (pid 7)" && nginx.fix.contains("disable --now nginx")
        );
        assert!(judge(ErrorKind::AddrInUse, None).fix.contains("ss -ltnp"));
        let ours = Seen { runs: true, ..Seen::default() };
        assert_eq!(taken("listen", addr, ErrorKind::AddrInUse, None, &ours).grade, Grade::Ok);
        assert!(judge(ErrorKind::AddrNotAvailable, None).fix.contains("ip_nonlocal_bind=1"));
        assert!(judge(ErrorKind::PermissionDenied, None).fix.contains("CAP_NET_BIND_SERVICE"));
    }
}

//! Networks of a test's own: hosts as network namespaces on one switch, with cables that can be cut.
//!
//! ```text
//!    lb  10.77.0.2  ──┐                    ┌── master0 10.77.0.11
//!    me  10.77.0.40 ──┤  a bridge in a     ├── master1 10.77.0.12
//!                     └─ further namespace ┘
//! ```
//!
//! ```ignore
//! let Some(network) = Network::new() else { return };    // says SKIPPED where it cannot be
//! let (lb, client) = (network.host("lb", 2), network.host("client", 40));
//! lb.command("haproxy").args(…).spawn();                 // a process on a host
//! client.inside(|| TcpStream::connect(lb.addr(6443)));   // sockets of the test on a host
//! lb.cut();                                              // nothing gets through, nobody is told
//! ```
//!
//! Namespaces are named by the process, so tests do not meet; every host has the whole of
//! `10.77.0.0/24` for itself, and nothing of it is seen outside. All are removed when they are
//! dropped; those of a test that was killed are removed by the next one.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::skipped;

/// All names begin with it; the process id follows.
const PREFIX: &str = "mstest-";

/// Where `ip netns` keeps the names.
const NAMES: &str = "/run/netns";

/// The bridge in the namespace of the switch.
const BRIDGE: &str = "br0";

/// The network interface of every host.
pub(crate) const INTERFACE: &str = "eth0";

/// Networks that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A switch to which hosts can be connected.
pub(crate) struct Network {
    name: String,
}

impl Network {
    /// An empty network; none, and a line that says so, where namespaces cannot be made.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("network namespaces need root");
            return None;
        }
        remove_forgotten();
        let count = MADE.fetch_add(1, Ordering::Relaxed);
        let network = Self { name: format!("{PREFIX}{}-{count}", std::process::id()) };
        if let Err(error) = tried("ip", &["netns", "add", &network.name]) {
            skipped(format!("network namespaces: {error}"));
            return None;
        }
        let bridge = ["-n", &network.name, "link", "add", BRIDGE, "type", "bridge"];
        if let Err(error) = tried("ip", &bridge) {
            skipped(format!("a bridge: {error}"));
            return None;
        }
        ip(&network.name, &["link", "set", BRIDGE, "up"]);
        Some(network)
    }

    /// The address of the host with this last part.
    pub(crate) fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    /// Connects a new host; its name has at most 12 characters and is used once.
    pub(crate) fn host(&self, name: &str, last: u8) -> Host {
        let (switch, port) = (self.name.clone(), format!("p-{name}"));
        let namespace = format!("{}-{name}", self.name);
        run("ip", &["netns", "add", &namespace]);
        let host = Host { namespace, switch, port, ip: Self::address(last) };
        let cable = ["link", "add", &host.port, "type", "veth", "peer", "name", INTERFACE, "netns"];
        ip(&host.switch, &[&cable[..], &[&host.namespace]].concat());
        ip(&host.switch, &["link", "set", &host.port, "master", BRIDGE, "up"]);
        host.configure(&["link", "set", "lo", "up"]);
        host.configure(&["link", "set", INTERFACE, "up"]);
        host.configure(&["address", "add", &format!("{}/24", host.ip), "dev", INTERFACE]);
        host
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Is not there if it could not be made.
        tried("ip", &["netns", "delete", &self.name]).ok();
    }
}

/// A host of a network. Processes on it must be ended before it is dropped.
pub(crate) struct Host {
    namespace: String,
    switch: String,
    /// Its cable's end at the switch.
    port: String,
    /// Its address.
    pub(crate) ip: Ipv4Addr,
}

impl Host {
    /// A port of it.
    pub(crate) fn addr(&self, port: u16) -> SocketAddr {
        (self.ip, port).into()
    }

    /// A program to be started on it; the process that is started is the program itself.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let [first, rest @ ..] = self.entry();
        let mut command = Command::new(first);
        command.args(rest).arg(program.as_ref());
        command
    }

    /// The words before a command line that have it run there.
    pub(crate) fn entry(&self) -> [String; 4] {
        ["ip", "netns", "exec", &self.namespace].map(str::to_owned)
    }

    /// Does something on a thread whose sockets, threads and processes are on this host.
    pub(crate) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let on_host = || {
            let name: PathBuf = [NAMES, &self.namespace].iter().collect();
            let namespace = std::fs::File::open(name).unwrap();
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            act()
        };
        let done = std::thread::scope(|scope| scope.spawn(on_host).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs `ip` on it, for addresses, routes and links.
    pub(crate) fn configure(&self, args: &[&str]) {
        ip(&self.namespace, args);
    }

    /// Nothing gets through any more in either direction, and no side is told: a cable behind
    /// another switch is cut.
    pub(crate) fn cut(&self) {
        ip(&self.switch, &["link", "set", &self.port, "nomaster"]);
    }

    /// The cable is pulled: nothing gets through, and the host sees that.
    pub(crate) fn unplug(&self) {
        ip(&self.switch, &["link", "set", &self.port, "down"]);
    }

    /// Nothing reaches the host any more; what it sends arrives.
    pub(crate) fn deafen(&self) {
        lose(&self.namespace, INTERFACE);
    }

    /// Nothing that the host sends arrives any more; it hears the others.
    pub(crate) fn mute(&self) {
        lose(&self.switch, &self.port);
    }

    /// The cable is whole again, whatever was done to it.
    pub(crate) fn mend(&self) {
        ip(&self.switch, &["link", "set", &self.port, "master", BRIDGE, "up"]);
        for (namespace, interface) in [(&self.namespace, INTERFACE), (&self.switch, &self.port)] {
            // Is not there unless one direction was cut.
            nft(namespace, &format!("delete table netdev {}", table(interface))).ok();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // At worst it stays until the next test, which removes what it finds.
        tried("ip", &["netns", "delete", &self.namespace]).ok();
    }
}

/// Loses everything that arrives at an interface.
fn lose(namespace: &str, interface: &str) {
    let hook = format!("type filter hook ingress device \"{interface}\" priority 0; policy drop;");
    let table = table(interface);
    let rules = format!("add table netdev {table}; add chain netdev {table} arriving {{ {hook} }}");
    nft(namespace, &rules).unwrap();
}

fn table(interface: &str) -> String {
    format!("lose_{}", interface.replace('-', "_"))
}

fn nft(namespace: &str, rules: &str) -> Result<(), String> {
    tried("ip", &["netns", "exec", namespace, "nft", rules])
}

fn ip(namespace: &str, args: &[&str]) {
    run("ip", &[&["-n", namespace], args].concat());
}

fn run(program: &str, args: &[&str]) {
    tried(program, args).unwrap_or_else(|error| panic!("{error}"));
}

fn tried(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program} {}: {said}", args.join(" ")))
}

/// Removes the namespaces of processes that are no more.
fn remove_forgotten() {
    let Ok(names) = std::fs::read_dir(NAMES) else {
        return;
    };
    for name in names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Another test may have been quicker.
            tried("ip", &["netns", "delete", &name]).ok();
        }
    }
}

//! Where a scenario is played: three masters on hosts of their own, balancers in front of them, and
//! a note of who was away when.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::master::Master;
use crate::peer::{FILES, Kind, Peer};
use crate::pki::Pki;
use crate::support::command::run;
use crate::support::{Host, Network};

/// The first master's port; clients tell masters apart by it.
const FIRST_PORT: u16 = 7000;

/// Size of the file system that holds what the balancers write.
const DISK: &str = "size=8m";

/// A time in which a master could not serve, or not be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) master: u16,
    pub(crate) from: Instant,
    pub(crate) to: Option<Instant>,
}

impl Outage {
    pub(crate) fn holds(&self, at: Instant) -> bool {
        // What a master ends just before it is gone arrives a little later.
        let late = Duration::from_millis(500);
        at >= self.from && self.to.is_none_or(|to| at <= to + late)
    }
}

/// A small file system of its own, to be filled.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.call("mount", &["-t", "tmpfs", "-o", DISK, "tmpfs"]);
        disk
    }

    fn call(&self, program: &str, args: &[&str]) {
        let mut command = std::process::Command::new(program);
        command.args(args).arg(self.0.path());
        let outcome = run(command);
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have a file open.
        self.call("umount", &["-l"]);
    }
}

/// Everything on stage. Processes end before the hosts they run on are removed.
pub(crate) struct Stage {
    pub(crate) peers: Vec<Peer>,
    pub(crate) masters: Vec<Master>,
    pub(crate) outages: Vec<Outage>,
    pub(crate) pki: Pki,
    hosts: Vec<Host>,
    disk: Disk,
    _network: Network,
}

impl Stage {
    /// Masters and balancers run; none where there are no namespaces.
    pub(crate) fn set(kinds: &[Kind]) -> Option<Self> {
        let network = Network::new()?;
        raise_files();
        let hosts: Vec<_> =
            (0..3).map(|index| network.host(&format!("master{index}"), 11 + index)).collect();
        let pki = Pki::naming(hosts.iter().map(|host| host.ip.into()).chain(Kind::addresses()));
        let ports = FIRST_PORT..;
        let masters: Vec<_> =
            hosts.iter().zip(ports).map(|(host, port)| Master::on(host, port, &pki)).collect();
        let addrs: Vec<_> = masters.iter().map(|master| master.addr).collect();
        let disk = Disk::new();
        let start = |kind: &Kind| Peer::start(*kind, &network, &addrs, &pki.ca(), disk.0.path());
        let peers = kinds.iter().map(start).collect();
        let outages = Vec::new();
        Some(Self { peers, masters, outages, pki, hosts, disk, _network: network })
    }

    /// Notes that a master is away from now on.
    pub(crate) fn lost(&mut self, index: usize) -> &mut Master {
        let master = self.masters[index].port();
        self.outages.push(Outage { master, from: Instant::now(), to: None });
        &mut self.masters[index]
    }

    /// Notes that it is there again.
    pub(crate) fn back(&mut self, index: usize) {
        let port = self.masters[index].port();
        let mut its = self.outages.iter_mut().filter(|outage| outage.master == port);
        its.next_back().unwrap().to = Some(Instant::now());
    }

    /// A master starts again.
    pub(crate) fn revive(&mut self, index: usize) {
        self.masters[index].start(&self.pki);
        self.back(index);
    }

    /// The host of a master.
    pub(crate) fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// The directory that holds everything that the balancers write.
    pub(crate) fn disk(&self) -> &Path {
        self.disk.0.path()
    }
}

/// Has every process of the stage open as many files as may be.
fn raise_files() {
    let wished = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    if setrlimit(Resource::Nofile, wished).is_err() {
        // Not everybody may raise the upper limit.
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    }
}

/// Lets time pass on stage.
pub(crate) fn wait(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

//! Where a scenario is played: three masters on hosts of their own, balancers in front of them, and
//! a note of who was away when.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::master::Master;
use crate::peer::{FILES, Kind, Peer, Place};
use crate::pki::Pki;
use crate::support::disk::Disk;
use crate::support::{Host, Network};
use crate::wall_clock::WallClock;

/// The first master's port; clients tell masters apart by it.
const FIRST_PORT: u16 = 7000;

/// Size of the file system that holds what the balancers write.
const DISK: &str = "8m";

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

/// Everything on stage. Processes end before the hosts they run on are removed.
pub(crate) struct Stage {
    pub(crate) peers: Vec<Peer>,
    pub(crate) masters: Vec<Master>,
    pub(crate) outages: Vec<Outage>,
    pub(crate) pki: Pki,
    /// Holds everything that the balancers write.
    pub(crate) disk: Disk,
    clock: Option<WallClock>,
    hosts: Vec<Host>,
    _dir: TempDir,
    _network: Network,
}

impl Stage {
    /// Masters and balancers run; none where there are no namespaces.
    pub(crate) fn set(kinds: &[Kind], with_clock: bool) -> Option<Self> {
        let network = Network::new()?;
        raise_files();
        let hosts: Vec<_> =
            (0..3).map(|index| network.host(&format!("master{index}"), 11 + index)).collect();
        let pki = Pki::naming(hosts.iter().map(|host| host.ip.into()).chain(Kind::addresses()));
        let ports = FIRST_PORT..;
        let masters: Vec<_> =
            hosts.iter().zip(ports).map(|(host, port)| Master::on(host, port, &pki)).collect();
        let addrs: Vec<_> = masters.iter().map(|master| master.addr).collect();
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::over(dir.path(), DISK)?;
        let clock = if with_clock { Some(WallClock::new(dir.path())?) } else { None };
        let place = Place { below: disk.path(), clock: clock.as_ref() };
        let start = |kind: &Kind| Peer::start(*kind, &network, &addrs, &pki.ca(), place);
        let peers = kinds.iter().map(start).collect();
        let outages = Vec::new();
        Some(Self {
            peers,
            masters,
            outages,
            pki,
            disk,
            clock,
            hosts,
            _dir: dir,
            _network: network,
        })
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

    /// Sets the clock by which the balancers go.
    pub(crate) fn set_clock(&self, moment: &str) {
        self.clock.as_ref().unwrap().set(moment);
    }

    /// The host of a master.
    pub(crate) fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
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

//! Two balancers and one address that keepalived moves between them, with the configuration that
//! `mainstay keepalived config` writes.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::clients::{Attempt, Load, Trust};
use crate::master::Master;
use crate::peer::{Kind, PORT, Peer};
use crate::pki::Pki;
use crate::support::command::mainstay;
use crate::support::netns::INTERFACE;
use crate::support::{Host, Network, skipped, until};
use crate::watches::Watches;

/// The last part of the address that moves.
const MOVING: u8 = 10;

const KEEPALIVED: &str = "/usr/sbin/keepalived";

/// Longest time from a loss to the first connection through the other balancer.
const MOVE_MAX: Duration = Duration::from_secs(4);

/// What a busy machine may add to it.
const MARGIN: Duration = Duration::from_secs(2);

/// Longest silence of a stream: the move, and the kernel's doubled waits before it sends again.
const SILENCE_MAX: Duration = Duration::from_secs(9);

/// Time in which an address that wants to go back would have gone.
const SETTLE: Duration = Duration::from_secs(5);

/// A balancer and the keepalived beside it.
struct Site {
    peer: Peer,
    keepalived: Child,
    /// Not the balancer's: whoever names that on its command line is killed as a part of it.
    dir: TempDir,
}

impl Site {
    fn start(
        index: u8,
        network: &Network,
        backends: &[std::net::SocketAddr],
        pki: &Pki,
        below: &Path,
    ) -> Self {
        let (name, place) = (format!("lb{index}"), [2 + index, 40 + index]);
        let peer =
            Peer::start_at(Kind::Mainstay, &name, place, network, backends, &pki.ca(), below);
        let own = tempfile::tempdir_in(below).unwrap();
        let dir = own.path();
        let address = format!("{}/24", Network::address(MOVING));
        let config = peer.dir().join("mainstay.toml");
        let args = ["keepalived", "config", "--address", &address, "--interface", INTERFACE];
        let args = [&args[..], &["--config", config.to_str().unwrap()]].concat();
        let outcome = mainstay(dir, &args);
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        let file = dir.join("keepalived.conf");
        std::fs::write(&file, outcome.out).unwrap();
        let tested = crate::support::command::run({
            let mut command = std::process::Command::new(KEEPALIVED);
            command.args(["-t", "-f"]).arg(&file);
            command
        });
        assert_eq!(tested.code, Some(0), "{}{}", tested.out, tested.err);
        let output = File::create(dir.join("keepalived.log")).unwrap();
        let mut command = peer.host.command(KEEPALIVED);
        command.args(["-n", "-l", "-P", "-D", "-f"]).arg(&file);
        command.arg("-p").arg(dir.join("keepalived.pid")).arg("-r").arg(dir.join("vrrp.pid"));
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let keepalived = command.spawn().unwrap();
        Self { peer, keepalived, dir: own }
    }

    /// Whether its host has the address.
    fn owns(&self) -> bool {
        let mut command = self.peer.host.command("ip");
        command.args(["-4", "address", "show", "dev", INTERFACE]);
        let shown = crate::support::command::run(command).out;
        shown.contains(&format!("inet {}/", Network::address(MOVING)))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let id = Pid::from_raw(self.keepalived.id() as i32).unwrap();
        kill_process(id, Signal::TERM).ok();
        self.keepalived.wait().ok();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("keepalived.log"));
            eprintln!("--- keepalived\n{}---", log.unwrap_or_default());
        }
    }
}

/// Two sites, the index of the one that has the address, and the clients' way to it.
struct Pair {
    sites: [Site; 2],
    owner: usize,
    trust: Trust,
    client: Host,
    _pki: Pki,
    _masters: Vec<Master>,
}

impl Pair {
    fn start(network: &Network, below: &Path) -> Self {
        let hosts: Vec<_> =
            (0..3).map(|index| network.host(&format!("master{index}"), 11 + index)).collect();
        let own = [2, 3, MOVING].map(|last| Network::address(last).into());
        let pki = Pki::naming(hosts.iter().map(|host| host.ip.into()).chain(own));
        let masters: Vec<_> =
            hosts.iter().zip(7000..).map(|(host, port)| Master::on(host, port, &pki)).collect();
        let addrs: Vec<_> = masters.iter().map(|master| master.addr).collect();
        let sites = [0, 1].map(|index| Site::start(index, network, &addrs, &pki, below));
        let (trust, client) = (Trust::of(&pki.ca()), network.host("client", 50));
        let mut pair = Self { sites, owner: 0, trust, client, _pki: pki, _masters: masters };
        until("one of them has the address", || pair.one_owns());
        pair.owner = pair.owners()[0];
        pair
    }

    fn owners(&self) -> Vec<usize> {
        (0..2).filter(|index| self.sites[*index].owns()).collect()
    }

    fn one_owns(&self) -> bool {
        self.owners().len() == 1
    }

    /// Loses the one that has the address, checks that it moves in time and that it stays where it
    /// went when the lost one is back.
    fn play(&mut self, what: &str, lose: fn(&mut Site), heal: fn(&mut Site)) {
        let addr = (Network::address(MOVING), PORT).into();
        let clients = &self.client;
        let (watches, load) = clients
            .inside(|| (Watches::open(addr, &self.trust), Load::start(addr, &self.trust, 20)));
        watches.mark();
        let gone = Instant::now();
        lose(&mut self.sites[self.owner]);
        let lost = Instant::now();
        let other = 1 - self.owner;
        until("the address moves", || self.sites[other].owns());
        let moved = gone.elapsed();
        std::thread::sleep(SETTLE);
        let attempts = load.stop();
        let recovered = first_success(&attempts, lost).saturating_duration_since(gone);
        let silence = watches.longest_silence();
        println!(
            "{what}: moved after {moved:?}, first connection after {recovered:?}, longest silence {silence:?}"
        );
        assert!(recovered < MOVE_MAX + MARGIN, "{what}: {recovered:?}");
        assert!(silence < SILENCE_MAX + MARGIN, "{what}: {silence:?}");

        let load = clients.inside(|| Load::start(addr, &self.trust, 20));
        heal(&mut self.sites[self.owner]);
        std::thread::sleep(SETTLE);
        assert_eq!(self.owners(), [other], "{what}: who has the address after healing");
        let failed = load.stop().iter().filter(|attempt| attempt.ended.is_err()).count();
        assert_eq!(failed, 0, "{what}: new connections while it healed");
        self.owner = other;
    }
}

/// When the first of those connections was answered that were begun after the loss.
fn first_success(attempts: &[Attempt], lost: Instant) -> Instant {
    let good = attempts.iter().filter(|attempt| attempt.begun > lost && attempt.ended.is_ok());
    good.map(|attempt| attempt.begun + attempt.took).min().unwrap()
}

#[test]
fn the_address_moves_to_the_balancer_that_serves() {
    let Some(network) = Network::new() else { return };
    if !Path::new(KEEPALIVED).is_file() {
        skipped("keepalived is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair::start(&network, dir.path());
    pair.play(
        "process killed",
        |site| site.peer.kill(),
        |site| {
            site.peer.launch();
            site.peer.reaches_all();
        },
    );
    pair.play(
        "process frozen",
        |site| site.peer.signal(Signal::STOP),
        |site| site.peer.signal(Signal::CONT),
    );
    pair.play("cable cut", |site| site.peer.host.cut(), |site| site.peer.host.mend());
}

//! Two balancers and one address that keepalived moves between them: with the configuration that
//! `mainstay keepalived config` writes, and for the others with that of kubeadm's page on high
//! availability.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::clients::{Attempt, Load, Trust};
use crate::master::Master;
use crate::peer::{Kind, PORT, Peer, Place};
use crate::pki::Pki;
use crate::support::command::{mainstay, run};
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

/// Longest wait for the move: kubeadm's page has ten checks fail, 3 s apart.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is lost, and how it comes back.
pub(crate) struct Loss {
    pub(crate) what: &'static str,
    lose: fn(&mut Site),
    heal: fn(&mut Site),
}

/// All of them.
pub(crate) const LOSSES: [Loss; 3] = [
    Loss {
        what: "balancer killed",
        lose: |site| site.peer.kill(),
        heal: |site| {
            site.peer.launch();
            site.peer.reaches_all();
        },
    },
    Loss {
        what: "balancer frozen",
        lose: |site| site.peer.signal_all(Signal::STOP),
        heal: |site| site.peer.signal_all(Signal::CONT),
    },
    Loss {
        what: "cable cut",
        lose: |site| site.peer.host.cut(),
        heal: |site| site.peer.host.mend(),
    },
];

/// What clients noticed of one loss.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    /// From the loss to the first connection through the other balancer.
    pub(crate) recovered: Duration,
    /// The longest silence of a stream that talks.
    pub(crate) silence: Duration,
    /// New connections that failed until 5 s after the move, and all.
    pub(crate) failed: usize,
    pub(crate) tried: usize,
    /// New connections that failed while the lost one came back.
    pub(crate) failed_healing: usize,
    /// Whether the address went back to it.
    pub(crate) back: bool,
}

/// A balancer and the keepalived beside it.
pub(crate) struct Site {
    peer: Peer,
    keepalived: Child,
    /// Not the balancer's: whoever names that on its command line is killed as a part of it.
    dir: TempDir,
}

impl Site {
    fn start(
        kind: Kind,
        index: u8,
        network: &Network,
        backends: &[std::net::SocketAddr],
        pki: &Pki,
        below: &Path,
    ) -> Self {
        let (name, ends) = (format!("lb{index}"), [2 + index, 40 + index]);
        let place = Place { below, clock: None };
        let peer = Peer::start_at(kind, &name, ends, network, backends, &pki.ca(), place);
        let own = tempfile::tempdir_in(below).unwrap();
        let dir = own.path();
        let file = match kind {
            Kind::Mainstay => written_by_mainstay(&peer, dir),
            Kind::Nginx | Kind::Haproxy => as_kubeadm_has_it(index, dir),
        };
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
        let shown = run(command).out;
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

/// With what we say.
fn written_by_mainstay(peer: &Peer, dir: &Path) -> PathBuf {
    let address = format!("{}/24", Network::address(MOVING));
    let config = peer.dir().join("mainstay.toml");
    let args = ["keepalived", "config", "--address", &address, "--interface", INTERFACE];
    let outcome = mainstay(dir, &[&args[..], &["--config", config.to_str().unwrap()]].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let file = dir.join("keepalived.conf");
    std::fs::write(&file, outcome.out).unwrap();
    let mut command = std::process::Command::new(KEEPALIVED);
    command.args(["-t", "-f"]).arg(&file);
    let tested = run(command);
    assert_eq!(tested.code, Some(0), "{}{}", tested.out, tested.err);
    file
}

/// As kubeadm's page on high availability has it, its check included.
fn as_kubeadm_has_it(index: u8, dir: &Path) -> PathBuf {
    let (file, check) = (dir.join("keepalived.conf"), dir.join("check_apiserver.sh"));
    let script = format!(
        "#!/bin/sh\nerrorExit() {{\n  echo \"*** $*\" 1>&2\n  exit 1\n}}\n\
         curl -sfk --max-time 2 https://localhost:{PORT}/healthz -o /dev/null \
         || errorExit \"Error GET https://localhost:{PORT}/healthz\"\n"
    );
    std::fs::write(&check, script).unwrap();
    std::fs::set_permissions(&check, PermissionsExt::from_mode(0o755)).unwrap();
    let (state, priority) = if index == 0 { ("MASTER", 101) } else { ("BACKUP", 100) };
    let (address, check) = (Network::address(MOVING), check.display());
    let text = format!(
        "global_defs {{\n    router_id LVS_DEVEL\n    script_user root\n}}\n\
         vrrp_script check_apiserver {{\n    script \"{check}\"\n    interval 3\n    weight -2\n\
         \x20   fall 10\n    rise 2\n}}\n\
         vrrp_instance VI_1 {{\n    state {state}\n    interface {INTERFACE}\n\
         \x20   virtual_router_id 51\n    priority {priority}\n\
         \x20   authentication {{\n        auth_type PASS\n        auth_pass 42\n    }}\n\
         \x20   virtual_ipaddress {{\n        {address}/24\n    }}\n\
         \x20   track_script {{\n        check_apiserver\n    }}\n}}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
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
    fn start(kind: Kind, network: &Network, below: &Path) -> Self {
        let hosts: Vec<_> =
            (0..3).map(|index| network.host(&format!("master{index}"), 11 + index)).collect();
        let own = [2, 3, MOVING].map(|last| Network::address(last).into());
        let pki = Pki::naming(hosts.iter().map(|host| host.ip.into()).chain(own));
        let masters: Vec<_> =
            hosts.iter().zip(7000..).map(|(host, port)| Master::on(host, port, &pki)).collect();
        let addrs: Vec<_> = masters.iter().map(|master| master.addr).collect();
        let sites = [0, 1].map(|index| Site::start(kind, index, network, &addrs, &pki, below));
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

    /// Loses the one that has the address, waits until it has moved, and heals the lost one.
    fn play(&mut self, loss: &Loss) -> Move {
        let addr = (Network::address(MOVING), PORT).into();
        let clients = &self.client;
        let (watches, load) = clients
            .inside(|| (Watches::open(addr, &self.trust), Load::start(addr, &self.trust, 20)));
        watches.mark();
        let gone = Instant::now();
        (loss.lose)(&mut self.sites[self.owner]);
        let lost = Instant::now();
        let other = 1 - self.owner;
        while !self.sites[other].owns() {
            assert!(gone.elapsed() < PATIENCE, "{}: the address does not move", loss.what);
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(SETTLE);
        let attempts = load.stop();
        let recovered = first_success(&attempts, lost).saturating_duration_since(gone);
        let silence = watches.longest_silence();
        let failed =
            |attempts: &[Attempt]| attempts.iter().filter(|attempt| attempt.ended.is_err()).count();

        let load = clients.inside(|| Load::start(addr, &self.trust, 20));
        (loss.heal)(&mut self.sites[self.owner]);
        std::thread::sleep(2 * SETTLE);
        until("one of them has the address", || self.one_owns());
        let owner = self.owners()[0];
        let back = owner == self.owner;
        self.owner = owner;
        let failed_healing = failed(&load.stop());
        let (failed, tried) = (failed(&attempts), attempts.len());
        let moved = Move { recovered, silence, failed, tried, failed_healing, back };
        println!("{}: {moved:?}", loss.what);
        moved
    }
}

/// When the first of those connections was answered that were begun after the loss.
fn first_success(attempts: &[Attempt], lost: Instant) -> Instant {
    let good = attempts.iter().filter(|attempt| attempt.begun > lost && attempt.ended.is_ok());
    good.map(|attempt| attempt.begun + attempt.took).min().unwrap()
}

/// Every loss with this balancer; none where that cannot be played.
pub(crate) fn all(kind: Kind) -> Option<Vec<Move>> {
    let network = Network::new()?;
    if !Path::new(KEEPALIVED).is_file() {
        skipped("keepalived is not installed");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut pair = Pair::start(kind, &network, dir.path());
    Some(LOSSES.iter().map(|loss| pair.play(loss)).collect())
}

/// Holds Mainstay to what its page promises.
pub(crate) fn check(moves: &[Move]) {
    for (loss, moved) in LOSSES.iter().zip(moves) {
        let what = loss.what;
        assert!(moved.recovered < MOVE_MAX + MARGIN, "{what}: {moved:?}");
        assert!(moved.silence < SILENCE_MAX + MARGIN, "{what}: {moved:?}");
        assert!(!moved.back, "{what}: the address went back after healing");
        assert_eq!(moved.failed_healing, 0, "{what}: new connections while it healed");
    }
}

#[test]
fn the_address_moves_to_the_balancer_that_serves() {
    if let Some(moves) = all(Kind::Mainstay) {
        check(&moves);
    }
}

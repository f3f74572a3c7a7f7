//! The scenarios: what is done to masters, cables and balancers, and what must not follow from it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::figures::{Clients, Figures};
use crate::peer::Kind;
use crate::pki::Pki;
use crate::stage::{Stage, wait};
use crate::wall_clock::RIGHT;

/// Connections that use up the descriptors of a balancer.
const HOARDED: usize = 300;

/// Open files of a balancer that runs out of them: less than those connections need.
const FEW_FILES: u64 = 200;

/// Time for the balancers to settle and for new connections to flow before a fault.
const BEFORE: Duration = Duration::from_secs(2);

/// What is played.
pub(crate) struct Scenario {
    /// In a few words.
    pub(crate) name: &'static str,
    /// What happens, for the table.
    pub(crate) what: &'static str,
    act: fn(&mut Stage),
    /// Whether no client has to notice anything but those of lost masters.
    spotless: bool,
    /// Whether the balancers go by a clock that can be set.
    clock: bool,
}

const fn scenario(
    name: &'static str,
    what: &'static str,
    act: fn(&mut Stage),
    spotless: bool,
) -> Scenario {
    Scenario { name, what, act, spotless, clock: false }
}

impl Scenario {
    const fn with_clock(self) -> Self {
        Self { clock: true, ..self }
    }
}

/// All of them, in the order in which they are played and shown.
pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("master killed", "`kill -9`, restarted after 10 s", killed, true),
    scenario(
        "master stopped",
        "`SIGTERM` without drain: the port closes, streams end after 2 s; restarted after 10 s",
        stopped,
        true,
    ),
    scenario(
        "master stopped with drain",
        "`/readyz` 500 for 8 s first (`shutdown-delay-duration`)",
        drained,
        true,
    ),
    scenario("master frozen", "`SIGSTOP` for 40 s", frozen, true),
    scenario("cable cut", "both directions, 40 s; nobody is told", cut, true),
    scenario("nothing reaches a master", "one direction of its cable, 20 s", deafened, true),
    scenario("nothing comes from a master", "the other direction, 20 s", muted, true),
    scenario("master slow", "answers every request after 5 s, for 20 s", slow, true),
    scenario(
        "wrong certificate",
        "a master comes back with another cluster's certificate, 15 s",
        wrong_certificate,
        false,
    ),
    scenario(
        "all masters restarted in turn",
        "each: 5 s of `/readyz` 500, stopped, 3 s away, 6 s until the next",
        rolling,
        true,
    ),
    scenario("all masters down", "killed at once, all back after 8 s", all_down, false),
    scenario(
        "balancer killed",
        "`kill -9` of all its processes, started again after 3 s",
        dead,
        false,
    ),
    scenario("balancer reloaded", "its configuration is read again, three times", reloaded, true),
    scenario(
        "balancer upgraded",
        "the program on the disk takes over (`SIGUSR2`; NGINX: and `SIGQUIT` of the old one)",
        upgraded,
        true,
    ),
    scenario(
        "disk full",
        "no byte left where the balancer writes, for 10 s, with a reload in it",
        disk_full,
        true,
    ),
    scenario(
        "state files damaged",
        "all that a balancer wrote is overwritten with rubbish, and 5 s later a new process takes over as in an upgrade",
        damaged,
        true,
    ),
    scenario(
        "clock jumps",
        "the balancers' wall clock: 8 s in 1970, 8 s ten years ahead, 8 s right again",
        clock,
        true,
    )
    .with_clock(),
    scenario(
        "descriptors exhausted",
        "200 open files, 300 connections held by one client, for 10 s",
        descriptors,
        false,
    ),
];

impl Scenario {
    /// Plays it in front of these balancers at once; none where there are no namespaces.
    pub(crate) fn play(&self, kinds: &[Kind]) -> Option<Vec<(Kind, Figures)>> {
        let mut stage = Stage::set(kinds, self.clock)?;
        let clients: Vec<_> = stage.peers.iter().map(Clients::start).collect();
        std::thread::sleep(BEFORE);
        clients.iter().for_each(Clients::mark);
        let begun = Instant::now();
        (self.act)(&mut stage);
        let figures = clients
            .into_iter()
            .map(|clients| clients.stop(begun, &stage.outages))
            .collect::<Vec<_>>();
        Some(kinds.iter().copied().zip(figures).collect())
    }

    /// Holds Mainstay to what the scenario asks for.
    pub(crate) fn check(&self, figures: &Figures) {
        assert!(figures.tried > 0, "{}: nobody tried", self.name);
        if self.spotless {
            assert_eq!(figures.failed, 0, "{}: {figures:?}", self.name);
            assert_eq!(figures.needless, 0, "{}: {figures:?}", self.name);
            assert_eq!(figures.left, 0, "{}: {figures:?}", self.name);
        }
    }
}

fn killed(stage: &mut Stage) {
    stage.lost(0).crash();
    wait(10);
    stage.revive(0);
    wait(5);
}

fn stopped(stage: &mut Stage) {
    stage.lost(0).stop(Duration::from_secs(2));
    wait(8);
    stage.revive(0);
    wait(5);
}

fn drained(stage: &mut Stage) {
    stage.masters[0].tell("readyz 500");
    stage.masters[0].tell("healthz 500");
    wait(8);
    stopped(stage);
}

fn frozen(stage: &mut Stage) {
    stage.lost(0).freeze();
    wait(40);
    stage.masters[0].thaw();
    stage.back(0);
    wait(5);
}

fn cut(stage: &mut Stage) {
    stage.lost(0);
    stage.host(0).cut();
    wait(40);
    mend(stage);
}

fn deafened(stage: &mut Stage) {
    stage.lost(0);
    stage.host(0).deafen();
    wait(20);
    mend(stage);
}

fn muted(stage: &mut Stage) {
    stage.lost(0);
    stage.host(0).mute();
    wait(20);
    mend(stage);
}

fn mend(stage: &mut Stage) {
    stage.host(0).mend();
    stage.back(0);
    wait(5);
}

fn slow(stage: &mut Stage) {
    stage.masters[0].tell("delay 5000");
    wait(20);
    stage.masters[0].tell("delay 0");
    wait(5);
}

fn wrong_certificate(stage: &mut Stage) {
    let other = Pki::naming(stage.masters.iter().map(|master| master.addr.ip()));
    stage.lost(0).crash();
    stage.masters[0].start(&other);
    wait(15);
    stage.masters[0].crash();
    stage.revive(0);
    wait(5);
}

fn rolling(stage: &mut Stage) {
    for index in 0..stage.masters.len() {
        stage.masters[index].tell("readyz 500");
        stage.masters[index].tell("healthz 500");
        wait(5);
        stage.lost(index).stop(Duration::from_secs(1));
        wait(3);
        stage.revive(index);
        wait(6);
    }
}

fn all_down(stage: &mut Stage) {
    let all = 0..stage.masters.len();
    all.clone().for_each(|index| stage.lost(index).crash());
    wait(8);
    all.for_each(|index| stage.revive(index));
    wait(12);
}

fn dead(stage: &mut Stage) {
    stage.peers.iter_mut().for_each(crate::peer::Peer::kill);
    wait(3);
    stage.peers.iter_mut().for_each(crate::peer::Peer::launch);
    wait(10);
}

fn reloaded(stage: &mut Stage) {
    for _ in 0..3 {
        stage.peers.iter().for_each(crate::peer::Peer::reload);
        wait(4);
    }
}

fn upgraded(stage: &mut Stage) {
    stage.peers.iter().for_each(crate::peer::Peer::upgrade);
    wait(12);
}

fn disk_full(stage: &mut Stage) {
    stage.disk.fill();
    wait(3);
    stage.peers.iter().for_each(crate::peer::Peer::reload);
    wait(7);
    stage.disk.clear();
    wait(3);
}

fn damaged(stage: &mut Stage) {
    stage.peers.iter().for_each(crate::peer::Peer::damage_state);
    wait(5);
    upgraded(stage);
}

fn clock(stage: &mut Stage) {
    for moment in ["@1970-01-02 00:00:00", "+3650d", RIGHT] {
        stage.set_clock(moment);
        wait(8);
    }
}

fn descriptors(stage: &mut Stage) {
    stage.peers.iter().for_each(|peer| peer.limit_files(FEW_FILES));
    let limit = Duration::from_secs(1);
    let hoard: Vec<_> = stage
        .peers
        .iter()
        .map(|peer| {
            let connect = |_| TcpStream::connect_timeout(&peer.addr(), limit).ok();
            peer.client.inside(|| (0..HOARDED).map(connect).collect::<Vec<_>>())
        })
        .collect();
    wait(10);
    drop(hoard);
    wait(15);
}

//! A master is lost: new connections do not fail, its streams are cut soon, those of the others go
//! on.

use std::time::{Duration, Instant};

use common::status::BackendState;

use crate::clients::{Attempt, Load, Streams, Trust, assert_served};
use crate::master::{Master, three, until_state};
use crate::pki::Pki;
use crate::support::{Balancer, Network, Setup};

/// New connections in a second.
const RATE: u32 = 50;

/// Streams over all masters.
const STREAMS: usize = 200;

/// What a busy machine may add to any time.
const MARGIN: Duration = Duration::from_millis(1_500);

/// Everything that one loss is measured with.
struct Scene {
    masters: [Master; 3],
    balancer: Balancer,
    streams: Streams,
    load: Load,
}

impl Scene {
    fn set() -> Self {
        let pki = Pki::new();
        let (masters, balancer) = three(&pki);
        Self::with(masters, balancer, &pki)
    }

    fn with(mut masters: [Master; 3], balancer: Balancer, pki: &Pki) -> Self {
        let trust = Trust::of(&pki.ca());
        let streams = Streams::open(balancer.addr, &trust, STREAMS);
        // The one with the fewest is lost: new connections would go to it first.
        masters.sort_by_key(|master| streams.of(master.port()).len());
        let load = Load::start(balancer.addr, &trust, RATE);
        std::thread::sleep(Duration::from_secs(1));
        Self { masters, balancer, streams, load }
    }

    /// What began since the loss. Of what began before, only connections that the lost master had
    /// answered may have failed: nobody else can go on with those.
    fn since(gone: Instant, attempts: Vec<Attempt>) -> Vec<Attempt> {
        let (after, before): (Vec<_>, Vec<_>) =
            attempts.into_iter().partition(|attempt| attempt.begun >= gone);
        let (lost, failed): (Vec<_>, Vec<_>) = before
            .into_iter()
            .filter(|attempt| attempt.ended.is_err())
            .partition(|attempt| attempt.heard);
        assert!(failed.is_empty(), "failed, but nobody had answered: {failed:?}");
        println!("{} connections were answered by the lost master and lost with it", lost.len());
        after
    }

    /// Loses one master, waits until it is found out and its streams are cut, then a little more, and
    /// checks that nobody else noticed.
    fn play(
        mut self,
        what: &str,
        lose: impl FnOnce(&mut Master),
        [cut_limit, wait_limit]: [Duration; 2],
        verdict: BackendState,
    ) {
        let begun = Instant::now();
        lose(&mut self.masters[0]);
        let gone = Instant::now();
        let lost = &self.masters[0];
        let own = self.streams.of(lost.port()).len();
        assert!(own > 0);
        let cut = self.streams.until_cut(lost.port(), begun, cut_limit + MARGIN);
        until_state(&self.balancer, lost, verdict);
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(self.streams.ended(), own, "streams of other masters ended too");
        let attempts = Self::since(gone, self.load.stop());
        let slowest = assert_served(&attempts, wait_limit + MARGIN);
        println!(
            "{what}: {own} streams cut after {cut:?}; {} connections, slowest {slowest:?}",
            attempts.len()
        );
    }
}

#[test]
fn a_crash_fails_no_connection_and_cuts_only_its_own_streams() {
    let scene = Scene::set();
    let second = Duration::from_secs(1);
    scene.play("crash", Master::crash, [2 * second, second], BackendState::Dead);
}

#[test]
fn a_freeze_fails_no_connection_and_its_streams_are_cut_in_time() {
    let scene = Scene::set();
    let second = Duration::from_secs(1);
    scene.play("freeze", Master::freeze, [35 * second, 2 * second], BackendState::Frozen);
}

#[test]
fn a_black_hole_fails_no_connection_and_its_streams_are_cut_in_time() {
    let scene = Scene::set();
    let second = Duration::from_secs(1);
    scene.play("black hole", Master::vanish, [15 * second, second], BackendState::Dead);
}

#[test]
fn a_cut_cable_fails_no_connection_and_its_streams_are_cut_in_time() {
    let Some(network) = Network::new() else { return };
    let hosts = [0, 1, 2].map(|index| network.host(&format!("master{index}"), 11 + index));
    let (lb, client) = (network.host("lb", 2), network.host("client", 40));
    let names = hosts.iter().chain([&lb]).map(|host| host.ip.into());
    let pki = Pki::naming(names);
    // Each on a port of its own, because that is how the clients tell them apart.
    let masters = [0, 1, 2].map(|index| Master::on(&hosts[index], 7000 + index as u16, &pki));
    let addrs = masters.each_ref().map(|master| master.addr);
    let balancer = Setup::backends(&addrs).cluster_ca(&pki.ca()).on(&lb, 6443).start();
    let scene = client.inside(|| Scene::with(masters, balancer, &pki));
    let second = Duration::from_secs(1);
    let cut = |master: &mut Master| {
        hosts.iter().find(|host| master.addr.ip() == host.ip).unwrap().cut();
    };
    scene.play("cut cable", cut, [15 * second, second], BackendState::Dead);
}

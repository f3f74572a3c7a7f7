//! A master is lost: new connections do not fail, its streams are cut soon, those of the others go
//! on.

use std::time::{Duration, Instant};

use common::status::BackendState;

use crate::clients::{Attempt, Load, Streams, Trust, assert_served};
use crate::master::{Master, three, until_state};
use crate::pki::Pki;
use crate::support::Balancer;

/// New connections in a second.
const RATE: u32 = 50;

/// Streams over all masters.
const STREAMS: usize = 200;

/// What a busy machine may add to any time.
const MARGIN: Duration = Duration::from_millis(1_500);

/// Connections that may just have been answered by a master when it is lost.
const UNDERWAY_MAX: usize = 2;

/// Everything that one loss is measured with.
struct Scene {
    masters: [Master; 3],
    balancer: Balancer,
    streams: Streams,
    load: Load,
}

impl Scene {
    fn set(streams: usize) -> Self {
        let pki = Pki::new();
        let (mut masters, balancer) = three(&pki);
        let trust = Trust::of(&pki.ca());
        let streams = Streams::open(balancer.addr, &trust, streams);
        // The one with the fewest is lost: new connections would go to it first.
        masters.sort_by_key(|master| streams.of(master.port()).len());
        let load = Load::start(balancer.addr, &trust, RATE);
        std::thread::sleep(Duration::from_secs(1));
        Self { masters, balancer, streams, load }
    }

    /// What happened since the loss; a connection from before it may have been established on the
    /// lost master.
    fn since(gone: Instant, attempts: Vec<Attempt>) -> Vec<Attempt> {
        let (after, before): (Vec<_>, Vec<_>) =
            attempts.into_iter().partition(|attempt| attempt.begun >= gone);
        let failed = before.iter().filter(|attempt| attempt.ended.is_err()).count();
        assert!(failed <= UNDERWAY_MAX, "{failed} failed that had begun before the loss");
        after
    }

    /// Loses one master, waits until it is found out and its streams are cut, then a little more, and
    /// checks that nobody else noticed.
    fn play(
        mut self,
        what: &str,
        lose: fn(&mut Master),
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
    let scene = Scene::set(STREAMS);
    let second = Duration::from_secs(1);
    scene.play("crash", Master::crash, [2 * second, second], BackendState::Dead);
}

#[test]
fn a_freeze_fails_no_connection_and_its_streams_are_cut_in_time() {
    let scene = Scene::set(STREAMS);
    let second = Duration::from_secs(1);
    scene.play("freeze", Master::freeze, [35 * second, 2 * second], BackendState::Frozen);
}

#[test]
fn a_black_hole_fails_no_connection_and_its_streams_are_cut_in_time() {
    let scene = Scene::set(STREAMS);
    let second = Duration::from_secs(1);
    scene.play("black hole", Master::vanish, [15 * second, second], BackendState::Dead);
}

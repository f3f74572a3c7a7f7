//! A seeded simulation of the pool, the health machine, slow start and rebalancing with thousands of
//! clients, slow masters, rolling restarts and crashes.
//!
//! Checked: no client fails while a master serves; no connection goes to a backend that must get
//! none; none is cut that was served; moved load keeps its limits; nobody starves; states do not
//! oscillate; a returned master never gets twice its share; in the end load is even.
//!
//! Replay one seed with `SIM_SEED=7`, try more with `SIM_SEEDS=1000`:
//! `SIM_SEED=7 cargo test -p mainstay-lb --test simulation`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as expected"
)]

mod world;

use lb::clock::Millis;
use lb::health::State;
use world::{Condition, World};

const STEPS_A_SECOND: u64 = 1000 / world::STEP_MS;

/// Runs `test` for each seed and names the seed that failed.
fn for_each_seed(usual: u64, test: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(usual),
    };
    for seed in seeds {
        if let Err(failure) = std::panic::catch_unwind(|| test(seed)) {
            eprintln!("failed with SIM_SEED={seed}");
            std::panic::resume_unwind(failure);
        }
    }
}

fn seconds(world: &mut World, count: u64, arrivals: u32, leave_chance: f64) {
    for _ in 0..count * STEPS_A_SECOND {
        world.step(arrivals, leave_chance);
    }
}

/// Three masters that serve, with this many connections held.
fn settled(seed: u64, connections: usize) -> World {
    let mut world = World::new(3, seed);
    while world.masters.iter().any(|master| master.judge.state() != State::Up) {
        world.step(0, 0.0);
    }
    while world.connections() < connections {
        world.step(20, 0.0);
    }
    world
}

fn spread(loads: &[u32]) -> u32 {
    loads.iter().max().unwrap() - loads.iter().min().unwrap()
}

#[test]
fn held_connections_are_even() {
    for_each_seed(10, |seed| {
        let world = settled(seed, 3000);
        assert!(spread(&world.loads()) <= 1, "{:?}", world.loads());
    });
}

#[test]
fn a_rolling_restart_fails_nobody_and_ends_even() {
    for_each_seed(5, |seed| {
        let mut world = settled(seed, 2000);
        for master in 0..3 {
            world.turn(master, Condition::NotReady);
            seconds(&mut world, 5, 2, 0.0);
            world.turn(master, Condition::Crashed);
            seconds(&mut world, 20, 2, 0.0);
            world.turn(master, Condition::Fine);
            seconds(&mut world, 60, 2, 0.001);
        }
        assert_eq!(world.tally.failed, 0);
        // Load comes back within the limits of rebalancing: a tenth in five minutes.
        seconds(&mut world, 3600, 1, 0.0001);
        let loads = world.loads();
        let mean = f64::from(loads.iter().sum::<u32>()) / 3.0;
        let most = f64::from(*loads.iter().max().unwrap());
        assert!(most - mean <= (0.25 * mean).max(3.0) + 1.0, "{loads:?}");
        check_rebalancing(&world);
    });
}

/// At most 1 % in a second and 10 % in five minutes of the most connections there ever were.
fn check_rebalancing(world: &World) {
    let all = world.tally.placed;
    for (at, count) in &world.tally.rebalanced {
        assert!(*count <= all.div_ceil(100));
        let window = |other: &&(Millis, u32)| other.0 >= *at && other.0.0 < at.0 + 300_000;
        let lately: u32 = world.tally.rebalanced.iter().filter(window).map(|(_, n)| n).sum();
        assert!(lately <= all.div_ceil(10), "{lately} of {all}");
    }
}

#[test]
fn a_returned_master_never_gets_twice_its_share() {
    for_each_seed(10, |seed| {
        let mut world = settled(seed, 3000);
        world.turn(1, Condition::Crashed);
        seconds(&mut world, 30, 0, 0.0);
        world.turn(1, Condition::Fine);
        for window in 0..18 {
            world.masters.iter_mut().for_each(|master| master.got = 0);
            seconds(&mut world, 10, 3, 0.0002);
            let all: u32 = world.masters.iter().map(|master| master.got).sum();
            let share = world.masters[1].got;
            assert!(3 * share < 2 * all, "{share} of {all} in window {window}");
        }
        assert!(world.loads()[1] > 400, "it catches up: {:?}", world.loads());
        assert_eq!(world.tally.failed, 0);
    });
}

#[test]
fn slow_masters_lose_no_connection() {
    for_each_seed(5, |seed| {
        let mut world = settled(seed, 1000);
        for condition in [Condition::Slow, Condition::NotReady] {
            (0..3).for_each(|master| world.turn(master, condition));
            seconds(&mut world, 120, 1, 0.0);
        }
        assert_eq!((world.tally.cut_needlessly, world.tally.failed), (0, 0));
    });
}

#[test]
fn chaos_fails_nobody_while_somebody_serves() {
    for_each_seed(20, |seed| {
        let mut world = settled(seed, 600);
        let mut turns = [0u32; 3];
        for _ in 0..60 {
            let master = world.random().usize(..2);
            let conditions = [
                Condition::Fine,
                Condition::Slow,
                Condition::NotReady,
                Condition::Crashed,
                Condition::BlackHole,
            ];
            let condition = conditions[world.random().usize(..conditions.len())];
            world.turn(master, condition);
            turns[master] += 1;
            let pause = world.random().u64(1..40);
            seconds(&mut world, pause, 1, 0.001);
        }
        // The third master served all the time.
        assert_eq!((world.tally.failed, world.tally.cut_needlessly), (0, 0));
        for (master, turns) in world.masters.iter().zip(turns) {
            assert!(master.transitions <= 2 + 4 * turns, "{} by {turns}", master.transitions);
        }
        // Nobody starves: all serve again, and all get connections.
        (0..3).for_each(|master| world.turn(master, Condition::Fine));
        seconds(&mut world, 60, 1, 0.001);
        world.masters.iter_mut().for_each(|master| master.got = 0);
        seconds(&mut world, 60, 1, 0.001);
        assert!(world.masters.iter().all(|master| master.got > 0));
    });
}

//! What clients notice when masters, cables and balancers fail: Mainstay beside NGINX and HAProxy in
//! the same network, in front of the same masters, at the same moment.
//!
//! `make chaos` plays every scenario and writes `docs/chaos.md`. A few are played by `make test`,
//! with Mainstay alone. All need root, for network namespaces.

// Helpers of a test may fail as tests do; clippy's own exception covers `#[test]` functions only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

// The harness serves other targets too; each uses its own part of it.
#[allow(dead_code, unused_imports)]
#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code)]
#[path = "../health/clients.rs"]
mod clients;

#[allow(dead_code)]
#[path = "../health/master.rs"]
mod master;

#[allow(dead_code)]
#[path = "../health/pki.rs"]
mod pki;

#[path = "../health/cluster_api.rs"]
#[allow(dead_code)]
mod cluster_api;

#[path = "../health/stand_in.rs"]
mod stand_in;

mod figures;

mod peer;

mod scenarios;

mod stage;

mod storm;

mod table;

mod vip;

mod wall_clock;

mod watches;

use peer::Kind;
use scenarios::{SCENARIOS, Scenario};

/// Plays scenarios by their names with Mainstay alone; nothing may fail and nothing be cut that need
/// not be.
fn with_mainstay(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap();
    let Some(figures) = scenario.play(&[Kind::Mainstay]) else { return };
    let (_, figures) = &figures[0];
    println!("{name}: {figures:?}");
    scenario.check(figures);
}

#[test]
fn a_master_that_hears_nothing_any_more() {
    with_mainstay("nothing reaches a master");
}

#[test]
fn all_masters_restarted_in_turn() {
    with_mainstay("all masters restarted in turn");
}

#[test]
fn a_clock_that_jumps() {
    with_mainstay("clock jumps");
}

#[test]
fn a_reload_of_the_balancer() {
    with_mainstay("balancer reloaded");
}

/// The whole catalogue beside the peers; `CHAOS` names the scenarios to play, by parts of their
/// names, and then nothing is written.
#[test]
#[ignore = "takes ten minutes: make chaos"]
fn whole() {
    let chosen = std::env::var("CHAOS").unwrap_or_default();
    let kinds = Kind::installed();
    let mut rows = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(&chosen)) {
        let Some(figures) = scenario.play(&kinds) else { continue };
        for (kind, figures) in &figures {
            println!("{}: {kind:?}: {figures:?}", scenario.name);
        }
        rows.push((scenario, figures));
    }
    let moved = |kind: &Kind| Some((*kind, vip::all(*kind)?));
    let moves: Vec<_> = match chosen.is_empty() || chosen == "address" {
        true => kinds.iter().filter_map(moved).collect(),
        false => Vec::new(),
    };
    let storms =
        if chosen.is_empty() || chosen == "storm" { storm::all(&kinds) } else { Vec::new() };
    if chosen.is_empty() {
        table::write(&rows, &moves, &storms);
    }
    moves.iter().filter(|(kind, _)| *kind == Kind::Mainstay).for_each(|(_, all)| vip::check(all));
    for (scenario, figures) in &rows {
        figures
            .iter()
            .filter(|(kind, _)| *kind == Kind::Mainstay)
            .for_each(|(_, figures)| Scenario::check(scenario, figures));
    }
}

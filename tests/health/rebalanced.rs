//! Load moves back to a master that returned: a few quiet old sessions at a time, within all limits.

use std::path::Path;
use std::time::Duration;

use common::status::BackendState;

use crate::clients::{Streams, Trust};
use crate::master::{Master, until_state};
use crate::pki::Pki;
use crate::support::command::mainstay;
use crate::support::{Balancer, Setup, process, until};

/// Of the rule: the fullest backend may be above the mean by this part of it.
const SPREAD_MAX: f64 = 0.25;

/// Shorter than the defaults, as an operator may have it; the sessions of the second wave are too
/// young while load begins to move.
const CONFIG: &str = "rebalance_after = '2s'\nrebalance_age = '30s'\n";

/// Streams of the first wave: quiet ones, and others that talk. So many that chance, which places
/// each session that comes back, evens out long before the limits are used up.
const QUIET: usize = 240;
const TALKING: usize = 160;

/// Streams of each further wave after the return.
const LATE: usize = 10;

/// The waves end at this spread: from here a tenth of the sessions is enough, although every second
/// one that is closed does not go to the returned master, which may not be flooded.
const SPREAD_BEFORE: f64 = 0.30;

/// How far the fullest backend is above the mean, as a part of it.
fn spread(balancer: &Balancer) -> f64 {
    let loads: Vec<f64> =
        balancer.status().backends.iter().map(|row| row.connections as f64).collect();
    let mean = loads.iter().sum::<f64>() / loads.len() as f64;
    loads.iter().fold(0.0_f64, |most, load| most.max(*load)) / mean - 1.0
}

fn rebalance(balancer: &Balancer, how: &str) -> String {
    let admin = format!("unix:{}", balancer.admin.display());
    let outcome = mainstay(Path::new("/"), &["rebalance", how, "--admin", &admin]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    outcome.out
}

/// When sessions were closed to move load, in seconds of the day, and how many, by the log.
fn closed(balancer: &Balancer) -> Vec<(f64, u32)> {
    let log = balancer.log();
    let lines = log.lines().filter(|line| line.contains("sessions closed to move load"));
    lines
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let time = line["timestamp"].as_str().unwrap()[11..26].split(':');
            let seconds = time.fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap());
            (seconds, line["closed"].as_u64().unwrap() as u32)
        })
        .collect()
}

#[test]
fn load_moves_back_within_its_limits() {
    assert!(process::raise_descriptors(2_000), "too few open files for the streams of this test");
    let pki = Pki::new();
    let mut back = Master::down();
    let others = [Master::new(&pki), Master::new(&pki)];
    let addrs = [back.addr, others[0].addr, others[1].addr];
    let setup = Setup::backends(&addrs).down(&[back.addr]).cluster_ca(&pki.ca()).config(CONFIG);
    let balancer = setup.start();
    let trust = Trust::of(&pki.ca());
    let quiet = Streams::quiet(balancer.addr, &trust, QUIET);
    let talking = Streams::open(balancer.addr, &trust, TALKING);

    let said = rebalance(&balancer, "--now");
    assert!(said.contains("every backend must be UP"), "{said}");
    back.start(&pki);
    until_state(&balancer, &back, BackendState::Up);
    let said = rebalance(&balancer, "--now");
    assert!(said.contains("past its slow start"), "{said}");
    let waits = || rebalance(&balancer, "--dry-run").contains("slow start");
    until("the slow start is over", || !waits());

    let mut late = Vec::new();
    while spread(&balancer) > SPREAD_BEFORE {
        late.push(Streams::quiet(balancer.addr, &trust, LATE));
    }
    let before = spread(&balancer);
    assert!(before > SPREAD_MAX, "{before}");
    until("the spread is small", || spread(&balancer) <= SPREAD_MAX);
    std::thread::sleep(Duration::from_secs(3));

    let (steps, all) = (closed(&balancer), QUIET + TALKING + LATE * late.len());
    println!("spread {before:.2} -> {:.2}, closed at {steps:?} of {all}", spread(&balancer));
    assert!(spread(&balancer) <= SPREAD_MAX);
    let sum: u32 = steps.iter().map(|(_, count)| count).sum();
    assert_eq!(f64::from(sum), balancer.closed("rebalanced"));
    assert!(sum as usize <= all / 10, "more than a tenth in five minutes");
    assert!(steps.iter().all(|(_, count)| *count as usize <= all / 100), "more than a hundredth");
    assert!(steps.windows(2).all(|two| two[1].0 - two[0].0 > 0.99), "not a second apart");
    assert_eq!(talking.ended(), 0, "sessions that were not quiet");
    assert!(late.iter().all(|wave| wave.ended() == 0), "sessions that were not old");
    assert_eq!(quiet.ended(), sum as usize);
}

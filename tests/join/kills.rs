//! The coordinator is killed at random moments while machines join, and started again at once. A
//! join has many moments, and a table of points never names the one that matters.
//!
//! `MAINSTAY_KILLS` says how many kills (`make kills`: 200); `MAINSTAY_SEED` repeats a run's moments.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use common::status::BackendState;
use serde_json::Value;

use crate::balancer::{Coordinator, kept};
use crate::machine::{Machine, Running};
use crate::story::Beginning;

const VERSION: &str = "v1.20.2";

/// Kills of a run that asks for no other number.
const KILLS: usize = 12;

/// Most kills during one join: it must end some time.
const KILLS_A_JOIN: usize = 6;

/// Longest time until the next kill; registration, credentials and kubeadm take about as long.
const PAUSE_MS: u64 = 700;

/// Machines that join one cluster, and the uses of its ticket.
const JOINERS: usize = 4;

/// Longest wait for the end of a join and of what it leaves: work that a kill has spoilt is given
/// again after a minute.
const LONG: Duration = Duration::from_secs(240);

/// Until the balancer has seen that an apiserver is gone, as after a `kubeadm reset`: a probe's
/// pause of 3.6 s at most and a second refusal, on a machine with more to do.
const SEEN_GONE: Duration = Duration::from_secs(10);

const LOOK: Duration = Duration::from_millis(10);

#[test]
fn coordinator_killed_at_random_moments_of_a_join_leaves_nothing_wrong() {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = setting("MAINSTAY_SEED").unwrap_or_else(|| fastrand::u64(..));
    let wanted = setting("MAINSTAY_KILLS").map_or(KILLS, |kills| kills.try_into().unwrap());
    eprintln!("MAINSTAY_SEED={seed}");
    let begun = Instant::now();
    let mut killer = Killer { random: fastrand::Rng::with_seed(seed), wanted, kills: 0 };
    let (mut joins, mut again) = (0, 0);
    while killer.kills < wanted {
        let mut story = Story::new();
        while story.masters.len() < JOINERS && killer.kills < wanted {
            again += story.join(&mut killer);
            joins += 1;
        }
        story.once_more();
    }
    let (kills, seconds) = (killer.kills, begun.elapsed().as_secs());
    eprintln!("{kills} kills in {joins} joins, {again} of them run again, in {seconds} s");
}

/// Who kills.
struct Killer {
    random: fastrand::Rng,
    wanted: usize,
    kills: usize,
}

/// One cluster.
struct Story {
    begun: Beginning,
    masters: Vec<Machine>,
}

impl Story {
    fn new() -> Self {
        let mut begun = Beginning::of(VERSION);
        begun.ticket = begun.coordinator.ticket_with(&["--uses", &JOINERS.to_string()]);
        Self { begun, masters: Vec::new() }
    }

    /// One more machine joins while the coordinator is killed; how often its command was run again.
    fn join(&mut self, killer: &mut Killer) -> usize {
        let name = format!("master{}", self.masters.len() + 1);
        self.masters.push(self.begun.machine(&name, VERSION));
        let mut joining = Joining::of(self.masters.last().unwrap(), &self.begun.ticket);
        let most = killer.random.usize(1..=KILLS_A_JOIN).min(killer.wanted - killer.kills);
        for _ in 0..most {
            let moment = Instant::now() + Duration::from_millis(killer.random.u64(..PAUSE_MS));
            while Instant::now() < moment && !joining.is_done() {
                std::thread::sleep(LOOK);
            }
            if joining.is_done() {
                break;
            }
            self.begun.coordinator.kill();
            killer.kills += 1;
            sound(&self.begun.coordinator);
            self.begun.coordinator.run();
            self.nobody_wrong();
        }
        within_long("the join ends", || {
            self.nobody_wrong();
            joining.is_done().then_some(()).ok_or_else(|| joining.running.said())
        });
        let again = joining.again;
        self.nothing_left();
        again
    }

    /// Names of the machines that are in rotation.
    fn in_rotation(&self) -> Option<BTreeSet<String>> {
        let status = self.begun.coordinator.try_status()?;
        let up = status.backends.into_iter().filter(|it| it.state == BackendState::Up);
        Some(up.map(|it| it.name).collect())
    }

    /// Names of the machines of which something is true.
    fn machines(&self, is: impl Fn(&Machine) -> bool) -> BTreeSet<String> {
        let all = self.masters.iter().chain([&self.begun.first]);
        all.filter(|machine| is(machine)).map(|machine| machine.name.clone()).collect()
    }

    /// Names of the machines that run an apiserver.
    fn masters(&self) -> BTreeSet<String> {
        self.machines(Machine::is_master)
    }

    /// Nobody is in rotation who is no master, or was none until just now.
    fn nobody_wrong(&self) {
        let Some(up) = self.in_rotation() else { return };
        let served = self.machines(|machine| machine.served_within(SEEN_GONE));
        assert!(up.is_subset(&served), "{up:?} in rotation, {served:?} ran");
    }

    /// After the end of a join: all masters are in rotation, no turn is held, nothing is left.
    fn nothing_left(&self) {
        let coordinator = &self.begun.coordinator;
        let used = self.masters.len();
        within_long("the join leaves nothing", || {
            let (up, masters) = (self.in_rotation(), self.masters());
            if up.as_ref() != Some(&masters) || masters.len() != used + 1 {
                return Err(format!("{up:?} in rotation, {masters:?} run"));
            }
            let told = coordinator.try_status().and_then(|status| status.coordinator);
            let joins = told.map(|told| told.joins);
            if joins.as_ref().is_none_or(|joins| !joins.is_empty()) {
                return Err(format!("joins: {joins:?}"));
            }
            let turns = &kept(coordinator)["turns"];
            if !turns["current"].is_null() || turns["revocations"] != serde_json::json!([]) {
                return Err(format!("turns on disk: {turns}"));
            }
            let left = self.credentials();
            left.is_empty().then_some(()).ok_or_else(|| format!("credentials: {left:?}"))
        });
        let id = self.begun.ticket_id();
        let ticket = &kept(coordinator)["tickets"][id];
        assert_eq!(ticket["used"], used, "{ticket}");
        assert_eq!(ticket["uses_left"], JOINERS - used, "{ticket}");
        let members = kept(coordinator)["members"].as_array().unwrap().len();
        assert_eq!(members, used + 1, "members on disk");
        sound(coordinator);
    }

    /// Names of the credentials in the cluster.
    fn credentials(&self) -> Vec<String> {
        let store = self.begun.etcd.store.lock();
        let secrets = store.objects.values().filter(|object| object["kind"] == "Secret");
        let names = secrets.map(|secret| secret["metadata"]["name"].as_str().unwrap().to_owned());
        let ours = |name: &String| name == "kubeadm-certs" || name.starts_with("bootstrap-token-");
        names.filter(ours).collect()
    }

    /// A last restart finds the same.
    fn once_more(&self) {
        self.begun.coordinator.kill();
        sound(&self.begun.coordinator);
        self.begun.coordinator.run();
        self.nothing_left();
    }
}

/// `mainstay join` on a machine, run again as often as it fails.
struct Joining<'a> {
    machine: &'a Machine,
    ticket: &'a [String],
    running: Running,
    again: usize,
    done: bool,
}

impl<'a> Joining<'a> {
    fn of(machine: &'a Machine, ticket: &'a [String]) -> Self {
        let running = machine.start("join", ticket);
        Self { machine, ticket, running, again: 0, done: false }
    }

    /// Whether the machine has joined.
    fn is_done(&mut self) -> bool {
        if self.done {
            return true;
        }
        let Some(status) = self.running.ended() else { return false };
        if status.success() {
            self.done = true;
            return true;
        }
        // A kubeadm to which the balancer did not answer has failed, as the real one would.
        let said = self.running.said();
        let expected = matches!(status.code(), Some(1 | 69 | 75));
        assert!(expected, "{}: {status}\n{said}", self.machine.name);
        let mut flags = self.ticket.to_vec();
        if said.contains("again with --reset") {
            flags.push("--reset".to_owned());
        }
        self.again += 1;
        self.running = self.machine.start("join", &flags);
        false
    }
}

/// Every file of the state is whole, and no start has found it otherwise.
fn sound(coordinator: &Coordinator) {
    for entry in fs::read_dir(coordinator.state_dir()).unwrap() {
        let path = entry.unwrap().path();
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        assert_ne!(end, "damaged", "{}", path.display());
        if end == "json" {
            let content = fs::read(&path).unwrap();
            let read = serde_json::from_slice::<Value>(&content);
            assert!(read.is_ok(), "{}: {read:?}", path.display());
        }
    }
    let said = coordinator.said();
    assert!(!said.contains("damaged") && !said.contains("panicked"), "{said}");
}

/// Waits until `look` finds no fault.
pub(crate) fn within_long(what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(fault) = look() {
        assert!(begun.elapsed() < LONG, "not within {LONG:?}: {what}: {fault}");
        std::thread::sleep(10 * LOOK);
    }
}

//! The story as it goes wrong: commands, agents and coordinators that die at any point.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::machine::Machine;
use crate::story::Beginning;
use crate::support::command::{MAINSTAY, run};
use crate::support::disk::Disk;
use crate::support::until;

const VERSION: &str = "v1.20.2";

/// Points of a join, in order, and whether kubeadm has left files at them. From `kubelet-start` on
/// every file is there.
const POINTS: [(&str, bool); 6] = [
    ("preflight", false),
    ("download-certs", false),
    ("control-plane", true),
    ("kubelet-start", true),
    ("etcd", true),
    ("end", true),
];

pub(crate) fn reset() -> Vec<String> {
    vec!["--reset".to_owned()]
}

/// kubeadm fails at this point; what the command said.
pub(crate) fn fails_at(machine: &Machine, verb: &str, flags: &[String], point: &str) -> String {
    machine.wish(&format!("fail {point}"));
    let (status, said) = machine.start(verb, flags).end();
    assert_eq!(status.code(), Some(1), "{point}: {said}");
    machine.wish("");
    said
}

/// What a kubeadm that failed has left is never taken for a master.
pub(crate) fn refused_without_reset(machine: &Machine, verb: &str) {
    let runs = machine.told().lines().count();
    let (status, said) = machine.start(verb, &[]).end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("half-way") && said.contains("--reset"), "{said}");
    assert_eq!(machine.told().lines().count(), runs, "kubeadm ran");
}

#[test]
fn kubeadm_fails_at_each_point_of_a_join_and_a_rerun_goes_on() {
    let begun = Beginning::of(VERSION);
    let mut masters = Vec::new();
    for (number, (point, files)) in POINTS.into_iter().enumerate() {
        let machine = begun.machine(&format!("master{}", number + 1), VERSION);
        let said = fails_at(&machine, "join", &begun.ticket, point);
        assert!(said.contains("kubeadm join ended with"), "{point}: {said}");
        begun.until_revoked();
        if files {
            refused_without_reset(&machine, "join");
        }
        let flags = if files { reset() } else { Vec::new() };
        machine.run("join", &flags);
        begun.coordinator.until_up(number + 2);
        begun.until_revoked();
        masters.push(machine);
    }
}

#[test]
fn kubeadm_fails_in_init_and_a_rerun_goes_on() {
    let coordinator = crate::balancer::Coordinator::start();
    let machine = Machine::new("master0", VERSION, &std::sync::Arc::default());
    machine.wish("fail certs");
    let (status, said) = machine.start("init", &coordinator.ticket()).end();
    assert_eq!(status.code(), Some(1), "{said}");
    init_fails_at(&machine, &[], "control-plane");
    machine.run("init", &reset());
    coordinator.until_up(1);
}

#[test]
fn an_init_that_failed_late_is_no_master() {
    for point in ["kubeconfig", "upload-config", "mark-control-plane", "end"] {
        let coordinator = crate::balancer::Coordinator::start();
        let machine = Machine::new("master0", VERSION, &std::sync::Arc::default());
        init_fails_at(&machine, &coordinator.ticket(), point);
    }
}

/// Every file is there by then, or two of the three; nothing of it makes a master.
fn init_fails_at(machine: &Machine, flags: &[String], point: &str) {
    machine.wish(&format!("fail {point}"));
    let (status, said) = machine.start("init", flags).end();
    assert_eq!(status.code(), Some(1), "{point}: {said}");
    assert!(said.contains("kubeadm init ended with"), "{point}: {said}");
    machine.wish("");
    refused_without_reset(machine, "init");
}

#[test]
fn a_joiner_that_is_stopped_frees_the_turn_and_leaves_nothing() {
    let begun = Beginning::of(VERSION);
    let (one, two) = (begun.machine("master1", VERSION), begun.machine("master2", VERSION));
    one.wish("hang download-certs");
    let stuck = one.start("join", &begun.ticket);
    one.until_at("download-certs");
    let waiting = two.start("join", &begun.ticket);
    waiting.until_said("master1");
    stuck.signal(Signal::TERM);
    let (status, said) = stuck.end();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("interrupted"), "{said}");
    assert!(!one.path("state/kubeadm-join.yaml").exists());
    let (status, said) = waiting.end();
    assert!(status.success(), "{said}");
    begun.coordinator.until_up(2);
    begun.until_revoked();
}

/// Nobody says that it is dead: its silence does, after 60 s.
#[test]
fn a_joiner_that_is_killed_loses_the_turn_and_its_credentials() {
    let begun = Beginning::of(VERSION);
    let (one, two) = (begun.machine("master1", VERSION), begun.machine("master2", VERSION));
    one.wish("hang download-certs");
    let killed = one.start("join", &begun.ticket);
    one.until_at("download-certs");
    let token = begun.token_for("master1");
    assert!(begun.etcd.secrets().contains(&token), "{token}");
    let mut waiting = two.start("join", &begun.ticket);
    waiting.until_said("master1 has the turn");
    killed.signal(Signal::KILL);
    one.kill_kubeadm();
    let silent = Instant::now();
    killed.end();
    assert!(one.path("state/kubeadm-join.yaml").exists(), "nobody could remove it");
    let status = loop {
        if let Some(status) = waiting.ended() {
            break status;
        }
        assert!(silent.elapsed() < Duration::from_secs(120), "{}", waiting.said());
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(status.success(), "{}", waiting.said());
    assert!(silent.elapsed() > Duration::from_secs(35), "it asks every 20 s and has 60");
    begun.coordinator.until_up(2);
    begun.until_revoked();
    let log = begun.coordinator.said();
    let lines: Vec<_> =
        log.lines().filter(|line| line.contains("it was not heard for 60s")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("join_failed") && lines[0].contains("master1"), "{}", lines[0]);
    let events = begun.coordinator.events();
    assert!(events.contains("it was not heard for 60s"), "{events}");

    // The machine is repaired and joins; what the killed one has left is gone.
    one.wish("");
    one.run("join", &[]);
    assert!(!one.path("state/kubeadm-join.yaml").exists());
    begun.coordinator.until_up(3);
    begun.until_revoked();
}

#[test]
fn a_rerun_waits_for_a_kubeadm_whose_parent_was_killed() {
    let begun = Beginning::of(VERSION);
    let machine = begun.machine("master1", VERSION);
    machine.wish("hang end");
    let killed = machine.start("join", &begun.ticket);
    machine.until_at("end");
    killed.signal(Signal::KILL);
    killed.end();
    let (status, said) = machine.start("join", &[]).end();
    assert_eq!(status.code(), Some(75), "{said}");
    assert!(said.contains("kubeadm that one has started"), "{said}");
    // kubeadm ends well; its end was not seen, and everything is there.
    machine.wish("");
    until("kubeadm ends", || {
        let again = machine.start("join", &[]);
        let (status, _) = again.end();
        status.success()
    });
    assert_eq!(machine.told().matches("join --config").count(), 1);
    begun.coordinator.until_up(2);
}

#[test]
fn the_coordinator_dies_while_a_machine_joins() {
    let begun = Beginning::of(VERSION);
    let mut masters = Vec::new();
    for (number, (point, _)) in POINTS.into_iter().enumerate() {
        let machine = begun.machine(&format!("master{}", number + 1), VERSION);
        machine.wish(&format!("hang {point}"));
        let joining = machine.start("join", &begun.ticket);
        machine.until_at(point);
        begun.coordinator.kill();
        begun.coordinator.run();
        begun.coordinator.until_answers();
        machine.wish("");
        let (status, said) = joining.end();
        assert!(status.success(), "{point}: {said}");
        begun.coordinator.until_up(number + 2);
        masters.push(machine);
    }
    begun.until_revoked();
}

#[test]
fn the_agent_dies_while_it_makes_credentials() {
    let mut begun = Beginning::of(VERSION);
    let machine = begun.machine("master1", VERSION);
    // The upload is there, the token is not: the answer to the second Secret never comes.
    *begun.etcd.stuck.lock() = Some("POST /apis/rbac".to_owned());
    let joining = machine.start("join", &begun.ticket);
    begun.agent.until_said("making credentials");
    until("the upload has begun", || !begun.etcd.secrets().is_empty());
    begun.agent.signal(Signal::KILL);
    *begun.etcd.stuck.lock() = None;
    begun.agent = begun.first.start("agent", &[]);
    // The coordinator asks again after 45 s, which is longer than a test waits for anything else.
    let begin = std::time::Instant::now();
    while !joining.said().contains("This machine is a master now") {
        assert!(begin.elapsed().as_secs() < 90, "{}", joining.said());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    begun.coordinator.until_up(2);
}

#[test]
fn a_coordinator_that_lost_its_state_is_registered_with_again() {
    let begun = Beginning::of(VERSION);
    begun.coordinator.kill();
    std::fs::remove_dir_all(begun.coordinator.state_dir()).unwrap();
    begun.coordinator.run();
    // A ticket of another CA does no harm to who is registered.
    let before = std::fs::read(begun.first.path("state/identity.json")).unwrap();
    let mut wrong = begun.coordinator.ticket();
    let pin = wrong.iter().position(|it| it == "--ca-cert-hash").unwrap() + 1;
    wrong[pin] = format!("sha256:{}", "ab".repeat(32));
    let (status, said) = begun.first.start("register", &wrong).end();
    assert_eq!(status.code(), Some(77), "{said}");
    let seats = |text: &[u8]| {
        let identity: serde_json::Value = serde_json::from_slice(text).unwrap();
        identity["coordinators"].clone()
    };
    let after = std::fs::read(begun.first.path("state/identity.json")).unwrap();
    assert_eq!(seats(&before), seats(&after));
    // The agent has seen by now that nothing but a ticket helps, and waits for one.
    begun.agent.until_said("cannot be verified");
    // The right one brings the master back into rotation, and its agent to the coordinator.
    let said = begun.first.run("register", &begun.coordinator.ticket());
    assert!(said.contains("Registered with"), "{said}");
    begun.coordinator.until_up(1);
    begun.machine("master1", VERSION).run("join", &begun.coordinator.ticket());
    begun.coordinator.until_up(2);
}

#[test]
fn a_ticket_that_is_wrong_is_refused() {
    let begun = Beginning::of(VERSION);
    let machine = begun.machine("master1", VERSION);
    let mut ticket = begun.ticket.clone();
    let token = ticket.iter().position(|it| it == "--token").unwrap() + 1;
    "abcdef.0123456789abcdef".clone_into(&mut ticket[token]);
    let (status, said) = machine.start("join", &ticket).end();
    assert_eq!(status.code(), Some(77), "{said}");
    assert!(said.contains("ticket") && !said.contains("0123456789abcdef"), "{said}");

    let mut ticket = begun.ticket.clone();
    let pin = ticket.iter().position(|it| it == "--ca-cert-hash").unwrap() + 1;
    ticket[pin] = format!("sha256:{}", "ab".repeat(32));
    let (status, said) = machine.start("join", &ticket).end();
    assert_eq!(status.code(), Some(77), "{said}");
    assert!(said.contains("not the coordinator of the ticket"), "{said}");

    // A second first master.
    let (status, said) = machine.start("init", &begun.ticket).end();
    assert_eq!(status.code(), Some(77), "{said}");
    assert_eq!(machine.told(), "", "kubeadm never ran");
}

/// The coordinator has registered the machine and died before it said so: the use of the ticket is
/// spent, and the machine does not know.
#[test]
fn a_ticket_for_one_is_enough_though_the_answer_is_lost() {
    let begun = Beginning::of(VERSION);
    let machine = begun.machine("master1", VERSION);
    let ticket = begun.coordinator.ticket_with(&["--uses", "1"]);
    machine.run("register", &ticket);
    let path = machine.path("state/identity.json");
    let mut identity: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(!identity["coordinators"][0]["seat"].is_null());
    identity["coordinators"][0]["seat"] = Value::Null;
    crate::authority::write(&path, &identity.to_string());
    machine.run("register", &ticket);
    // For another machine it is used up.
    let other = begun.machine("master2", VERSION);
    let (status, said) = other.start("register", &ticket).end();
    assert_eq!(status.code(), Some(77), "{said}");
    assert!(said.contains("the ticket is not valid"), "{said}");
}

#[test]
fn secrets_come_from_a_file_too() {
    let begun = Beginning::of(VERSION);
    let machine = begun.machine("master1", VERSION);
    let mut ticket: Vec<_> = begun.ticket.to_vec();
    let token = ticket.iter().position(|it| it == "--token").unwrap();
    let file = machine.path("token");
    crate::authority::write(&file, &format!("{}\n", ticket[token + 1]));
    ticket.splice(token..token + 2, ["--token-file".to_owned(), file.display().to_string()]);
    machine.run("join", &ticket);
    // Nothing on a command line of `mainstay` asks for more than the ticket.
    let mut command = std::process::Command::new(MAINSTAY);
    command.args(["join", "127.0.0.1:1"]);
    assert_eq!(run(command).code, Some(64));
}

#[test]
fn what_a_full_disk_cannot_keep_never_happened() {
    let coordinator = crate::balancer::Coordinator::start();
    let Some(disk) = Disk::over(&coordinator.state_dir(), "64k") else { return };
    coordinator.ticket();
    let tickets = || {
        let listed = coordinator.ticket_command("list", &["-o", "json"]).out;
        serde_json::from_str::<Vec<serde_json::Value>>(&listed).unwrap().len()
    };
    disk.fill();
    let refused = coordinator.ticket_command("create", &[]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.err.contains("cannot write its state"), "{refused:?}");
    assert_eq!(tickets(), 1);
    disk.clear();
    coordinator.ticket();
    assert_eq!(tickets(), 2);
}

#[test]
fn a_damaged_registry_makes_no_wrong_member() {
    let begun = Beginning::of(VERSION);
    let second = begun.machine("master1", VERSION);
    second.run("join", &begun.ticket);
    let coordinator = &begun.coordinator;
    coordinator.until_up(2);
    let known = coordinator.addrs();
    let file = |name: &str| coordinator.state_dir().join(name);
    let damage = |name: &str| std::fs::write(file(name), b"\xff{]rubbish\0").unwrap();
    let restarted_with = |damaged: &[&str]| {
        coordinator.kill();
        damaged.iter().for_each(|name| damage(name));
        coordinator.run();
        let aside = |name: &&str| file(&format!("{name}.damaged")).exists();
        assert!(damaged.iter().all(aside), "{}", coordinator.said());
    };
    let (registry, members) = ("coordinator.json", "members.json");

    // While it runs nobody reads them, and the next change writes the registry anew.
    damage(registry);
    damage(members);
    coordinator.ticket();
    assert_eq!(std::fs::read(file(registry)).unwrap().first(), Some(&b'{'));
    coordinator.until_up(2);
    // Each makes good for the other.
    for damaged in [members, registry] {
        restarted_with(&[damaged]);
        coordinator.until_up(2);
        assert_eq!(coordinator.addrs(), known, "{damaged}");
        until("the members are kept", || {
            let kept = std::fs::read_to_string(file(members)).unwrap_or_default();
            known.iter().all(|addr| kept.contains(addr))
        });
    }
    restarted_with(&[members, registry]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(coordinator.addrs(), Vec::<String>::new(), "nobody is made up");
}

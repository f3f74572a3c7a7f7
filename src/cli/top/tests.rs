//! What `mainstay top` shows, compared with files under `tests/snapshots` (`UPDATE_SNAPSHOTS=1
//! cargo test` writes them anew), and what its keys do.

use std::path::PathBuf;
use std::time::Duration;

use common::Source;
use common::coordinator::{CertificateStatus, CoordinatorStatus, JoinStatus, RegisteredMember};
use common::drain::StopPhase;
use common::events::EventKind;
use common::status::{BackendState, BackendStatus, ConnectionStatus, KubernetesStatus, Status};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::model::{EVENTS_MAX, Input, Key, Model, Todo, Verb};
use super::screen;

fn backend(number: u16, state: BackendState, connections: u64, why: &str) -> BackendStatus {
    BackendStatus {
        name: format!("master-{number}"),
        addr: format!("10.0.0.1{number}:6443"),
        source: Source::Static,
        state,
        why: why.into(),
        connections,
        connections_total: 100 + connections,
        dial_failures_total: 0,
        received_bytes: 1 << 20,
        sent_bytes: 1 << 16,
        age_seconds: 3700,
        answer_us: Some(2345),
    }
}

fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        commit: "abc".into(),
        pid: 7,
        uptime_seconds: 3700,
        phase: StopPhase::Serving,
        ready: true,
        listen: vec!["[::]:6443".into()],
        listening: true,
        generation: 1,
        connections: ConnectionStatus {
            open: 9,
            limit: 100,
            accepted_total: 90,
            ..Default::default()
        },
        backends: (0..3)
            .map(|n| backend(n, BackendState::Up, 3, "it answered that it is ready"))
            .collect(),
        kubernetes: KubernetesStatus::default(),
        coordinator: None,
    }
}

fn event(id: u64, kind: EventKind, about: Option<&str>, text: &str) -> common::events::Event {
    let unix_ms = 1_795_626_723_000 + id * 1000;
    let about = about.map(str::to_owned);
    common::events::Event { id, unix_ms, kind, level: kind.level(), about, text: text.into() }
}

/// A model that heard of three masters for a while.
fn model() -> Model {
    let mut model = Model::default();
    for second in 0..8_u64 {
        let mut status = status();
        status.connections.accepted_total += 4 * second;
        for (row, grown) in status.backends.iter_mut().zip([1, 2, 0]) {
            row.connections += second * grown;
            row.connections_total += second * grown;
            row.received_bytes += second * grown * 2_000_000;
            row.sent_bytes += second * grown * 3000;
        }
        model.take(Input::Status(Box::new(status), Duration::from_secs(second)));
    }
    let text = "mainstay 0.1.0 starts";
    model.take(Input::Event(Box::new(event(1, EventKind::Started, None, text))));
    let text = "PENDING to UP: it answered that it is ready (2 good probes in a row)";
    model.take(Input::Event(Box::new(event(2, EventKind::BackendUp, Some("master-0"), text))));
    model
}

fn compare(name: &str, model: &Model, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(frame, model)).unwrap();
    let lines = terminal.backend().to_string();
    let lines = lines.lines().map(|line| line.trim_matches('"').trim_end());
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/snapshots", name].iter().collect();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{name} differs; UPDATE_SNAPSHOTS=1 if it is meant so:\n{text}");
    text
}

#[test]
fn all_serve() {
    let text = compare("top-up.txt", &model(), (140, 16));
    assert!(text.contains("3.8 MiB"), "2 MB a second, twice: {text}");
}

#[test]
fn a_narrow_terminal_shows_what_matters() {
    compare("top-narrow.txt", &model(), (80, 14));
}

#[test]
fn one_is_dead_one_drained_and_a_question_waits() {
    let mut model = model();
    let mut status = status();
    status.backends[1] =
        backend(1, BackendState::Dead, 0, "the connection was refused, reset or unreachable");
    status.backends[2] = backend(2, BackendState::Drain, 3, "the operator drains it");
    status.coordinator = Some(CoordinatorStatus {
        members: vec![RegisteredMember {
            name: "master-1".into(),
            addr: "10.0.0.11:6443".into(),
            life: "admitted".into(),
            heartbeat_seconds_ago: Some(45),
            missing: true,
        }],
        joins: vec![JoinStatus {
            name: "master-3".into(),
            step: "kubeadm runs".into(),
            seconds: 61,
            seconds_left: Some(500),
        }],
        tickets: Vec::new(),
        certificates: vec![CertificateStatus { name: "server".into(), seconds_left: 86_400 * 9 }],
        ..CoordinatorStatus::default()
    });
    model.take(Input::Status(Box::new(status), Duration::from_secs(9)));
    model.take(Input::Key(Key::Down));
    model.take(Input::Key(Key::Down));
    model.take(Input::Key(Key::Undrain));
    compare("top-down.txt", &model, (140, 16));
}

#[test]
fn nobody_is_there_and_then_the_balancer_is_not_either() {
    let mut model = Model::default();
    compare("top-waiting.txt", &model, (80, 10));
    let mut status = status();
    status.backends.clear();
    (status.ready, status.listening) = (false, false);
    model.take(Input::Status(Box::new(status), Duration::ZERO));
    model.take(Input::Lost("connection refused".into()));
    compare("top-empty.txt", &model, (80, 10));
    assert_eq!(model.take(Input::Key(Key::Drain)), Todo::Draw);
    assert_eq!(model.question, None, "there is nobody to drain");
}

#[test]
fn verbs_need_a_yes() {
    let mut model = model();
    model.take(Input::Key(Key::Down));
    for no in [Key::Other, Key::Leave, Key::Up, Key::Drain] {
        assert_eq!(model.take(Input::Key(Key::Drain)), Todo::Draw);
        assert_eq!(model.take(Input::Key(no)), Todo::Draw, "{no:?} is no yes");
        assert_eq!(model.question, None);
    }
    assert_eq!(model.take(Input::Key(Key::Yes)), Todo::Draw, "nothing was asked");
    model.take(Input::Key(Key::Drain));
    let verb = Verb { name: "drain", backend: "master-1".into() };
    assert_eq!(model.take(Input::Key(Key::Yes)), Todo::Do(verb));
    model.take(Input::Done("master-1 is DRAIN, 3 connections".into()));
    assert!(model.notice.is_some());
    assert_eq!(model.take(Input::Key(Key::Leave)), Todo::Quit);
}

#[test]
fn the_question_is_about_the_row_it_was_asked_for() {
    let mut model = model();
    model.take(Input::Key(Key::Drain));
    let mut status = status();
    status.backends.remove(0);
    model.take(Input::Status(Box::new(status), Duration::from_secs(9)));
    let verb = Verb { name: "drain", backend: "master-0".into() };
    assert_eq!(model.take(Input::Key(Key::Yes)), Todo::Do(verb));
}

#[test]
fn what_is_kept_is_bounded_and_heard_once() {
    let mut model = model();
    for id in 0..500 {
        model.take(Input::Event(Box::new(event(id + 3, EventKind::Reloaded, None, "again"))));
    }
    assert_eq!(model.events.len(), EVENTS_MAX);
    let newest = model.events.back().unwrap().clone();
    model.take(Input::Event(Box::new(newest)));
    assert_eq!(model.events.iter().filter(|event| event.id == 502).count(), 1);
    let mut other = status();
    other.pid = 8;
    model.take(Input::Status(Box::new(other), Duration::from_secs(20)));
    assert!(model.events.is_empty(), "another process has other decisions");
    assert_eq!(model.rate(|status| Some(status.connections.accepted_total)), None);
}

#[test]
fn hostile_text_stays_in_its_cell() {
    let mut model = model();
    let mut status = status();
    status.backends[0].name = "a\u{1b}[2Jb\r\nc".into();
    status.backends[0].why = "\u{7}".into();
    model.take(Input::Status(Box::new(status), Duration::from_secs(9)));
    let mut terminal = Terminal::new(TestBackend::new(140, 16)).unwrap();
    terminal.draw(|frame| screen::draw(frame, &model)).unwrap();
    let controls = terminal
        .backend()
        .buffer()
        .content
        .iter()
        .any(|cell| cell.symbol().contains(char::is_control));
    assert!(!controls);
}

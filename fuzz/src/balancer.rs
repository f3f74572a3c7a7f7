//! What clients and backends say to the balancer.

use std::io::Cursor;
use std::net::SocketAddr;

use common::Tasks;
use lb::client_hello::server_name;
use lb::clock::Millis;
use lb::health::judge::{HISTORY_MAX, RISE};
use lb::health::prober::ask_over;
use lb::health::{DrainedBy, HealthJudge, Outcome, Rank, State};
use tokio::io::{join, sink};
use tokio::runtime::{Builder, Runtime};

use crate::words::Words;

/// A name that is read from a first flight is one that the DNS could have, and stands in the flight.
pub(crate) fn client_hello(flight: &[u8]) {
    if let Some(name) = server_name(flight) {
        assert!(!name.is_empty() && name.len() <= 253 && name.is_ascii());
        assert!(flight.len() > 50 + name.len());
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

/// The bytes that an apiserver, or whoever is at its address, answers to a probe, until it closes.
pub(crate) fn probe_answer(answer: &[u8]) {
    let tasks = Tasks::new();
    let addr = SocketAddr::from(([192, 0, 2, 1], 6443));
    let asked = async {
        let stream = join(Cursor::new(answer.to_vec()), sink());
        let outcome = ask_over(stream, addr, &tasks).await.map(|(outcome, _)| outcome);
        tasks.stop();
        tasks.finished().await;
        outcome
    };
    let outcome = RUNTIME.with(|runtime| runtime.block_on(asked));
    if let Some(outcome) = outcome {
        assert!(matches!(outcome, Outcome::Ready | Outcome::Alive | Outcome::NotReady));
        assert!(answer.windows(5).any(|bytes| bytes == b"HTTP/"));
    }
}

/// How many outcomes a probe has.
const OUTCOMES: u8 = Outcome::ALL.len() as u8;

/// Probes and the operator's verbs, two bytes and a pause each.
pub(crate) fn health_judge(events: &[u8]) {
    let mut words = Words(events);
    let mut judge = HealthJudge::new(Millis(0));
    let (mut now, mut ever_up) = (Millis(0), false);
    while let (Some(kind), Some(outcome), Some(pause)) =
        (words.below(16), words.below(OUTCOMES), words.long())
    {
        now = Millis(now.0 + pause);
        let before = judge.state();
        let transition = match kind {
            0 => judge.drain(DrainedBy::Operator, true, now),
            1 => judge.drain(DrainedBy::Operator, false, now),
            _ => judge.observe(Outcome::ALL[usize::from(outcome)], now, kind % 2 == 0),
        };
        let state = judge.state();
        let moved = transition.map(|transition| (transition.from, transition.to));
        assert_eq!(moved, (before != state).then_some((before, state)));
        assert!(judge.history().count() <= HISTORY_MAX);
        assert!(!state.cuts() || judge.rank() == Rank::Never);
        assert!(!judge.drained() || judge.rank() == Rank::Never);
        ever_up |= matches!(state, State::Up) || (judge.drained() && state == State::Drain);
        assert!(ever_up || matches!(state, State::Pending | State::Dead));
        // As another process inherits it.
        let text = serde_json::to_string(&judge).unwrap();
        assert_eq!(serde_json::from_str::<HealthJudge>(&text).unwrap(), judge);
    }
    judge.drain(DrainedBy::Operator, false, now);
    for _ in 0..RISE {
        now = Millis(now.0 + 500);
        judge.observe(Outcome::Ready, now, false);
    }
    assert_eq!((judge.state(), judge.rank()), (State::Up, Rank::Usual));
}

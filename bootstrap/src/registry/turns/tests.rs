//! Turns, event by event, without clocks or sockets.

use super::saved::SavedStage;
use super::*;
use proptest::prelude::*;

const KEY: &str = "key";

fn wish(key: &str) -> JoinRequest {
    JoinRequest { sealing_key: key.into(), turn_only: false, seen: None }
}

/// For a joiner that gets its credentials from another coordinator.
fn turn_only() -> JoinRequest {
    JoinRequest { turn_only: true, ..wish(KEY) }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn made(token_id: &str) -> Made {
    Made { token_id: token_id.into(), owner_id: "owner0".into(), certs_uid: None }
}

fn issued(id: u64, token_id: &str) -> WorkResult {
    WorkResult { id, result: WorkOutcome::Issued { sealed: "sealed".into(), made: made(token_id) } }
}

fn failed(id: u64) -> WorkResult {
    WorkResult { id, result: WorkOutcome::Failed { reason: "no".into(), wait: false } }
}

fn must_wait(id: u64) -> WorkResult {
    WorkResult { id, result: WorkOutcome::Failed { reason: "not yet".into(), wait: true } }
}

const DONE: JoinOutcome = JoinOutcome { joined: true, reason: String::new() };

/// Turns in which `b` holds credentials.
fn ready() -> JoinTurns {
    let mut turns = JoinTurns::default();
    assert_eq!(turns.ask("b", &wish(KEY), at(0), 0).phase, JoinPhase::Issuing);
    let work = turns.work_for("a", at(0)).unwrap();
    turns.result("a", issued(work.id, "tokenb"), at(1), 1);
    assert_eq!(turns.ask("b", &wish(KEY), at(1), 1).phase, JoinPhase::Ready);
    turns
}

#[test]
fn a_join_from_begin_to_end() {
    let mut turns = ready();
    let answer = turns.ask("b", &wish(KEY), at(2), 2);
    assert_eq!(answer.credentials.as_deref(), Some("sealed"));
    assert!(turns.outcome("b", &DONE, at(30), 30));
    assert_eq!(turns.ask("b", &wish(KEY), at(31), 31).phase, JoinPhase::Settling);
    turns.is_up("b", at(35), 35);
    assert_eq!(turns.ask("b", &wish(KEY), at(36), 36).phase, JoinPhase::Joined);
    let revoke = turns.work_for("a", at(36)).unwrap();
    assert_eq!(revoke.task, Task::Revoke { made: made("tokenb") });
    turns.result("a", WorkResult { id: revoke.id, result: WorkOutcome::Revoked }, at(37), 37);
    assert!(turns.revocations().is_empty() && turns.work_for("a", at(999)).is_none());
}

#[test]
fn one_at_a_time_in_order() {
    let mut turns = ready();
    assert_eq!(turns.ask("c", &wish(KEY), at(2), 2).position, 1);
    let third = turns.ask("d", &wish(KEY), at(2), 2);
    assert_eq!((third.phase, third.position), (JoinPhase::Queued, 2));
    assert!(third.message.contains("b has the turn"));
    turns.outcome("b", &JoinOutcome { joined: false, reason: "disk".into() }, at(3), 3);
    assert_eq!(turns.holder().unwrap().0, "c");
    let answer = turns.ask("b", &wish(KEY), at(4), 4);
    assert_eq!((answer.phase, answer.message.as_str()), (JoinPhase::Failed, "disk"));
    let again = turns.ask("b", &wish(KEY), at(5), 5);
    assert_eq!((again.phase, again.position), (JoinPhase::Queued, 2), "behind d");
}

#[test]
fn a_turn_may_be_held_without_credentials() {
    let mut turns = JoinTurns::default();
    let held = turns.ask("b", &turn_only(), at(0), 0);
    assert_eq!((held.phase, held.credentials), (JoinPhase::Ready, None));
    assert!(turns.work_for("a", at(0)).is_none(), "nobody makes credentials");
    assert_eq!(turns.ask("c", &wish(KEY), at(1), 1).phase, JoinPhase::Queued);
    let mut turns = JoinTurns::restored(turns.saved(), 5_000);
    assert_eq!(turns.ask("b", &turn_only(), at(1), 1).phase, JoinPhase::Ready);
    assert!(turns.outcome("b", &DONE, at(2), 2));
    let settling = JoinTurns::restored(turns.saved(), 6_000);
    assert_eq!(settling.holder().unwrap().1, JoinPhase::Settling);
    turns.is_up("b", at(3), 3);
    assert_eq!(turns.ask("b", &turn_only(), at(3), 3).phase, JoinPhase::Joined);
    assert!(turns.revocations().is_empty());
}

#[test]
fn who_holds_a_turn_may_still_want_credentials() {
    let mut turns = JoinTurns::default();
    turns.ask("b", &turn_only(), at(0), 0);
    assert_eq!(turns.ask("b", &wish(KEY), at(1), 1).phase, JoinPhase::Issuing);
    let work = turns.work_for("a", at(1)).unwrap();
    turns.result("a", issued(work.id, "tokenb"), at(2), 2);
    // Only the turn again: what is there stays.
    let answer = turns.ask("b", &turn_only(), at(3), 3);
    assert_eq!(answer.credentials.as_deref(), Some("sealed"));
    // With another key it is of no use.
    let other = JoinRequest { turn_only: true, ..wish("other key") };
    assert!(turns.ask("b", &other, at(4), 4).credentials.is_none());
    assert_eq!(turns.revocations().len(), 1);
    // Who holds it and falls silent loses it too.
    turns.ask("c", &wish(KEY), at(50), 50);
    turns.advance(at(64), 64);
    assert_eq!(turns.holder().unwrap().0, "c");
}

#[test]
fn whoever_falls_silent_loses_the_turn_and_the_credentials() {
    let mut turns = ready();
    turns.ask("c", &wish(KEY), at(30), 30);
    turns.advance(at(60), 60);
    assert_eq!(turns.holder().unwrap().0, "b");
    turns.ask("c", &wish(KEY), at(61), 61);
    assert_eq!(turns.holder().unwrap().0, "c");
    assert_eq!(turns.revocations().len(), 1);
    // The one that waits is forgotten too if it falls silent.
    turns.ask("d", &wish(KEY), at(62), 62);
    turns.ask("c", &wish(KEY), at(110), 110);
    turns.advance(at(122), 122);
    assert_eq!(turns.waiting().count(), 0);
}

#[test]
fn a_settling_join_needs_the_joiner_no_more_but_has_an_end() {
    let mut turns = ready();
    turns.outcome("b", &DONE, at(10), 10);
    turns.advance(at(10) + SETTLE_MAX - at(1), 400);
    assert!(turns.holder().is_some());
    turns.advance(at(10) + SETTLE_MAX, 400);
    assert!(turns.holder().is_none());
    assert!(matches!(turns.take_events().last(), Some(TurnEvent::Ended { joined: false, .. })));
}

#[test]
fn an_agent_that_dies_is_replaced_and_its_late_answer_is_taken_back() {
    let mut turns = JoinTurns::default();
    turns.ask("b", &wish(KEY), at(0), 0);
    let first = turns.work_for("a", at(0)).unwrap();
    assert!(turns.work_for("c", at(44)).is_none(), "a still has time");
    assert!(turns.work_for("b", at(45)).is_none(), "the joiner makes none for itself");
    turns.ask("b", &wish(KEY), at(45), 45);
    let second = turns.work_for("c", at(45)).unwrap();
    turns.result("c", issued(second.id, "tokenc"), at(46), 46);
    turns.result("a", issued(first.id, "tokena"), at(47), 47);
    assert_eq!(turns.revocations()[0].made.token_id, "tokena");
    assert!(turns.ask("b", &wish(KEY), at(48), 48).message.contains("by c"));
}

#[test]
fn three_failures_end_the_join_with_the_reason() {
    let mut turns = JoinTurns::default();
    turns.ask("b", &wish(KEY), at(0), 0);
    for attempt in 0..u64::from(ISSUE_TRIES) {
        let now = at(6 * attempt);
        let work = turns.work_for("a", now).unwrap();
        turns.result("a", failed(work.id), now, 0);
        assert!(turns.work_for("a", now + at(4)).is_none(), "a pause");
    }
    let answer = turns.ask("b", &wish(KEY), at(20), 20);
    assert_eq!(answer.phase, JoinPhase::Failed);
    assert_eq!(answer.message, "no master made credentials; a: no");
}

#[test]
fn an_attempt_that_must_wait_does_not_count_for_a_while() {
    let mut turns = JoinTurns::default();
    turns.ask("b", &wish(KEY), at(0), 0);
    let mut attempt = |second: u64, wait: bool| {
        let work = turns.work_for("a", at(second)).unwrap();
        let message = turns.peek("b", at(second)).message;
        let result = if wait { must_wait(work.id) } else { failed(work.id) };
        turns.result("a", result, at(second), second);
        let answer = turns.ask("b", &wish(KEY), at(second), second);
        (message, answer.message, answer.phase)
    };
    let waits = "a waits with the credentials: not yet";
    assert_eq!(attempt(0, true).1, waits);
    // A look whether the wait is over is no news.
    assert_eq!(attempt(5, true).0, waits);
    // What fails otherwise counts, and the wait begins anew.
    assert_eq!(attempt(10, false).1, "a could not make credentials: no");
    for second in (15..105).step_by(5) {
        assert_eq!(attempt(second, true).1, waits, "{second}");
    }
    let (_, message, phase) = attempt(105, true);
    assert_eq!(phase, JoinPhase::Failed);
    assert_eq!(message, "no master made credentials; a: not yet");
}

#[test]
fn without_an_agent_it_fails_and_says_what_is_missing() {
    let mut turns = JoinTurns::default();
    for second in [0, 50, 100, 119] {
        assert_eq!(turns.ask("b", &wish(KEY), at(second), second).phase, JoinPhase::Issuing);
    }
    let answer = turns.ask("b", &wish(KEY), at(120), 120);
    assert_eq!(answer.phase, JoinPhase::Failed);
    assert!(answer.message.contains("mainstay agent"), "{}", answer.message);
}

#[test]
fn strangers_make_no_credentials() {
    let mut turns = JoinTurns::default();
    turns.ask("b", &wish(KEY), at(0), 0);
    let work = turns.work_for("a", at(0)).unwrap();
    turns.result("x", issued(work.id, "evil00"), at(1), 1);
    turns.result("a", issued(work.id + 1, "late00"), at(1), 1);
    assert_eq!(turns.ask("b", &wish(KEY), at(2), 2).phase, JoinPhase::Issuing);
}

#[test]
fn a_joiner_with_a_new_key_gets_new_credentials() {
    let mut turns = ready();
    assert_eq!(turns.ask("b", &wish("other key"), at(5), 5).phase, JoinPhase::Issuing);
    assert_eq!(turns.revocations().len(), 1);
    let work = turns.work_for("a", at(5)).unwrap();
    assert!(matches!(work.task, Task::Issue { sealing_key, .. } if sealing_key == "other key"));
}

#[test]
fn a_restart_loses_nothing() {
    let mut turns = ready();
    let saved = serde_json::to_string(&turns.saved()).unwrap();
    let mut again = JoinTurns::restored(serde_json::from_str(&saved).unwrap(), 5_000);
    let answer = again.ask("b", &wish(KEY), at(1), 5_001);
    assert_eq!((answer.phase, answer.credentials.as_deref()), (JoinPhase::Ready, Some("sealed")));
    turns.outcome("b", &DONE, at(2), 2);
    let mut again = JoinTurns::restored(turns.saved(), 5_000);
    again.is_up("b", at(3), 5_003);
    assert_eq!(again.revocations().len(), 1);
    // What an agent of the earlier run answers now belongs to nothing and is taken back.
    let mut turns = JoinTurns::default();
    turns.ask("b", &wish(KEY), at(0), 0);
    let work = turns.work_for("a", at(0)).unwrap();
    let mut again = JoinTurns::restored(turns.saved(), 5_000);
    again.work_for("a", at(0)).unwrap();
    again.result("a", issued(work.id, "lost00"), at(1), 5_001);
    assert_eq!(again.revocations()[0].made.token_id, "lost00");
    assert_eq!(again.ask("b", &wish(KEY), at(1), 5_001).phase, JoinPhase::Issuing);
}

#[test]
fn a_revocation_is_repeated_until_it_is_done_or_pointless() {
    let mut turns = ready();
    turns.gone("b", at(2), 2);
    assert!(turns.work_for("a", at(2)).is_some());
    assert!(turns.work_for("a", at(61)).is_none());
    let again = turns.work_for("a", at(62)).unwrap();
    turns.result("a", failed(again.id), at(63), 63);
    assert_eq!(turns.revocations().len(), 1);
    turns.advance(at(64), 2 + REVOKE_MAX_SECONDS);
    assert!(turns.revocations().is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u8, bool, bool),
    Outcome(u8, bool),
    Work(u8),
    Result(u8, bool),
    Up(u8),
    Gone(u8),
    Wait(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4, prop::bool::weighted(0.1), prop::bool::weighted(0.2))
            .prop_map(|(n, k, only)| Step::Ask(n, k, only)),
        2 => (0u8..4, any::<bool>()).prop_map(|(n, ok)| Step::Outcome(n, ok)),
        3 => (0u8..4).prop_map(Step::Work),
        3 => (0u8..4, prop::bool::weighted(0.8)).prop_map(|(n, ok)| Step::Result(n, ok)),
        2 => (0u8..4).prop_map(Step::Up),
        1 => (0u8..4).prop_map(Step::Gone),
        3 => (0u64..400).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// Whatever happens: one turn at most, and every credential that was ever made is either held
    /// by the one turn, waits to be taken back, or was taken back.
    #[test]
    fn no_credential_is_ever_forgotten(steps in prop::collection::vec(step(), 1..80)) {
        let name = |n: u8| format!("m{n}");
        let mut turns = JoinTurns::default();
        let (mut now, mut unix) = (at(0), 0u64);
        let mut works: Vec<(u8, Work)> = Vec::new();
        let (mut alive, mut count, mut runs) = (std::collections::BTreeSet::new(), 0u32, 0u64);
        for step in steps {
            match step {
                Step::Ask(n, other, turn_only) => {
                    let key = if other { "other" } else { KEY };
                    turns.ask(&name(n), &JoinRequest { turn_only, ..wish(key) }, now, unix);
                }
                Step::Outcome(n, joined) => {
                    turns.outcome(&name(n), &JoinOutcome { joined, reason: "r".into() }, now, unix);
                }
                Step::Work(n) => works.extend(turns.work_for(&name(n), now).map(|work| (n, work))),
                Step::Result(at, good) => {
                    let index = usize::from(at);
                    if index < works.len() {
                        let (agent, work) = works.remove(index);
                        let result = match (&work.task, good) {
                            (_, false) if index.is_multiple_of(2) => must_wait(work.id).result,
                            (_, false) => failed(work.id).result,
                            (Task::Issue { .. }, true) => {
                                count += 1;
                                let token = format!("t{count:05}");
                                alive.insert(token.clone());
                                WorkOutcome::Issued { sealed: "s".into(), made: made(&token) }
                            }
                            (Task::Revoke { made }, true) => {
                                alive.remove(&made.token_id);
                                WorkOutcome::Revoked
                            }
                        };
                        turns.result(&name(agent), WorkResult { id: work.id, result }, now, unix);
                    }
                }
                Step::Up(n) => turns.is_up(&name(n), now, unix),
                Step::Gone(n) => turns.gone(&name(n), now, unix),
                Step::Wait(seconds) => {
                    now += at(seconds);
                    unix += seconds;
                    turns.advance(now, unix);
                    if seconds > 0 && unix > REVOKE_MAX_SECONDS { break; }
                }
                Step::Restart => {
                    runs += 1;
                    turns = JoinTurns::restored(turns.saved(), runs << 32);
                    now = at(0);
                }
            }
            let saved = turns.saved();
            let held = match saved.current.map(|turn| turn.stage) {
                Some(SavedStage::Ready { made, .. } | SavedStage::Settling { made: Some(made) }) => {
                    Some(made.token_id)
                }
                _ => None,
            };
            for token in &alive {
                let kept = held.as_ref() == Some(token)
                    || saved.revocations.iter().any(|one| one.made.token_id == *token);
                prop_assert!(kept, "{token} is forgotten");
            }
            prop_assert!(turns.waiting().count() <= QUEUE_MAX);
            for agent in (0..4).map(name) {
                let given = turns.clone().work_for(&agent, now).is_some();
                prop_assert_eq!(turns.has_work_for(&agent, now), given);
            }
        }
    }
}

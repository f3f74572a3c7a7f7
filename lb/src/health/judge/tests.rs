//! Every state under every outcome, then random lists of outcomes against what must always hold.

use proptest::prelude::*;

use super::*;
use Outcome::*;
use State::*;

/// A judge in the state, reached by probes alone.
fn judge_in(state: State) -> HealthJudge {
    let mut judge = HealthJudge::new(Millis(0));
    let path: &[Outcome] = match state {
        Pending => &[],
        Up => &[Ready, Ready],
        Drain => &[Ready, Ready, NotReady],
        Suspect => &[Ready, Ready, Slow, Slow, Slow],
        Frozen => &[Ready, Ready, Silent, Silent],
        Dead => &[Ready, Ready, Refused, Refused],
    };
    for outcome in path {
        judge.observe(*outcome, Millis(0), false);
    }
    if state == Frozen {
        judge.observe(Silent, Millis(30_000), false);
    }
    assert_eq!(judge.state(), state);
    judge
}

/// The state after the outcome came `times` times in a row, half a second apart.
fn after(state: State, outcome: Outcome, times: u64) -> State {
    let mut judge = judge_in(state);
    let begun = if state == Frozen { 30_000 } else { 0 };
    for n in 0..times {
        judge.observe(outcome, Millis(begun + 500 * n), false);
    }
    judge.state()
}

#[test]
fn every_state_and_outcome_once() {
    let table: [(State, [State; 10]); 6] = [
        // Ready, Alive, Unidentified, NotReady, Outdated, Slow, Silent, Refused, ConnectTimeout, WrongIdentity
        (
            Pending,
            [Pending, Pending, Pending, Pending, Pending, Pending, Pending, Pending, Pending, Dead],
        ),
        (Up, [Up, Up, Up, Drain, Drain, Up, Up, Up, Up, Dead]),
        (Drain, [Drain, Drain, Drain, Drain, Drain, Drain, Drain, Drain, Drain, Dead]),
        (
            Suspect,
            [Suspect, Suspect, Suspect, Drain, Drain, Suspect, Suspect, Suspect, Suspect, Dead],
        ),
        (Frozen, [Frozen, Frozen, Frozen, Drain, Drain, Frozen, Frozen, Frozen, Frozen, Dead]),
        (Dead, [Dead, Dead, Dead, Drain, Drain, Dead, Dead, Dead, Dead, Dead]),
    ];
    for (state, row) in table {
        for (outcome, expected) in Outcome::ALL.into_iter().zip(row) {
            assert_eq!(after(state, outcome, 1), expected, "{state:?} {outcome:?}");
        }
    }
}

#[test]
fn every_state_and_outcome_for_long() {
    let table: [(State, [State; 10]); 6] = [
        (
            Pending,
            [Up, Pending, Pending, Pending, Pending, Pending, Pending, Pending, Pending, Dead],
        ),
        (Up, [Up, Up, Up, Drain, Drain, Suspect, Suspect, Dead, Dead, Dead]),
        (Drain, [Up, Drain, Drain, Drain, Drain, Suspect, Suspect, Drain, Dead, Dead]),
        (Suspect, [Up, Up, Suspect, Drain, Drain, Suspect, Suspect, Dead, Dead, Dead]),
        (Frozen, [Up, Frozen, Frozen, Drain, Drain, Frozen, Frozen, Dead, Dead, Dead]),
        (Dead, [Up, Dead, Dead, Drain, Drain, Dead, Dead, Dead, Dead, Dead]),
    ];
    for (state, row) in table {
        for (outcome, expected) in Outcome::ALL.into_iter().zip(row) {
            assert_eq!(after(state, outcome, 4), expected, "{state:?} {outcome:?}");
        }
    }
}

/// An apiserver that starts answers 403 to everybody for a while, and then tells whether it is ready.
#[test]
fn answers_that_may_not_tell_count_after_a_while_or_alone() {
    for state in [Pending, Drain, Frozen, Dead] {
        assert_eq!(after(state, Alive, 20), state, "{state:?}: 9.5 s");
        assert_eq!(after(state, Alive, 21), Up, "{state:?}: 10 s");
        let mut judge = judge_in(state);
        for _ in 0..5 {
            judge.observe(Alive, Millis(40_000), false);
        }
        judge.observe(NotReady, Millis(41_000), false);
        judge.observe(Alive, Millis(60_000), false);
        assert_ne!(judge.state(), Up, "{state:?}: it begins anew");
        judge.observe(Ready, Millis(60_500), false);
        assert_eq!(judge.state(), Up, "{state:?}: it tells");
        let mut judge = judge_in(state);
        judge.observe(Alive, Millis(40_000), true);
        assert_eq!(judge.state(), Up, "{state:?}: alone");
    }
}

/// While the cluster's CA is not known, one of them is let in, as the first master is.
#[test]
fn the_unidentified_serve_only_alone() {
    for state in [Pending, Dead] {
        let mut judge = judge_in(state);
        assert_eq!(judge.observe(Unidentified, Millis(40_000), false), None, "{state:?}");
        judge.observe(Unidentified, Millis(40_500), true);
        assert_eq!(judge.state(), Up, "{state:?}");
        judge.observe(Unidentified, Millis(41_000), false);
        assert_eq!(judge.state(), Up, "{state:?}");
    }
}

#[test]
fn silence_for_thirty_seconds_is_frozen_and_slowness_never_is() {
    assert_eq!(after(Up, Silent, 61), Frozen);
    assert_eq!(after(Up, Slow, 10_000), Suspect);
}

#[test]
fn the_silence_begins_with_the_last_answer() {
    let mut judge = judge_in(Up);
    for (at, expected) in [(9_000, Up), (11_500, Up), (29_900, Suspect), (30_000, Frozen)] {
        judge.observe(Silent, Millis(at), false);
        assert_eq!(judge.state(), expected, "{at}");
    }
}

#[test]
fn a_balancer_that_stood_still_freezes_nobody() {
    let mut judge = judge_in(Up);
    judge.observe(Silent, Millis(600_000), false);
    judge.observe(Silent, Millis(602_500), false);
    assert_eq!(judge.state(), Up);
    judge.observe(Ready, Millis(603_000), false);
    judge.observe(Silent, Millis(606_000), false);
    assert_eq!((judge.state(), judge.rank()), (Up, Rank::Usual));
}

#[test]
fn one_silent_probe_among_slow_ones_is_not_silence() {
    let mut judge = judge_in(Suspect);
    judge.observe(Silent, Millis(100), false);
    assert_eq!(judge.rank(), Rank::LastChoice);
    judge.observe(Silent, Millis(200), false);
    judge.observe(Silent, Millis(300), false);
    assert_eq!(judge.rank(), Rank::Never);
}

#[test]
fn a_drain_ends_seventy_seconds_after_the_port_closed() {
    let mut judge = judge_in(Drain);
    assert_eq!(judge.rank(), Rank::FailOpen);
    judge.observe(Refused, Millis(1_000), false);
    judge.observe(Refused, Millis(1_500), false);
    assert_eq!((judge.state(), judge.rank()), (Drain, Rank::Never));
    judge.observe(Refused, Millis(71_400), false);
    assert_eq!(judge.state(), Drain);
    judge.observe(Refused, Millis(71_500), false);
    assert_eq!(judge.state(), Dead);
}

#[test]
fn the_first_master_needs_one_tls_answer() {
    for (outcome, expected) in [
        (Ready, Up),
        (Alive, Up),
        (NotReady, Up),
        (Outdated, Up),
        (Slow, Up),
        (Silent, Pending),
        (Refused, Pending),
    ] {
        let mut judge = HealthJudge::new(Millis(0));
        judge.observe(outcome, Millis(1), true);
        assert_eq!(judge.state(), expected, "{outcome:?}");
    }
    let mut judge = judge_in(Dead);
    judge.observe(NotReady, Millis(30_000), true);
    assert_eq!(judge.state(), Drain, "a master that was ready before must say so again");
    judge.observe(Ready, Millis(30_500), true);
    assert_eq!(judge.state(), Up, "but once is enough while nobody serves");
}

#[test]
fn the_operator_drains_and_takes_it_back() {
    let mut judge = judge_in(Up);
    let transition = judge.drain(DrainedBy::Operator, true, Millis(5)).unwrap();
    assert_eq!((transition.from, transition.to), (Up, Drain));
    assert_eq!(judge.rank(), Rank::Never);
    judge.observe(Ready, Millis(6), false);
    assert_eq!(judge.state(), Drain, "good probes do not undo it");
    judge.observe(Refused, Millis(7), false);
    judge.observe(Refused, Millis(8), false);
    assert_eq!(judge.state(), Dead, "but a death is a death");
    judge.observe(Ready, Millis(9), false);
    judge.observe(Ready, Millis(10), false);
    assert_eq!(judge.state(), Drain, "and it is drained when it returns");
    judge.drain(DrainedBy::Operator, false, Millis(11));
    assert_eq!((judge.state(), judge.rank()), (Up, Rank::Usual));
}

#[test]
fn each_takes_back_only_its_own_drain() {
    let mut judge = judge_in(Up);
    judge.drain(DrainedBy::Operator, true, Millis(5)).unwrap();
    assert_eq!(judge.drain(DrainedBy::Machine, true, Millis(6)), None);
    assert_eq!(judge.drain(DrainedBy::Machine, false, Millis(7)), None);
    assert_eq!((judge.state(), judge.rank()), (Drain, Rank::Never), "the operator's stays");
    judge.drain(DrainedBy::Machine, true, Millis(8));
    assert_eq!(judge.drain(DrainedBy::Operator, false, Millis(9)), None);
    assert_eq!((judge.drained(), judge.rank()), (false, Rank::Never), "and so does the machine's");
    let text = serde_json::to_string(&judge).unwrap();
    let inherited: HealthJudge = serde_json::from_str(&text).unwrap();
    assert_eq!(inherited.rank(), Rank::Usual, "whoever takes over hears it from the machine");
    let back = judge.drain(DrainedBy::Machine, false, Millis(10)).unwrap();
    assert_eq!((back.from, back.to), (Drain, Up));
}

#[test]
fn a_transition_says_why() {
    let mut judge = judge_in(Up);
    judge.observe(Refused, Millis(100), false);
    let transition = judge.observe(Refused, Millis(600), false).unwrap();
    assert_eq!((transition.from, transition.to, transition.at), (Up, Dead, Millis(600)));
    assert_eq!(transition.threshold, "2 refused probes in a row");
    assert!(transition.signal.contains("refused"));
}

fn outcomes() -> impl Strategy<Value = Vec<(Outcome, u64, bool)>> {
    let outcome = prop::sample::select(Outcome::ALL.to_vec());
    prop::collection::vec((outcome, 100u64..4_000, any::<bool>()), 1..300)
}

proptest! {
    #[test]
    fn what_must_always_hold(steps in outcomes()) {
        let mut judge = HealthJudge::new(Millis(0));
        let mut now = Millis(0);
        let mut ever_up = false;
        for (outcome, pause, alone) in steps {
            now = Millis(now.0 + pause);
            let before = judge.state();
            let transition = judge.observe(outcome, now, alone);
            let state = judge.state();
            prop_assert_eq!(transition.is_some(), before != state);
            prop_assert!(judge.history().count() <= HISTORY_MAX);
            // An answer never makes a backend lose its connections.
            prop_assert!(!(outcome.answered() && state.cuts() && !before.cuts()));
            // Nothing new goes where established connections are cut.
            prop_assert!(!state.cuts() || judge.rank() == Rank::Never);
            ever_up |= state == Up;
            prop_assert!(ever_up || matches!(state, Pending | Dead));
            // Only a good probe, or a first sign of life, leads up.
            prop_assert!(before == Up || state != Up || outcome.is_good() || (alone && outcome.answered()));
        }
        for _ in 0..RISE {
            now = Millis(now.0 + 500);
            judge.observe(Ready, now, false);
        }
        prop_assert_eq!((judge.state(), judge.rank()), (Up, Rank::Usual));
    }
}

//! The steps, in order. A re-run plans anew from what it finds, so that it goes on where the last
//! one was lost.

use std::fmt;

use super::stage::Stage;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The first master.
    Init,
    /// A further master.
    Join,
    /// Only a member: the operator runs kubeadm.
    Register,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Register with the coordinators of the ticket.
    Register,
    /// `kubeadm reset`, to clear what a lost run left.
    Reset,
    /// Ask the cluster whether a kubeadm whose end nobody saw came to it.
    Confirm,
    /// Wait for the turn to join and for credentials.
    AwaitTurn,
    /// `kubeadm init`, and the cluster's CA to the coordinators as soon as there is one.
    RunInit,
    /// `kubeadm join`.
    RunJoin,
    /// Tell how kubeadm ended.
    Report,
    /// The cluster's CA and an observer's kubeconfig to the coordinators.
    Announce,
    /// Wait until the balancer sends connections to this master.
    AwaitRotation,
    /// Begin to be an agent.
    StartAgent,
}

/// A step and whether it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The step.
    pub step: Step,
    /// It need not be done.
    pub done: bool,
}

/// What there is to do for `goal`. `registered`: every coordinator has registered us. `reset`: the
/// operator allowed it.
#[must_use]
pub fn plan(goal: Goal, stage: &Stage, registered: bool, reset: bool) -> Vec<Planned> {
    let master = stage.is_master();
    let clears = reset && stage.is_cleared_by_reset();
    let kubeadm_done = master && !clears;
    let todo = |step| Planned { step, done: false };
    let mut steps = vec![Planned { step: Step::Register, done: registered }];
    if clears {
        steps.push(todo(Step::Reset));
    } else if *stage == Stage::EndNotSeen && goal != Goal::Register {
        steps.push(todo(Step::Confirm));
    }
    match goal {
        Goal::Register => {}
        Goal::Init => {
            steps.push(Planned { step: Step::RunInit, done: kubeadm_done });
            steps.push(todo(Step::Announce));
        }
        Goal::Join => {
            steps.push(Planned { step: Step::AwaitTurn, done: kubeadm_done });
            steps.push(Planned { step: Step::RunJoin, done: kubeadm_done });
            // Harmless if it was told before, and a lost turn ends for it.
            steps.push(todo(Step::Report));
        }
    }
    if goal != Goal::Register {
        steps.push(todo(Step::AwaitRotation));
    }
    steps.push(todo(Step::StartAgent));
    steps
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Register => "register with the coordinators of the ticket",
            Self::Reset => "run `kubeadm reset`, to clear what a lost run left",
            Self::Confirm => "ask the cluster whether the earlier kubeadm came to its end",
            Self::AwaitTurn => "wait for the turn to join, and for credentials made for this join",
            Self::RunInit => "run `kubeadm init`; tell the coordinators the cluster's CA meanwhile",
            Self::RunJoin => "run `kubeadm join`",
            Self::Report => "report how kubeadm ended, which ends the turn",
            Self::Announce => "give the coordinators the cluster's CA and an observer's kubeconfig",
            Self::AwaitRotation => "wait until the balancer has this master in rotation",
            Self::StartAgent => "start the agent",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(goal: Goal, stage: &Stage, registered: bool, reset: bool) -> String {
        let steps = plan(goal, stage, registered, reset);
        let shown = steps.iter().map(|it| {
            let done = if it.done { "-" } else { "" };
            format!("{done}{:?}", it.step)
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    /// Goal, files that are there, registered, `--reset`, steps; those that are done with a `-`.
    const TABLE: &[(Goal, Files, bool, bool, &str)] = &[
        (Goal::Init, Files::None, false, false, "Register RunInit Announce"),
        (Goal::Init, Files::None, true, true, "-Register RunInit Announce"),
        (Goal::Init, Files::All, true, true, "-Register -RunInit Announce"),
        (Goal::Init, Files::EndNotSeen, true, false, "-Register Confirm -RunInit Announce"),
        (Goal::Init, Files::Half, true, true, "-Register Reset RunInit Announce"),
        (Goal::Join, Files::None, false, false, "Register AwaitTurn RunJoin Report"),
        (Goal::Join, Files::All, true, false, "-Register -AwaitTurn -RunJoin Report"),
        (
            Goal::Join,
            Files::EndNotSeen,
            true,
            false,
            "-Register Confirm -AwaitTurn -RunJoin Report",
        ),
        (Goal::Join, Files::EndNotSeen, true, true, "-Register Reset AwaitTurn RunJoin Report"),
        (Goal::Join, Files::Half, false, true, "Register Reset AwaitTurn RunJoin Report"),
        (Goal::Join, Files::Begun, true, false, "-Register AwaitTurn RunJoin Report"),
        (Goal::Join, Files::Begun, true, true, "-Register Reset AwaitTurn RunJoin Report"),
    ];

    enum Files {
        None,
        Begun,
        Half,
        EndNotSeen,
        All,
    }

    #[test]
    fn a_rerun_goes_on_where_the_last_run_was_lost() {
        for (goal, files, registered, reset, expected) in TABLE {
            let stage = match files {
                Files::None => Stage::Fresh,
                Files::Begun => Stage::Begun,
                Files::Half => Stage::Half(vec!["admin.conf"]),
                Files::EndNotSeen => Stage::EndNotSeen,
                Files::All => Stage::Complete,
            };
            let expected = format!("{expected} AwaitRotation StartAgent");
            assert_eq!(words(*goal, &stage, *registered, *reset), expected);
        }
        assert_eq!(words(Goal::Register, &Stage::Fresh, false, false), "Register StartAgent");
        assert_eq!(words(Goal::Register, &Stage::Complete, true, false), "-Register StartAgent");
    }
}

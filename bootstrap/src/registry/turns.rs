//! Whose turn it is to join: one machine at a time changes the control plane, because two etcd
//! members that are added at once can cost the quorum.
//!
//! ```text
//! ask -> Queued -> Issuing --credentials--> Ready --kubeadm done--> Settling --UP--> Joined
//!                     |                       |                        |
//!                     +---- failure, silence of the joiner, deadline --+--> Failed
//! ```
//!
//! A joiner that gets its credentials from another coordinator of the same cluster holds the turn here
//! (`Held` in the place of `Issuing` and `Ready`), so that nobody else joins through this one.
//!
//! A turn that ends, however, leaves a revocation behind if credentials were made for it; that goes
//! to the next agent that asks for work and is kept until one says that it is done.

mod issuing;
mod saved;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use issuing::{Issuing, Setback};
pub use saved::{Revocation, SavedTurns};
use steps::ended;

use crate::protocol::{
    JoinAnswer, JoinOutcome, JoinPhase, JoinRequest, Made, Task, Work, WorkOutcome, WorkResult,
};

/// Most joins that wait; a control plane has fewer masters.
pub const QUEUE_MAX: usize = 16;

/// Longest turn until kubeadm has ended: the life of the token that it uses.
pub const TURN_MAX: Duration = Duration::from_secs(15 * 60);

/// Longest wait for a new apiserver to be in rotation after kubeadm has ended: etcd catches up, and
/// kubelet starts the pod again with a growing pause of up to 5 minutes.
pub const SETTLE_MAX: Duration = Duration::from_secs(6 * 60);

/// A joiner that was not heard for this long has lost its turn: it asks every 20 s.
pub const JOINER_SILENT: Duration = Duration::from_secs(60);

/// Longest wait for one agent to make credentials; then the next one is asked.
pub const ISSUE_MAX: Duration = Duration::from_secs(45);

/// Attempts to make credentials before the join fails; while etcd grows from one member to two, an
/// attempt may fail for a moment.
pub const ISSUE_TRIES: u32 = 3;

/// How long agents may say that they must wait, without that an attempt counts: the cluster notices
/// within 40 s to 50 s that a machine is gone, and begins anew if its controller manager was there.
pub const WAIT_MAX: Duration = Duration::from_secs(90);

/// Pause after an attempt that failed.
pub const ISSUE_PAUSE: Duration = Duration::from_secs(5);

/// Longest wait for an agent that can make credentials.
pub const AGENT_WAIT: Duration = Duration::from_secs(120);

/// Time after which a revocation is given to an agent again.
pub const REVOKE_AGAIN: Duration = Duration::from_secs(60);

/// Time after which a revocation is given up: what was made has ended by itself by then.
pub const REVOKE_MAX_SECONDS: u64 = 2 * 3600;

/// Most revocations that are kept; one for each join of the last two hours.
pub const REVOCATIONS_MAX: usize = 64;

/// How long the end of a join is remembered for a joiner that asks once more.
const ENDED_KEPT: Duration = Duration::from_secs(600);

/// One join that has its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Turn {
    joiner: String,
    sealing_key: String,
    stage: Stage,
    began: Duration,
    deadline: Duration,
    heard: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Credentials are made, by the agent that took the work.
    Issuing(Issuing),
    /// The joiner has them.
    Ready { sealed: String, made: Made, by: String },
    /// The joiner has them from another coordinator.
    Held,
    /// kubeadm is done.
    Settling { made: Option<Made> },
}

/// A join that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    joiner: String,
    sealing_key: String,
    turn_only: bool,
    since: Duration,
    heard: Duration,
}

/// What happened, for the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnEvent {
    /// A joiner has the turn.
    Began {
        /// Who.
        joiner: String,
    },
    /// Credentials were made.
    Issued {
        /// For whom.
        joiner: String,
        /// By whom.
        by: String,
        /// Id of the bootstrap token.
        token_id: String,
    },
    /// A turn is over.
    Ended {
        /// Whose.
        joiner: String,
        /// Whether the machine is a master now.
        joined: bool,
        /// Why it ended.
        reason: String,
    },
}

/// The turns.
#[derive(Clone, Debug, Default)]
pub struct JoinTurns {
    queue: VecDeque<Waiting>,
    current: Option<Turn>,
    ended: BTreeMap<String, (JoinPhase, String, Duration)>,
    revocations: Vec<Revocation>,
    handed: BTreeMap<String, (u64, Duration)>,
    last_work: u64,
    events: Vec<TurnEvent>,
}

impl JoinTurns {
    /// What is still to be taken back.
    #[must_use]
    pub fn revocations(&self) -> &[Revocation] {
        &self.revocations
    }

    /// What happened since this was asked last.
    pub fn take_events(&mut self) -> Vec<TurnEvent> {
        std::mem::take(&mut self.events)
    }

    /// Who has the turn, how far it is, when the turn ends by itself, and since when it has it.
    #[must_use]
    pub fn holder(&self) -> Option<(&str, JoinPhase, Duration, Duration)> {
        let turn = self.current.as_ref()?;
        Some((&turn.joiner, turn.phase(), turn.deadline, turn.began))
    }

    /// Who waits, in order, and since when.
    pub fn waiting(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.queue.iter().map(|waiting| (waiting.joiner.as_str(), waiting.since))
    }

    /// A joiner asks for its turn, or says that it is still there.
    pub fn ask(
        &mut self,
        joiner: &str,
        JoinRequest { sealing_key, turn_only, .. }: &JoinRequest,
        now: Duration,
        unix: u64,
    ) -> JoinAnswer {
        self.advance(now, unix);
        if let Some(turn) = self.current.as_mut().filter(|turn| turn.joiner == joiner) {
            turn.heard = now;
            let wants_more = turn.stage == Stage::Held && !turn_only;
            if turn.sealing_key != *sealing_key || wants_more {
                self.begin_anew(sealing_key, *turn_only, now, unix);
            }
            return self.peek(joiner, now);
        }
        // The end is told once; whoever asks with another key begins anew.
        if let Some((phase, message, _)) = self.ended.remove(joiner) {
            return ended(phase, message);
        }
        let full = self.queue.len() >= QUEUE_MAX;
        match self.queue.iter_mut().find(|waiting| waiting.joiner == joiner) {
            Some(waiting) => {
                waiting.heard = now;
                waiting.turn_only = *turn_only;
                sealing_key.clone_into(&mut waiting.sealing_key);
            }
            None if full => {
                let message = format!("{QUEUE_MAX} joins wait already; try again later");
                return ended(JoinPhase::Failed, message);
            }
            None => self.queue.push_back(Waiting {
                joiner: joiner.to_owned(),
                sealing_key: sealing_key.to_owned(),
                turn_only: *turn_only,
                since: now,
                heard: now,
            }),
        }
        self.advance(now, unix);
        self.peek(joiner, now)
    }

    /// The joiner says how kubeadm ended. Whether it had the turn.
    pub fn outcome(
        &mut self,
        joiner: &str,
        outcome: &JoinOutcome,
        now: Duration,
        unix: u64,
    ) -> bool {
        self.queue.retain(|waiting| waiting.joiner != joiner);
        let Some(turn) = self.current.as_mut().filter(|turn| turn.joiner == joiner) else {
            return false;
        };
        turn.heard = now;
        match (&turn.stage, outcome.joined) {
            (Stage::Ready { .. } | Stage::Held, true) => {
                turn.stage = Stage::Settling { made: turn.stage.made() };
                turn.deadline = now.saturating_add(SETTLE_MAX);
            }
            (Stage::Settling { .. }, true) => {}
            (Stage::Issuing(_), true) => {
                self.end(
                    false,
                    "it said that kubeadm is done before it got credentials",
                    now,
                    unix,
                );
            }
            (_, false) => self.end(false, &outcome.reason, now, unix),
        }
        self.advance(now, unix);
        true
    }

    /// Work for an agent that can make credentials.
    pub fn work_for(&mut self, agent: &str, now: Duration) -> Option<Work> {
        if let Some(turn) = &mut self.current
            && turn.joiner != agent
            && let Stage::Issuing(issuing) = &mut turn.stage
            && issuing.is_free(now)
        {
            issuing.give(agent, now);
            let (joiner, sealing_key) = (turn.joiner.clone(), turn.sealing_key.clone());
            return Some(Work { id: issuing.work, task: Task::Issue { joiner, sealing_key } });
        }
        let made = self.due(now)?.made.clone();
        let id = self.next_work();
        self.handed.insert(made.token_id.clone(), (id, now));
        Some(Work { id, task: Task::Revoke { made } })
    }

    /// Whether [`JoinTurns::work_for`] would give this agent something.
    #[must_use]
    pub fn has_work_for(&self, agent: &str, now: Duration) -> bool {
        let issue = self.current.as_ref().is_some_and(|turn| {
            let free = matches!(&turn.stage, Stage::Issuing(issuing) if issuing.is_free(now));
            turn.joiner != agent && free
        });
        issue || self.due(now).is_some()
    }

    /// A revocation that nobody was given, or not for a while.
    fn due(&self, now: Duration) -> Option<&Revocation> {
        self.revocations.iter().find(|revocation| {
            let handed = self.handed.get(&revocation.made.token_id);
            handed.is_none_or(|(_, at)| now.saturating_sub(*at) >= REVOKE_AGAIN)
        })
    }

    /// An agent says how its work went.
    pub fn result(&mut self, agent: &str, result: WorkResult, now: Duration, unix: u64) {
        match result.result {
            WorkOutcome::Issued { sealed, made } => {
                self.issued(agent, result.id, sealed, made, now, unix);
            }
            WorkOutcome::Revoked => self.revoked(result.id),
            WorkOutcome::Failed { reason, wait } => {
                self.failed(agent, result.id, Setback { reason, wait }, now);
            }
        }
        self.advance(now, unix);
    }

    /// A backend is in rotation: a join that waited for that has ended well.
    pub fn is_up(&mut self, name: &str, now: Duration, unix: u64) {
        let settled = self.current.as_ref().is_some_and(|turn| {
            turn.joiner == name && matches!(turn.stage, Stage::Settling { .. })
        });
        if settled {
            self.end(true, "it is in rotation", now, unix);
            self.advance(now, unix);
        }
    }

    /// A member is no more: neither is its join.
    pub fn gone(&mut self, name: &str, now: Duration, unix: u64) {
        self.queue.retain(|waiting| waiting.joiner != name);
        if self.current.as_ref().is_some_and(|turn| turn.joiner == name) {
            self.end(false, "it was removed", now, unix);
            self.advance(now, unix);
        }
    }

    /// Lets time pass: deadlines, silence, the next turn.
    pub fn advance(&mut self, now: Duration, unix: u64) {
        let silent = |heard: Duration| now.saturating_sub(heard) >= JOINER_SILENT;
        self.queue.retain(|waiting| !silent(waiting.heard));
        self.ended.retain(|_, (_, _, at)| now.saturating_sub(*at) < ENDED_KEPT);
        self.revocations.retain(|one| unix.saturating_sub(one.since) < REVOKE_MAX_SECONDS);
        let revocations = &self.revocations;
        self.handed.retain(|id, _| revocations.iter().any(|one| one.made.token_id == *id));
        if let Some(reason) = self.current.as_ref().and_then(|turn| turn.over(now)) {
            self.end(false, &reason, now, unix);
        }
        if self.current.is_none()
            && let Some(next) = self.queue.pop_front()
        {
            self.begin(next, now);
        }
    }

    fn begin(&mut self, next: Waiting, now: Duration) {
        self.events.push(TurnEvent::Began { joiner: next.joiner.clone() });
        self.current = Some(Turn {
            joiner: next.joiner,
            sealing_key: next.sealing_key,
            stage: self.first_stage(next.turn_only, now),
            began: now,
            deadline: now.saturating_add(TURN_MAX),
            heard: next.heard,
        });
    }
}

#[cfg(test)]
mod tests;

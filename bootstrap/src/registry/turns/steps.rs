//! How a turn goes from one stage to the next, and what its joiner is told meanwhile.

use super::*;

impl JoinTurns {
    /// How a turn begins.
    pub(super) fn first_stage(&mut self, turn_only: bool, now: Duration) -> Stage {
        if turn_only {
            return Stage::Held;
        }
        Stage::Issuing(Issuing::new(self.next_work(), now))
    }

    /// The joiner lost its key, so what was made for it is of no use; or it wants credentials from us
    /// after all.
    pub(super) fn begin_anew(
        &mut self,
        sealing_key: &str,
        turn_only: bool,
        now: Duration,
        unix: u64,
    ) {
        let stage = self.first_stage(turn_only, now);
        let Some(turn) = &mut self.current else {
            return;
        };
        sealing_key.clone_into(&mut turn.sealing_key);
        let old = std::mem::replace(&mut turn.stage, stage);
        turn.deadline = now.saturating_add(TURN_MAX);
        self.revoke(old.made(), unix);
    }

    pub(super) fn issued(
        &mut self,
        agent: &str,
        id: u64,
        sealed: String,
        made: Made,
        now: Duration,
        unix: u64,
    ) {
        let wanted = self.current.as_mut().filter(|turn| turn.wants(id, agent));
        let Some(turn) = wanted else {
            // The turn is over, or another agent was quicker.
            self.revoke(Some(made), unix);
            return;
        };
        turn.stage = Stage::Ready { sealed, made: made.clone(), by: agent.to_owned() };
        turn.deadline = now.saturating_add(TURN_MAX);
        let (joiner, by) = (turn.joiner.clone(), agent.to_owned());
        self.events.push(TurnEvent::Issued { joiner, by, token_id: made.token_id });
    }

    pub(super) fn failed(&mut self, agent: &str, id: u64, setback: Setback, now: Duration) {
        let turn = self.current.as_mut().filter(|turn| turn.wants(id, agent));
        if let Some(Turn { stage: Stage::Issuing(issuing), .. }) = turn {
            issuing.failed(agent, setback, now);
        }
    }

    pub(super) fn revoked(&mut self, id: u64) {
        let done = self.handed.iter().find(|(_, (handed, _))| *handed == id);
        if let Some(token_id) = done.map(|(token_id, _)| token_id.clone()) {
            self.handed.remove(&token_id);
            self.revocations.retain(|one| one.made.token_id != token_id);
        }
    }

    pub(super) fn end(&mut self, joined: bool, reason: &str, now: Duration, unix: u64) {
        let Some(turn) = self.current.take() else {
            return;
        };
        self.revoke(turn.stage.made(), unix);
        let phase = if joined { JoinPhase::Joined } else { JoinPhase::Failed };
        let reason: String = reason.chars().take(400).collect();
        self.ended.insert(turn.joiner.clone(), (phase, reason.clone(), now));
        self.events.push(TurnEvent::Ended { joiner: turn.joiner, joined, reason });
    }

    pub(super) fn revoke(&mut self, made: Option<Made>, unix: u64) {
        let Some(made) = made else {
            return;
        };
        if self.revocations.len() >= REVOCATIONS_MAX {
            self.revocations.remove(0);
        }
        self.revocations.push(Revocation { made, since: unix });
    }

    pub(super) fn next_work(&mut self) -> u64 {
        self.last_work = self.last_work.wrapping_add(1);
        self.last_work
    }

    /// What a joiner would be told, without telling it: its silence goes on.
    #[must_use]
    pub fn peek(&self, joiner: &str, now: Duration) -> JoinAnswer {
        if let Some(turn) = self.current.as_ref().filter(|turn| turn.joiner == joiner) {
            return turn.answer(now);
        }
        if let Some((phase, message, _)) = self.ended.get(joiner) {
            return ended(*phase, message.clone());
        }
        let before = self.queue.iter().take_while(|waiting| waiting.joiner != joiner).count();
        let holder = self.current.as_ref().map(|turn| turn.joiner.as_str());
        JoinAnswer {
            phase: JoinPhase::Queued,
            position: before + usize::from(self.current.is_some()),
            message: format!("{} has the turn", holder.unwrap_or("nobody")),
            deadline_seconds: None,
            credentials: None,
        }
    }
}

impl Stage {
    pub(super) fn made(&self) -> Option<Made> {
        match self {
            Self::Issuing(_) | Self::Held => None,
            Self::Ready { made, .. } => Some(made.clone()),
            Self::Settling { made } => made.clone(),
        }
    }
}

impl Turn {
    pub(super) fn phase(&self) -> JoinPhase {
        match self.stage {
            Stage::Issuing(_) => JoinPhase::Issuing,
            Stage::Ready { .. } | Stage::Held => JoinPhase::Ready,
            Stage::Settling { .. } => JoinPhase::Settling,
        }
    }

    /// Whether the result of this work is waited for, from this agent.
    pub(super) fn wants(&self, id: u64, agent: &str) -> bool {
        let Stage::Issuing(issuing) = &self.stage else {
            return false;
        };
        issuing.work == id && issuing.asked.iter().any(|name| name == agent)
    }

    /// Why the turn is over by now, if it is.
    pub(super) fn over(&self, now: Duration) -> Option<String> {
        if now >= self.deadline {
            return Some(match self.stage {
                Stage::Settling { .. } => "its apiserver was not ready in time".to_owned(),
                _ => "kubeadm did not end in time".to_owned(),
            });
        }
        // Once kubeadm is done, nothing depends on the joiner any more.
        let waits = !matches!(self.stage, Stage::Settling { .. });
        if waits && now.saturating_sub(self.heard) >= JOINER_SILENT {
            return Some(format!("it was not heard for {}s", JOINER_SILENT.as_secs()));
        }
        match &self.stage {
            Stage::Issuing(issuing) => issuing.hopeless(now),
            Stage::Ready { .. } | Stage::Held | Stage::Settling { .. } => None,
        }
    }

    pub(super) fn answer(&self, now: Duration) -> JoinAnswer {
        let (message, credentials) = match &self.stage {
            Stage::Issuing(issuing) => (issuing.message(), None),
            Stage::Ready { sealed, by, .. } => {
                (format!("credentials by {by}"), Some(sealed.clone()))
            }
            Stage::Held => ("credentials by another coordinator".to_owned(), None),
            Stage::Settling { .. } => {
                ("waits for its apiserver to be in rotation".to_owned(), None)
            }
        };
        JoinAnswer {
            phase: self.phase(),
            position: 0,
            message,
            deadline_seconds: Some(self.deadline.saturating_sub(now).as_secs()),
            credentials,
        }
    }
}

pub(super) fn ended(phase: JoinPhase, message: String) -> JoinAnswer {
    JoinAnswer { phase, position: 0, message, deadline_seconds: None, credentials: None }
}

//! The making of credentials for one join: which agents were asked, and when the next one is.

use super::*;

/// The making of credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Issuing {
    pub(super) work: u64,
    /// Who has the work, and since when.
    pub(super) by: Option<(String, Duration)>,
    /// All who were given it: only they may answer.
    pub(super) asked: Vec<String>,
    /// How often it did not work, and who said why last.
    pub(super) failures: u32,
    pub(super) last_failure: Option<(String, String)>,
    /// Since when agents say that they must wait, and nothing else.
    pub(super) waits_since: Option<Duration>,
    /// Since when nobody has it, and from when on it is given away.
    pub(super) idle_since: Duration,
    pub(super) not_before: Duration,
}

/// Why an attempt brought nothing.
pub(super) struct Setback {
    pub(super) reason: String,
    /// Whether something must pass first, and nothing is wrong.
    pub(super) wait: bool,
}

impl Issuing {
    pub(super) fn new(work: u64, now: Duration) -> Self {
        Self { work, idle_since: now, not_before: now, ..Self::default() }
    }

    /// Whether an agent may have the work now.
    pub(super) fn is_free(&self, now: Duration) -> bool {
        let lost = |(_, since): &(String, Duration)| now.saturating_sub(*since) >= ISSUE_MAX;
        now >= self.not_before && self.by.as_ref().is_none_or(lost)
    }

    pub(super) fn give(&mut self, agent: &str, now: Duration) {
        self.by = Some((agent.to_owned(), now));
        if !self.asked.iter().any(|name| name == agent) {
            self.asked.push(agent.to_owned());
        }
    }

    pub(super) fn failed(&mut self, agent: &str, Setback { reason, wait }: Setback, now: Duration) {
        if self.by.as_ref().is_some_and(|(name, _)| name == agent) {
            self.by = None;
            self.count(wait, now);
            self.last_failure = Some((agent.to_owned(), reason));
            self.idle_since = now;
            self.not_before = now.saturating_add(ISSUE_PAUSE);
        }
    }

    /// Counts an attempt, unless it only has to wait; for too long that is the end too.
    fn count(&mut self, wait: bool, now: Duration) {
        if !wait {
            self.waits_since = None;
            self.failures = self.failures.saturating_add(1);
        } else if now.saturating_sub(*self.waits_since.get_or_insert(now)) >= WAIT_MAX {
            self.failures = ISSUE_TRIES;
        }
    }

    pub(super) fn message(&self) -> String {
        match (&self.by, &self.last_failure) {
            // Also while somebody looks whether the wait is over: that is no news.
            (_, Some((name, reason))) if self.waits_since.is_some() => {
                format!("{name} waits with the credentials: {reason}")
            }
            (Some((name, _)), _) => format!("{name} makes the credentials"),
            (None, Some((name, reason))) => format!("{name} could not make credentials: {reason}"),
            (None, None) => "waits for a master that makes the credentials".to_owned(),
        }
    }

    /// Why nobody will make credentials any more.
    pub(super) fn hopeless(&self, now: Duration) -> Option<String> {
        let nobody = self.by.is_none() && now.saturating_sub(self.idle_since) >= AGENT_WAIT;
        if !nobody && self.failures < ISSUE_TRIES {
            return None;
        }
        Some(match &self.last_failure {
            Some((name, reason)) => format!("no master made credentials; {name}: {reason}"),
            None => "no master can make credentials: none that is UP runs `mainstay agent` with \
                     /etc/kubernetes/admin.conf and the CA keys"
                .to_owned(),
        })
    }
}

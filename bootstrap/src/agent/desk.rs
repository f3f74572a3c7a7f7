//! Remembers the work of one coordinator, so that a work that is offered again, because an answer
//! was lost, is done once. Pure.

use crate::protocol::{Task, Work, WorkOutcome};

/// The latest work.
#[derive(Debug, Default)]
pub(super) struct Desk {
    latest: Option<(u64, Option<WorkOutcome>)>,
}

/// What to do about an offered work.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Do it.
    Start(Task),
    /// It is being done.
    Busy,
    /// It was done; say so again.
    Again(WorkOutcome),
}

impl Desk {
    /// Takes an offered work.
    pub(super) fn take(&mut self, work: Work) -> Taken {
        match &self.latest {
            Some((id, None)) if *id == work.id => Taken::Busy,
            // What failed may be asked for once more.
            Some((id, Some(outcome)))
                if *id == work.id && !matches!(outcome, WorkOutcome::Failed { .. }) =>
            {
                Taken::Again(outcome.clone())
            }
            // Another one while one is being done waits until it is offered again.
            Some((_, None)) => Taken::Busy,
            _ => {
                self.latest = Some((work.id, None));
                Taken::Start(work.task)
            }
        }
    }

    /// Notes how it went.
    pub(super) fn done(&mut self, id: u64, outcome: WorkOutcome) {
        if let Some((latest, slot)) = &mut self.latest
            && *latest == id
        {
            *slot = Some(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Made;

    fn work(id: u64) -> Work {
        let made = Made { token_id: String::new(), owner_id: String::new(), certs_uid: None };
        Work { id, task: Task::Revoke { made } }
    }

    #[test]
    fn a_work_is_done_once() {
        let mut desk = Desk::default();
        assert!(matches!(desk.take(work(1)), Taken::Start(_)));
        assert_eq!(desk.take(work(1)), Taken::Busy);
        assert_eq!(desk.take(work(2)), Taken::Busy, "one at a time");
        desk.done(2, WorkOutcome::Revoked);
        assert_eq!(desk.take(work(1)), Taken::Busy, "another one's end is not its end");
        desk.done(1, WorkOutcome::Revoked);
        assert_eq!(desk.take(work(1)), Taken::Again(WorkOutcome::Revoked));
        assert!(matches!(desk.take(work(2)), Taken::Start(_)));
        desk.done(2, WorkOutcome::Failed { reason: String::new(), wait: false });
        assert!(matches!(desk.take(work(2)), Taken::Start(_)), "the coordinator tries once more");
    }
}

//! Where operators ask for a hand-over and see how it goes.

use common::status::{TookOver, Upgrade};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::frame::ProgramRecord;
use crate::telemetry::BUILD;

/// The desk of one process.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    stage: Option<&'static str>,
    done: u64,
    failed: u64,
    reason: Option<String>,
    took_over: Option<TookOver>,
}

impl Desk {
    /// Asks for a hand-over; whether none is under way.
    pub(crate) fn ask(&self) -> bool {
        let mut state = self.state.lock();
        if state.stage.is_some() {
            return false;
        }
        state.stage = Some("asked for");
        drop(state);
        self.asked.notify_one();
        true
    }

    /// Resolves when somebody has asked. Cancel-safe.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// How far it is.
    pub(super) fn enter(&self, stage: &'static str) {
        self.state.lock().stage = Some(stage);
    }

    /// It was given up.
    pub(super) fn failed(&self, reason: String) {
        let mut state = self.state.lock();
        state.stage = None;
        state.failed += 1;
        state.reason = Some(reason);
    }

    /// This process took over.
    pub(crate) fn took_over(&self, record: &ProgramRecord, took_over: TookOver) {
        let mut state = self.state.lock();
        state.done = record.handovers_done + 1;
        state.failed = record.handovers_failed;
        state.took_over = Some(took_over);
    }

    /// Hand-overs that were done and given up, over all processes.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.done, state.failed)
    }

    /// What operators see.
    pub(crate) fn status(&self) -> Upgrade {
        let state = self.state.lock();
        Upgrade {
            pid: std::process::id(),
            version: BUILD.to_owned(),
            stage: state.stage.map(str::to_owned),
            failed: state.failed,
            reason: state.reason.clone(),
            took_over: state.took_over.clone(),
        }
    }
}

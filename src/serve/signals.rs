//! What the outside asks of the running program: by signals, and at the desk of the admin endpoint.

use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::handover::Desk;

/// What a signal or the admin endpoint asks for.
pub(super) enum Wish {
    Reload,
    HandOver,
    Stop,
}

/// The signals we listen to.
pub(crate) struct Signals {
    hangup: Signal,
    upgrade: Signal,
    stops: Stops,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            upgrade: listen(SignalKind::user_defined2())?,
            stops: Stops {
                terminate: listen(SignalKind::terminate())?,
                interrupt: listen(SignalKind::interrupt())?,
                handed_on: Arc::default(),
                asked: false,
            },
        })
    }

    /// The next wish, by a signal or at the desk. Cancel-safe.
    pub(super) async fn wish(&mut self, desk: &Desk) -> Wish {
        loop {
            tokio::select! {
                () = desk.asked() => return Wish::HandOver,
                _ = self.upgrade.recv() => {
                    // Refused if one is asked for already, and that one comes then.
                    desk.ask();
                }
                _ = self.hangup.recv() => return Wish::Reload,
                () = self.stops.next() => return Wish::Stop,
            }
        }
    }

    /// Resolves when we are asked to stop, once more. Cancel-safe.
    pub(super) async fn stop(&mut self) {
        self.stops.next().await;
    }

    /// Whether we are asked to stop and nobody has heard it yet.
    pub(super) async fn stop_waits(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.stops.next() => true,
            () = std::future::ready(()) => false,
        }
    }

    /// To be notified when a process before this one was asked to stop and has handed that on.
    pub(super) fn handed_on(&self) -> Arc<Notify> {
        Arc::clone(&self.stops.handed_on)
    }

    /// Forgets that a hand-over was asked for, while one ran.
    pub(super) async fn forget_upgrade(&mut self) {
        tokio::select! {
            biased;
            _ = self.upgrade.recv() => {}
            () = std::future::ready(()) => {}
        }
    }
}

/// Requests to stop. A second signal skips a phase of the stop, but what another process hands on is
/// never a second request: both processes may have got the same Ctrl-C, or one signal each from a
/// service manager that tells the whole group.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
    handed_on: Arc<Notify>,
    /// Whether there was one.
    asked: bool,
}

impl Stops {
    /// Resolves with the next one. Cancel-safe.
    async fn next(&mut self) {
        tokio::select! {
            // Our own signals first: if one is here, what is handed on is the same.
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = self.handed_on.notified(), if !self.asked => {}
        }
        self.asked = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_handed_on_is_never_a_second_request() {
        let mut signals = Signals::new().unwrap();
        assert!(!signals.stop_waits().await);
        signals.handed_on().notify_one();
        assert!(signals.stop_waits().await);
        signals.handed_on().notify_one();
        assert!(!signals.stop_waits().await, "it would skip a phase");
    }
}

//! What the outside asks of the running program: by signals, and at the desk of the admin endpoint.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            upgrade: listen(SignalKind::user_defined2())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
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
                () = stop_of(&mut self.terminate, &mut self.interrupt) => return Wish::Stop,
            }
        }
    }

    /// Resolves when we are asked to stop, once more. Cancel-safe.
    pub(super) async fn stop(&mut self) {
        stop_of(&mut self.terminate, &mut self.interrupt).await;
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

async fn stop_of(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

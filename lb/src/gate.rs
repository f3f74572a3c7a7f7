//! The ports and whether they are open: opened and closed by the keeper, shut by the stop, and still
//! for a moment while another process takes them over.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::events::EventKind;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::balancer::Balancer;
use crate::handover::{PortRecord, PortSockets};
use crate::ports::{BindError, Ports};

/// The ports and the accept loops, if they are open.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) ports: Ports,
    opened: Option<Opened>,
    /// Set when the program stops: the ports never open again.
    shut: bool,
    /// Whether another process had them open, and this one does not accept yet.
    inherited_open: bool,
}

/// Ports on which clients are accepted.
#[derive(Debug)]
struct Opened {
    /// Ends the accept loops.
    token: CancellationToken,
    /// Further handles of the listening sockets of each worker, for the time when nobody accepts.
    listeners: Vec<Vec<TcpListener>>,
}

impl Gate {
    pub(crate) fn new(ports: Ports) -> Self {
        Self { ports, opened: None, shut: false, inherited_open: false }
    }
}

impl Balancer {
    /// Opens the port and lets it be accepted on; nothing if that is so, or if it was closed for good.
    /// Not to be called in a pause.
    pub(crate) fn open(&self) -> Result<(), BindError> {
        let mut gate = self.gate.lock();
        if let Some(opened) = &mut gate.opened {
            // Nobody accepts after a pause, or because there were no descriptors at its end.
            if opened.token.is_cancelled() {
                opened.token = self.accept_on(&opened.listeners)?;
            }
            return Ok(());
        }
        if gate.shut {
            return Ok(());
        }
        gate.ports.prepare_reopening()?;
        let listeners = gate.ports.open()?;
        let token = self.accept_on(&listeners)?;
        gate.opened = Some(Opened { token, listeners });
        self.listening.store(true, Ordering::Release);
        info!(listen = ?self.listen(), "port open");
        self.journal().note(EventKind::PortOpened, "clients are accepted");
        Ok(())
    }

    /// Lets each worker accept on its listening sockets until the token is cancelled.
    fn accept_on(&self, listeners: &[Vec<TcpListener>]) -> Result<CancellationToken, BindError> {
        let handle = |listener: &TcpListener| {
            let failed = |source| BindError {
                addr: listener.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into()),
                source,
            };
            listener.try_clone().map_err(failed)
        };
        let handles = |of_worker: &Vec<TcpListener>| of_worker.iter().map(handle).collect();
        // All of them before anybody accepts, so that a shortage leaves nobody behind who does.
        let listeners: Vec<Vec<_>> = listeners.iter().map(handles).collect::<Result<_, _>>()?;
        let token = CancellationToken::new();
        let seats: Arc<[_]> = self.workers().iter().map(|worker| worker.seat.clone()).collect();
        for (worker, listeners) in self.workers().iter().zip(listeners) {
            worker.accept(self.shared(), listeners, &token, &seats);
        }
        Ok(token)
    }

    /// Closes the port; it may be opened again.
    pub(crate) fn close(&self) -> Result<(), BindError> {
        let mut gate = self.gate.lock();
        let prepared = if gate.shut { Ok(()) } else { gate.ports.prepare_reopening() };
        if let Some(opened) = gate.opened.take() {
            opened.token.cancel();
            self.listening.store(false, Ordering::Release);
            info!(listen = ?self.listen(), "port closed");
            self.journal().note(EventKind::PortClosed, "clients are refused");
        }
        prepared
    }

    /// Closes the port for good. Established sessions go on.
    pub fn shut(&self) {
        self.gate.lock().shut = true;
        // Nothing is bound any more when the gate is shut, so this cannot fail.
        self.close().ok();
    }

    /// Lets go of the ports for good: another process accepts on them.
    pub(crate) fn leave_ports(&self) {
        let mut gate = self.gate.lock();
        gate.shut = true;
        if let Some(opened) = gate.opened.take() {
            opened.token.cancel();
            self.listening.store(false, Ordering::Release);
        }
    }

    /// Lets clients wait in the kernel's queue.
    pub(crate) fn pause_accepting(&self) {
        if let Some(opened) = &self.gate.lock().opened {
            opened.token.cancel();
        }
    }

    /// Accepts again after [`Balancer::pause_accepting`], or where another process did.
    pub(crate) fn resume_accepting(&self) {
        let mut gate = self.gate.lock();
        let inherited = std::mem::take(&mut gate.inherited_open);
        let open = inherited || gate.opened.is_some();
        drop(gate);
        if open && let Err(error) = self.open() {
            error!(%error, "cannot accept again yet; out of descriptors?");
        }
    }

    /// Handles of all sockets of the ports.
    pub(crate) fn gate_sockets(&self) -> io::Result<Vec<PortSockets>> {
        let gate = self.gate.lock();
        let Some(opened) = &gate.opened else {
            return gate.ports.waiting();
        };
        let of_port = |(index, addr)| {
            let sockets = opened.listeners.iter().filter_map(|of_worker| of_worker.get(index));
            let handles =
                sockets.map(|listener: &TcpListener| listener.try_clone().map(OwnedFd::from));
            Ok(PortSockets { addr, sockets: handles.collect::<io::Result<_>>()? })
        };
        gate.ports.addrs().enumerate().map(of_port).collect()
    }

    /// Takes the sockets of another process.
    pub(crate) fn adopt_ports(
        &self,
        ports: &[PortRecord],
        sockets: Vec<OwnedFd>,
        open: bool,
    ) -> io::Result<()> {
        let mut gate = self.gate.lock();
        gate.inherited_open = open;
        gate.ports.adopt(ports, sockets)
    }
}

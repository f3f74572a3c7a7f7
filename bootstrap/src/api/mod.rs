//! The join API: what masters ask the coordinator, over TLS.
//!
//! [`server`] accepts and bounds connections, [`routes`] finds in the [`table`] what is asked and
//! whether the caller may, [`handlers`] answers.
//! What may be decided wrongly is decided in [`crate::registry`].

mod answer;
mod counts;
mod handlers;
mod routes;
mod server;
pub mod table;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use common::config::ListenAddr;
use common::config::address::APISERVER_PORT;
use common::places::Place;
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::coordinator::CoordinatorHandle;
use crate::registry::attempts::Attempts;

pub use counts::ApiCounts;
pub use server::{CONNECTIONS_MAX, serve};

/// What the operator may change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// `HOST:PORT` of the control plane as kubeadm shall know it; none: the address that the master
    /// reached, with the balancer's port.
    pub endpoint: Option<String>,
    /// Where the balancer listens.
    pub listen: Vec<ListenAddr>,
    /// Networks of which a master may name an address that is not its own.
    pub allow: Vec<IpNet>,
}

/// Everything that the API needs.
pub struct JoinApi {
    authority: Authority,
    coordinator: CoordinatorHandle,
    settings: watch::Receiver<ApiSettings>,
    attempts: Mutex<Attempts>,
    started: Instant,
    counts: ApiCounts,
}

/// Who asks, from where, and where it reached us.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Its address.
    pub(crate) peer: SocketAddr,
    /// Ours.
    pub(crate) local: SocketAddr,
    /// Name and key of its certificate, if it has one of ours.
    pub(crate) identity: Option<(String, String)>,
    /// Of its connection.
    pub(crate) place: Arc<Place>,
}

impl JoinApi {
    /// An API in front of this coordinator.
    #[must_use]
    pub fn new(
        authority: Authority,
        coordinator: CoordinatorHandle,
        settings: watch::Receiver<ApiSettings>,
    ) -> Arc<Self> {
        Arc::new(Self {
            authority,
            coordinator,
            settings,
            attempts: Mutex::default(),
            started: Instant::now(),
            counts: ApiCounts::default(),
        })
    }

    /// Counts since the start.
    #[must_use]
    pub fn counts(&self) -> &ApiCounts {
        &self.counts
    }

    /// The authority that certifies members.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The coordinator behind it.
    #[must_use]
    pub fn coordinator(&self) -> &CoordinatorHandle {
        &self.coordinator
    }

    /// Sources whose wrong tickets are remembered.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.attempts.lock().sources()
    }

    /// `HOST:PORT` of the control plane for somebody who reached us at `local`.
    fn endpoint(&self, local: SocketAddr) -> String {
        let settings = self.settings.borrow();
        settings.endpoint.clone().unwrap_or_else(|| {
            let port = settings.listen.first().map_or(APISERVER_PORT, |addr| addr.0.port());
            SocketAddr::new(local.ip().to_canonical(), port).to_string()
        })
    }

    fn may_try(&self, source: IpAddr) -> Result<(), std::time::Duration> {
        self.attempts.lock().allowed(source, self.started.elapsed())
    }

    fn wrong_ticket(&self, source: IpAddr) {
        self.attempts.lock().wrong(source, self.started.elapsed());
    }
}

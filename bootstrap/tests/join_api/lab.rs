//! A running coordinator on loopback with a health feed that the test writes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bootstrap::api::{ApiSettings, JoinApi, serve};
use bootstrap::authority::Authority;
use bootstrap::client::{ClientError, JoinClient, MemberCertificate, Trust};
use bootstrap::coordinator::Coordinator;
use bootstrap::identity::MemberKey;
use bootstrap::kubeadm::CaPin;
use bootstrap::protocol::{Intent, Registered, Registration};
use bootstrap::registry::tickets::Terms;
use common::config::ListenAddr;
use common::events::Journal;
use common::status::BackendState;
use common::{MemberState, Tasks};
use tokio::sync::watch;

pub(crate) const TOKEN: &str = "abcdef.0123456789abcdef";

pub(crate) struct Lab {
    pub(crate) api: Arc<JoinApi>,
    pub(crate) addr: SocketAddr,
    pub(crate) health: watch::Sender<Arc<Vec<MemberState>>>,
    settings: watch::Sender<ApiSettings>,
    tasks: Tasks,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// A machine that may register.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) key: MemberKey,
}

impl Machine {
    pub(crate) fn new(name: &str, port: u16) -> Self {
        Self { name: name.to_owned(), port, key: MemberKey::generate().unwrap() }
    }

    pub(crate) fn wish(&self, intent: Intent) -> Registration {
        Registration {
            name: self.name.clone(),
            address: None,
            port: self.port,
            csr: self.key.request(&self.name).unwrap(),
            cluster_ca: None,
            intent,
            force: false,
        }
    }
}

impl Lab {
    pub(crate) async fn start(dir: &Path) -> Self {
        let tasks = Tasks::new();
        let (health, feed) = watch::channel(Arc::default());
        let authority = Authority::open(dir).unwrap();
        let (coordinator, handle) =
            Coordinator::open(dir, Vec::new(), feed, Journal::new()).unwrap();
        tasks.spawn_until_stopped("coordinator", coordinator.run());
        let (settings, changes) = watch::channel(ApiSettings {
            listen: vec![ListenAddr::parse(":6443").unwrap()],
            ..ApiSettings::default()
        });
        let api = JoinApi::new(authority, handle, changes);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (served, connections) = (Arc::clone(&api), tasks.child());
        tasks.spawn_until_stopped("api", async move {
            serve(listener, served, connections).await.unwrap();
        });
        Self { api, addr, health, settings, tasks }
    }

    /// With a ticket for any number of masters.
    pub(crate) async fn with_ticket(dir: &Path) -> Self {
        let lab = Self::start(dir).await;
        lab.ticket(Terms::default()).await;
        lab
    }

    pub(crate) async fn ticket(&self, terms: Terms) {
        let token = TOKEN.parse().unwrap();
        let made = self
            .api
            .coordinator()
            .attempt(move |registry, now| registry.tickets.add(&token, terms, now.unix));
        made.await.unwrap().unwrap();
    }

    pub(crate) fn allow(&self, network: &str) {
        self.settings.send_modify(|settings| settings.allow = vec![network.parse().unwrap()]);
    }

    pub(crate) fn pin(&self) -> CaPin {
        *self.api.authority().pin()
    }

    /// A client without a certificate.
    pub(crate) fn stranger(&self) -> JoinClient {
        let addr = self.addr.to_string().parse().unwrap();
        JoinClient::new(addr, Trust::Pins(&[self.pin()]), None).unwrap()
    }

    pub(crate) async fn register(
        &self,
        machine: &Machine,
        intent: Intent,
    ) -> Result<Registered, ClientError> {
        let token = TOKEN.parse().unwrap();
        self.stranger().register(Some(&token), &machine.wish(intent)).await
    }

    pub(crate) fn member(&self, machine: &Machine, registered: &Registered) -> JoinClient {
        let addr = self.addr.to_string().parse().unwrap();
        let certificate = &registered.certificate;
        let member = MemberCertificate { certificate, key: machine.key.pem() };
        JoinClient::new(addr, Trust::Ca(&registered.coordinator_ca), Some(member)).unwrap()
    }

    /// The balancer says how backends of these ports are.
    pub(crate) fn backends(&self, states: &[(u16, BackendState)]) {
        let state = |(port, state): &(u16, BackendState)| MemberState {
            name: port.to_string(),
            addr: SocketAddr::from(([127, 0, 0, 1], *port)),
            state: *state,
            since: Instant::now(),
            why: "seen".into(),
        };
        self.health.send_replace(Arc::new(states.iter().map(state).collect()));
    }
}

/// Asks until something is so.
pub(crate) async fn until<A: Future<Output = bool>>(what: &str, holds: impl Fn() -> A) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

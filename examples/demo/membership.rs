//! How the balancer learns of the masters: each registers itself with one ticket, over the real join
//! API, and then says again and again that it is there. On a real master `mainstay init`, `join` and
//! `agent` do the same with the same client.

use std::time::Duration;

use bootstrap::client::{JoinClient, MemberCertificate, Trust};
use bootstrap::identity::MemberKey;
use bootstrap::protocol::{Heartbeat, Intent, Registered, Registration};
use bootstrap::ticket::{CoordinatorAddr, JoinTicket};
use common::Tasks;

use crate::master::Master;

/// Pause between two heartbeats; the coordinator holds its answer while nothing changes.
const PAUSE: Duration = Duration::from_millis(200);

/// Pause after a heartbeat that was not heard.
const RETRY: Duration = Duration::from_secs(1);

/// The machines of the masters, each with its agent.
pub(crate) struct Membership {
    ticket: JoinTicket,
    /// The certificate of the cluster's CA, PEM: kubeadm leaves it on every master.
    ca: String,
    agents: Tasks,
}

impl Membership {
    /// Nobody has registered yet.
    pub(crate) fn new(ticket: JoinTicket, ca: String) -> Self {
        Self { ticket, ca, agents: Tasks::new() }
    }

    /// The ticket, as arguments of `mainstay init` and `mainstay join`.
    pub(crate) fn arguments(&self) -> String {
        self.ticket.to_arguments().to_string()
    }

    /// Registers a master; from now on its agent attends the coordinator.
    pub(crate) async fn register(&self, master: &Master, first: bool) -> anyhow::Result<()> {
        for coordinator in &self.ticket.coordinators {
            let key = MemberKey::generate()?;
            let registered = self.register_with(coordinator, master, &key, first).await?;
            let member = MemberCertificate { certificate: &registered.certificate, key: key.pem() };
            let trust = Trust::Ca(&registered.coordinator_ca);
            let client = JoinClient::new(coordinator.clone(), trust, Some(member))?;
            self.agents.spawn_until_stopped("agent", attend(client));
        }
        Ok(())
    }

    async fn register_with(
        &self,
        coordinator: &CoordinatorAddr,
        master: &Master,
        key: &MemberKey,
        first: bool,
    ) -> anyhow::Result<Registered> {
        // The pin of the ticket proves who answers; the certificate that is given proves us later.
        let stranger = JoinClient::new(coordinator.clone(), Trust::Pins(&self.ticket.pins), None)?;
        let registration = Registration {
            name: master.name.clone(),
            // The one that reaches the coordinator.
            address: None,
            port: master.addr.port(),
            csr: key.request(&master.name)?,
            cluster_ca: Some(self.ca.clone()),
            intent: if first { Intent::Init } else { Intent::Register },
            force: false,
        };
        Ok(stranger.register(Some(&self.ticket.token), &registration).await?)
    }

    /// Ends all agents.
    pub(crate) async fn stop(&self) {
        self.agents.stop();
        self.agents.finished().await;
    }
}

/// Heartbeats until it is dropped. Cancel-safe.
async fn attend(client: JoinClient) {
    let mut seen = None;
    loop {
        let heartbeat = Heartbeat { seen: seen.take(), ..Heartbeat::default() };
        let pause = match client.heartbeat(&heartbeat).await {
            Ok(answer) => {
                seen = Some(answer.state);
                PAUSE
            }
            // The balancer shows whom it does not hear.
            Err(_) => RETRY,
        };
        tokio::time::sleep(pause).await;
    }
}

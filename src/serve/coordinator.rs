//! The coordinator in this process: its address, its files, and what it tells the balancer.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bootstrap::MembershipWriter;
use bootstrap::api::{ApiSettings, JoinApi, serve};
use bootstrap::authority::Authority;
use bootstrap::coordinator::{Coordinator, CoordinatorHandle, Knowledge};
use bootstrap::kubeadm::CaPin;
use bootstrap::sources::Registered;
use common::config::{Config, ListenAddr};
use common::coordinator::CoordinatorStatus;
use common::events::Journal;
use common::{HealthFeed, Member, Source, Tasks};
use lb::Balancer;
use lb::health::Command;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::{Cluster, cannot_bind, state_dir};
use crate::admin::lengthen_queue;
use crate::exit::{Exit, Stop};

/// Time until the keeper is asked again about a member that it did not know yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The running coordinator.
pub(crate) struct Join {
    /// The API in front of it.
    pub(crate) api: Arc<JoinApi>,
    /// Where masters reach it.
    pub(crate) addr: SocketAddr,
    settings: watch::Sender<ApiSettings>,
    listener: OwnedFd,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// What the coordinator is connected with.
pub(super) struct Surroundings<'a> {
    pub(super) balancer: &'a Balancer,
    pub(super) writer: &'a Arc<MembershipWriter>,
    pub(super) health: HealthFeed,
    pub(super) keeper: mpsc::Sender<Command>,
    pub(super) cluster: &'a Arc<Cluster>,
    pub(super) tasks: &'a Tasks,
    /// The listening socket of the process before, if there is one.
    pub(super) passed: Option<OwnedFd>,
}

impl Join {
    /// Starts the coordinator; none if there shall be none, or if the default address or directory
    /// cannot be had: then it is only a balancer, and says so.
    pub(super) async fn start(
        config: &Config,
        around: Surroundings<'_>,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(addr) = config.join.listen else {
            return Ok(None);
        };
        match Self::try_start(addr, config, around).await {
            Ok(join) => Ok(Some(join)),
            Err(error) if !config.join.listen_chosen => {
                let reason = format!("{error:#}");
                warn!(reason, "no coordinator: masters cannot register here");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn try_start(
        addr: SocketAddr,
        config: &Config,
        around: Surroundings<'_>,
    ) -> anyhow::Result<Arc<Self>> {
        let Some(directory) = state_dir::usable(config) else {
            let sentence = "the coordinator keeps keys and members; give it a directory that can be \
                            written with --state-dir, or switch it off with --join-listen off";
            return Err(Stop::new(Exit::Refused, sentence).into());
        };
        let (addr, listener) = bind(addr, around.passed)
            .await
            .map_err(|error| cannot_bind(&format!("open the join address {addr}"), &error))?;
        let passed = listener.as_fd().try_clone_to_owned()?;
        let authority = Authority::open(directory).map_err(Stop::failed)?;
        let journal: Journal = around.balancer.journal().clone();
        let (coordinator, handle) =
            Coordinator::open(directory, around.cluster.pins(), around.health.clone(), journal)?;
        around.tasks.spawn_until_stopped("coordinator", coordinator.run());
        let (settings, changes) = watch::channel(api_settings(config, around.balancer));
        let pin = authority.pin().to_string();
        let api = JoinApi::new(authority, handle.clone(), changes);
        info!(join = %addr, pin, "coordinator open; `mainstay ticket create` makes a ticket");
        let served = Arc::clone(&api);
        let connections = around.tasks.child();
        around.tasks.spawn_until_stopped("join API", async move {
            if let Err(error) = serve(listener, served, connections).await {
                error!(%error, "the join API has no certificate; restart mainstay");
            }
        });
        let (writer, cluster) = (Arc::clone(around.writer), Arc::clone(around.cluster));
        let told = tell(handle.knowledge(), (writer, cluster), around.keeper);
        around.tasks.spawn_until_stopped("coordinator's knowledge", told);
        Ok(Arc::new(Self { api, addr, settings, listener: passed }))
    }

    /// The listening socket, for the process that takes over.
    pub(super) fn handle(&self) -> std::io::Result<OwnedFd> {
        self.listener.try_clone()
    }

    /// The operator changed the configuration; `pins` are those of the cluster's CA in it.
    pub(super) async fn configure(&self, config: &Config, balancer: &Balancer, pins: Vec<CaPin>) {
        self.settings.send_replace(api_settings(config, balancer));
        let pinned = self.coordinator().ask(|registry, _| registry.cluster.pin(pins)).await;
        if let Err(error) = pinned {
            error!(%error, "masters are held to the old cluster.ca until mainstay is restarted");
        }
    }

    /// What screens show: the registry, and our own CA.
    pub(crate) fn status(&self) -> CoordinatorStatus {
        let mut status = CoordinatorStatus::clone(&self.coordinator().status());
        status.certificates.insert(0, self.api.authority().ends());
        status
    }

    /// The coordinator behind the API.
    pub(crate) fn coordinator(&self) -> &CoordinatorHandle {
        self.api.coordinator()
    }
}

/// Listens on the address, or goes on with the socket of the process before.
async fn bind(
    addr: SocketAddr,
    passed: Option<OwnedFd>,
) -> std::io::Result<(SocketAddr, TcpListener)> {
    let listener = match passed {
        Some(socket) => {
            let socket = std::net::TcpListener::from(socket);
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)?
        }
        None => {
            let listener = TcpListener::bind(addr).await?;
            lengthen_queue(&listener)?;
            listener
        }
    };
    Ok((listener.local_addr()?, listener))
}

fn api_settings(config: &Config, balancer: &Balancer) -> ApiSettings {
    ApiSettings {
        endpoint: config.join.endpoint.clone(),
        listen: balancer.listen().iter().copied().map(ListenAddr).collect(),
        allow: config.join.allow.clone(),
    }
}

/// Tells the rest of the program what the coordinator learns. Cancel-safe.
async fn tell(
    mut knowledge: watch::Receiver<Arc<Knowledge>>,
    (writer, cluster): (Arc<MembershipWriter>, Arc<Cluster>),
    keeper: mpsc::Sender<Command>,
) {
    let mut left = BTreeSet::new();
    let mut going_down = BTreeSet::new();
    loop {
        let known = Arc::clone(&knowledge.borrow_and_update());
        writer.registered(known.members.iter().map(registered).collect());
        for addr in known.left.difference(&left) {
            writer.leave(*addr);
        }
        left.clone_from(&known.left);
        cluster.learn(known.kubeconfig.clone(), known.cluster_ca.as_deref());
        let changed = knowledge.changed();
        let changed = match tell_going_down(&known, &mut going_down, &keeper).await {
            true => changed.await,
            false => timeout(LOOK_AGAIN, changed).await.unwrap_or(Ok(())),
        };
        if changed.is_err() {
            return;
        }
    }
}

fn registered(known: &bootstrap::coordinator::RegisteredMember) -> Registered {
    let member =
        Member { name: known.name.clone(), addr: known.address, source: Source::Registered };
    Registered { member, missing: known.missing }
}

/// Tells the keeper whose machines go down and whose are back. `told` are those it knows to go down;
/// whether it knows all.
async fn tell_going_down(
    known: &Knowledge,
    told: &mut BTreeSet<SocketAddr>,
    keeper: &mpsc::Sender<Command>,
) -> bool {
    let going = known.members.iter().filter(|member| member.draining);
    let now: BTreeSet<SocketAddr> = going.map(|member| member.address).collect();
    for addr in told.difference(&now) {
        // One that is no member any more needs no word.
        say_going_down(keeper, *addr, false).await;
    }
    told.retain(|addr| now.contains(addr));
    for addr in &now {
        if !told.contains(addr) && say_going_down(keeper, *addr, true).await {
            told.insert(*addr);
        }
    }
    told.len() == now.len()
}

/// Whether the keeper knows the member.
async fn say_going_down(keeper: &mpsc::Sender<Command>, addr: SocketAddr, going: bool) -> bool {
    let (answer, answered) = oneshot::channel();
    let command = Command::GoingDown { addr, going, answer };
    keeper.send(command).await.is_ok() && answered.await.unwrap_or(false)
}

//! Where `init`, `join` and `register` begin: the state directory, its lock, the identity, and a
//! registration with each coordinator of the ticket.

use bootstrap::agent::{Circumstances, RegisterError, cluster_ca, register_with, unix_now};
use bootstrap::client::{ClientError, JoinClient};
use bootstrap::identity::{
    AgentDir, Identity, KnownCoordinator, LockKind, MemberKey, RunLock, Seat,
};
use bootstrap::protocol::Intent;
use common::Tasks;
use futures_util::future::join_all;
use tokio::time::{Duration, Instant, timeout};

use super::progress::Progress;
use super::settings::MasterSettings;
use super::{dir_failed, interrupted, network, register_failed};
use crate::exit::{Exit, Stop};

/// How long a coordinator is asked again that does not answer. A person waits.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long one of several coordinators has to show that it is there. Two lost packets are made good
/// in 3 s.
const ANSWER: Duration = Duration::from_secs(4);

/// Wait between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// A master that a command works at.
pub(crate) struct Station {
    pub(crate) dir: AgentDir,
    lock: Option<RunLock>,
    pub(crate) settings: MasterSettings,
    pub(crate) identity: Identity,
}

impl Station {
    /// Opens the state directory and takes in the ticket. Nothing is sent yet.
    pub(crate) fn open(settings: MasterSettings, intent: Intent) -> anyhow::Result<Self> {
        let dir = AgentDir::open(&settings.state_dir).map_err(|error| dir_failed(&error))?;
        let lock = dir.lock(LockKind::Command).map_err(|error| dir_failed(&error))?;
        Self::with(settings, intent, dir, Some(lock))
    }

    /// As [`Station::open`], to look and to change nothing, not even the directory.
    pub(crate) fn look(settings: MasterSettings, intent: Intent) -> anyhow::Result<Self> {
        let dir = AgentDir::at(&settings.state_dir);
        Self::with(settings, intent, dir, None)
    }

    /// The lock; who only looks has none.
    pub(crate) fn lock(&self) -> anyhow::Result<&RunLock> {
        self.lock.as_ref().ok_or_else(|| Stop::failed("this run may change nothing").into())
    }

    fn with(
        settings: MasterSettings,
        intent: Intent,
        dir: AgentDir,
        lock: Option<RunLock>,
    ) -> anyhow::Result<Self> {
        let known = dir.load().map_err(|error| dir_failed(&error))?;
        let identity = identity(&settings, known, intent)?;
        Ok(Self { dir, lock, settings, identity })
    }

    /// Whether every coordinator has registered us.
    pub(crate) fn is_registered(&self) -> bool {
        let now = unix_now();
        let intent = self.identity.intent;
        self.identity.coordinators.iter().all(|known| known.is_registered_for(intent, now))
    }

    /// Registers with all coordinators; at least one must answer. The agent goes on trying the
    /// others.
    pub(crate) async fn register(
        &mut self,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<()> {
        let before = self.store()?;
        let mut first_error = None;
        let mut answered = false;
        for known in self.identity.coordinators.clone() {
            if known.is_registered_for(self.identity.intent, unix_now()) {
                answered = true;
                continue;
            }
            match self.register_patiently(&known, progress, tasks).await {
                Ok(registered) => {
                    answered = true;
                    progress.says(&format!(
                        "Registered with {} as {}, apiserver {}.",
                        known.address, registered.name, registered.address
                    ));
                }
                Err(error) if error.client().is_some_and(|it| self.is_refused(&known, it)) => {
                    // The agent must not say what was refused.
                    self.change(|identity| identity.intent = before)?;
                    return Err(register_failed(&error).into());
                }
                Err(error) => {
                    let others = self.identity.coordinators.len() > 1;
                    if others {
                        progress.says(&format!("Not registered: {error}"));
                    }
                    first_error.get_or_insert(error);
                }
            }
        }
        self.reload()?;
        if tasks.is_stopped() {
            return Err(interrupted("run the command again to go on").into());
        }
        match first_error {
            Some(error) if !answered => Err(register_failed(&error).into()),
            _ => Ok(()),
        }
    }

    /// Puts what this command wants on the disk, beside what the agent has learnt since the command
    /// began. What was wanted before.
    fn store(&mut self) -> anyhow::Result<Intent> {
        let (intent, ticket) = (self.identity.intent, self.settings.ticket.clone());
        let known = self.dir.load().map_err(|error| dir_failed(&error))?;
        let Some(known) = known.filter(|identity| identity.first_seat().is_some()) else {
            self.dir.create(&self.identity).map_err(|error| dir_failed(&error))?;
            return Ok(intent);
        };
        self.change(|stored| {
            stored.intent = intent;
            if let Some(ticket) = &ticket {
                stored.take(ticket);
            }
        })?;
        Ok(known.intent)
    }

    /// Whether what we want now is refused for good: by a coordinator that knows us, or because there
    /// is a first master already.
    fn is_refused(&self, known: &KnownCoordinator, error: &ClientError) -> bool {
        let matters = known.seat.is_some() || self.identity.intent == Intent::Init;
        matters && error.status().is_some_and(|status| status.as_u16() == 409)
    }

    async fn register_patiently(
        &self,
        known: &KnownCoordinator,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> Result<bootstrap::protocol::Registered, RegisterError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let circumstances = Circumstances {
                cluster_ca: cluster_ca(&self.settings.master),
                force: self.settings.force,
            };
            progress.waits(&format!("Registering with {}", known.address));
            let error = match register_with(&self.dir, &self.identity, known, circumstances).await {
                Err(error) => error,
                registered => return registered,
            };
            let later = error.client().is_some_and(|error| error.may_work_later());
            if !later || Instant::now() + PAUSE > deadline || tasks.is_stopped() {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Changes the identity, here and on the disk.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Identity)) -> anyhow::Result<()> {
        let changed = self.dir.update(change).map_err(|error| dir_failed(&error))?;
        let left = || Stop::failed("this machine has left meanwhile (`mainstay leave`)");
        self.identity = changed.ok_or_else(left)?;
        Ok(())
    }

    fn reload(&mut self) -> anyhow::Result<()> {
        self.change(|_| ())
    }

    /// A coordinator that has registered us, and what it gave.
    pub(crate) fn seat(&self) -> anyhow::Result<(JoinClient, Seat)> {
        let Some((known, seat)) = self.identity.first_seat() else {
            return Err(Stop::failed("no coordinator has registered this machine").into());
        };
        match known.member(&self.identity.key) {
            Ok(Some(client)) => Ok((client, seat.clone())),
            Ok(None) => Err(Stop::failed("no coordinator has registered this machine").into()),
            Err(error) => Err(super::client_failed(&error).into()),
        }
    }

    /// As [`Station::seat`], the first that answers now. The only one is waited for later.
    pub(crate) async fn answering(&self) -> anyhow::Result<(JoinClient, Seat)> {
        let first = self.all_answering().await?.into_iter().next();
        let known = first.and_then(|client| {
            let known = self.identity.coordinator(client.coordinator())?;
            Some((client, known.seat.clone()?))
        });
        known.map_or_else(|| self.seat(), Ok)
    }

    /// The coordinators that have registered us and answer now, or all if none does, in an order that
    /// all machines share.
    pub(crate) async fn all_answering(&self) -> anyhow::Result<Vec<JoinClient>> {
        let mut known: Vec<_> = self.identity.coordinators.iter().collect();
        known.sort_by_key(|known| known.seat.as_ref().map(|seat| &seat.ca));
        let members = known.into_iter().map(|known| known.member(&self.identity.key));
        let members = members.collect::<Result<Vec<_>, _>>();
        let members = members.map_err(|error| super::client_failed(&error))?;
        let clients: Vec<JoinClient> = members.into_iter().flatten().collect();
        if clients.len() < 2 {
            return Ok(clients);
        }
        let asked = clients.iter().map(|client| timeout(ANSWER, client.cluster()));
        let answers = join_all(asked).await;
        let answering: Vec<_> = clients
            .iter()
            .zip(answers)
            .filter(|(_, answer)| matches!(answer, Ok(Ok(_))))
            .map(|(client, _)| client.clone())
            .collect();
        Ok(if answering.is_empty() { clients } else { answering })
    }

    /// All coordinators that have registered us.
    pub(crate) fn clients(&self) -> Vec<JoinClient> {
        let known = self.identity.coordinators.iter();
        known.filter_map(|known| known.member(&self.identity.key).ok().flatten()).collect()
    }
}

/// The identity to go on with: the stored one, if it fits, or a new one.
fn identity(
    settings: &MasterSettings,
    known: Option<Identity>,
    intent: Intent,
) -> anyhow::Result<Identity> {
    let name = match &settings.node_name {
        Some(name) => Some(name.clone()),
        None if known.as_ref().is_some_and(|it| it.first_seat().is_some()) => None,
        None => Some(network::machine_name()?),
    };
    let mut identity = match known {
        Some(known) if known.first_seat().is_some() => {
            check(settings, &known, name.as_deref())?;
            known
        }
        // Nobody knows it yet, so everything but the key may change.
        Some(known) => fresh(settings, name, intent, known.key),
        None => fresh(settings, name, intent, MemberKey::generate().map_err(Stop::failed)?),
    };
    if let Some(ticket) = &settings.ticket {
        identity.take(ticket);
    }
    if identity.coordinators.is_empty() {
        return Err(Stop::usage(
            "no ticket given; copy the line that `mainstay ticket create` prints on the balancer",
        )
        .into());
    }
    if identity.intent != intent {
        identity.intent = intent;
    }
    Ok(identity)
}

fn fresh(
    settings: &MasterSettings,
    name: Option<String>,
    intent: Intent,
    key: MemberKey,
) -> Identity {
    Identity::new(name.unwrap_or_default(), intent, settings.advertise, settings.port, key)
}

/// A registered machine keeps its name and address.
fn check(settings: &MasterSettings, known: &Identity, name: Option<&str>) -> Result<(), Stop> {
    let differs = |what: &str, is: &dyn std::fmt::Display| {
        Stop::new(
            Exit::Usage,
            format!(
                "this machine is registered {what} {is}; run `mainstay leave` first to change it"
            ),
        )
    };
    if name.is_some_and(|name| name != known.name) {
        return Err(differs("as", &known.name));
    }
    if settings.port != known.port {
        return Err(differs("with the apiserver port", &known.port));
    }
    match (settings.advertise, known.address) {
        (Some(given), Some(is)) if given != is => Err(differs("with the address", &is)),
        _ => Ok(()),
    }
}

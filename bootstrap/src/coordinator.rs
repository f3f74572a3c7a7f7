//! The coordinator's one task: it owns the [`Registry`], keeps it on disk, and tells others what it
//! means for them.
//!
//! Whoever wants something sends a small function that reads or changes a copy of the registry. If
//! that changed what must survive a restart, the new state is on disk before the copy takes the
//! registry's place and the answer is given: what was acknowledged is never lost, and what could not
//! be written never happened.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use common::HealthFeed;
use common::coordinator::CoordinatorStatus;
use common::events::Journal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use crate::kubeadm::{CaPin, OsRandom, Random, RandomError};
use crate::registry::{Now, Registry, Saved};
use crate::store::{self, Loaded};

mod journal;
mod status;

/// File of the coordinator's state in the state directory.
pub const STATE_FILE: &str = "coordinator.json";

/// Requests that may wait. Each is answered in microseconds, or after one write to the disk.
const WAITING_MAX: usize = 256;

/// Time between two looks at what only time changes.
const TICK: Duration = Duration::from_millis(500);

/// A member for the balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredMember {
    /// Its name.
    pub name: String,
    /// Of its apiserver.
    pub address: SocketAddr,
    /// Whether nothing was heard of it for too long.
    pub missing: bool,
    /// Whether its machine says that it goes down.
    pub draining: bool,
}

/// What the rest of the program must know of the registry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Knowledge {
    /// Registered members.
    pub members: Vec<RegisteredMember>,
    /// Members that said that they go, or were removed, in this run.
    pub left: BTreeSet<SocketAddr>,
    /// The cluster's CA certificates, PEM.
    pub cluster_ca: Option<String>,
    /// The coordinator's kubeconfig.
    pub kubeconfig: Option<Arc<zeroize::Zeroizing<String>>>,
}

/// Why the coordinator cannot do what it was asked for. Try again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    /// It could not write its state.
    #[error("the coordinator cannot write its state ({0}); nothing was changed")]
    NotSaved(String),
    /// It has ended.
    #[error("the coordinator has stopped")]
    Stopped,
}

type Reply = Box<dyn FnOnce(Result<(), CoordinatorError>) + Send>;
/// Whether the changed copy is to be kept, and who waits for that.
type Done = (bool, Reply);
type Change = Box<dyn FnOnce(&mut Registry, Now) -> Done + Send>;
type Look = Box<dyn FnOnce(&Registry, Now) + Send>;

enum Job {
    /// Reads, and is no change for those who wait for one.
    Look(Look),
    Change(Change),
}

/// The way to the coordinator. Cheap to clone.
#[derive(Clone)]
pub struct CoordinatorHandle {
    jobs: mpsc::Sender<Job>,
    /// Grows with each change, for those who wait for one.
    changes: watch::Receiver<u64>,
    knowledge: watch::Receiver<Arc<Knowledge>>,
    status: watch::Receiver<Arc<CoordinatorStatus>>,
}

impl CoordinatorHandle {
    /// Reads the registry.
    ///
    /// # Errors
    /// [`CoordinatorError::Stopped`].
    pub async fn look<T, F>(&self, look: F) -> Result<T, CoordinatorError>
    where
        T: Send + 'static,
        F: FnOnce(&Registry, Now) -> T + Send + 'static,
    {
        let (send, receive) = oneshot::channel();
        // Whoever asked and is gone does not want to know.
        let job = Job::Look(Box::new(move |registry, now| drop(send.send(look(registry, now)))));
        self.jobs.send(job).await.map_err(|_| CoordinatorError::Stopped)?;
        receive.await.map_err(|_| CoordinatorError::Stopped)
    }

    /// Changes the registry. The answer comes when the change is on disk.
    ///
    /// # Errors
    /// [`CoordinatorError`]; nothing has changed then.
    pub async fn ask<T, F>(&self, job: F) -> Result<T, CoordinatorError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Registry, Now) -> T + Send + 'static,
    {
        self.submit(job, |_| true).await
    }

    /// As [`CoordinatorHandle::ask`], but if the answer is an error nothing has changed.
    ///
    /// # Errors
    /// The inner error is the job's own.
    pub async fn attempt<T, E, F>(&self, job: F) -> Result<Result<T, E>, CoordinatorError>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Registry, Now) -> Result<T, E> + Send + 'static,
    {
        self.submit(job, Result::is_ok).await
    }

    async fn submit<T, F>(&self, job: F, keep: fn(&T) -> bool) -> Result<T, CoordinatorError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Registry, Now) -> T + Send + 'static,
    {
        let (send, receive) = oneshot::channel();
        let job: Change = Box::new(move |registry, now| {
            let value = job(registry, now);
            // Whoever asked and is gone does not want to know.
            (keep(&value), Box::new(move |kept| drop(send.send(kept.map(|()| value)))))
        });
        self.jobs.send(Job::Change(job)).await.map_err(|_| CoordinatorError::Stopped)?;
        receive.await.map_err(|_| CoordinatorError::Stopped)?
    }

    /// Changes of the registry from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// What the rest of the program must know.
    #[must_use]
    pub fn knowledge(&self) -> watch::Receiver<Arc<Knowledge>> {
        self.knowledge.clone()
    }

    /// What screens show, at most half a second old.
    #[must_use]
    pub fn status(&self) -> Arc<CoordinatorStatus> {
        Arc::clone(&self.status.borrow())
    }
}

/// The coordinator.
pub struct Coordinator {
    registry: Registry,
    saved: Saved,
    file: PathBuf,
    started: Instant,
    left: BTreeSet<SocketAddr>,
    health: HealthFeed,
    journal: Journal,
    jobs: mpsc::Receiver<Job>,
    changes: watch::Sender<u64>,
    knowledge: watch::Sender<Arc<Knowledge>>,
    status: watch::Sender<Arc<CoordinatorStatus>>,
}

impl Coordinator {
    /// Goes on from what is in the state directory; a damaged file is put aside and told.
    /// `pins`: the cluster's CAs, if the operator named them.
    ///
    /// # Errors
    /// [`RandomError`] if the system has no random numbers.
    pub fn open(
        state_dir: &std::path::Path,
        pins: Vec<CaPin>,
        health: HealthFeed,
        journal: Journal,
    ) -> Result<(Self, CoordinatorHandle), RandomError> {
        let file = state_dir.join(STATE_FILE);
        let saved: Saved = match store::load(&file) {
            Loaded::Absent => Saved::default(),
            loaded => loaded.found().unwrap_or_default(),
        };
        let mut seed = [0; 8];
        OsRandom.fill(&mut seed)?;
        let mut registry = Registry::restored(saved.clone(), u64::from_le_bytes(seed));
        registry.cluster.pin(pins);
        let (send, jobs) = mpsc::channel(WAITING_MAX);
        let (changes, _) = watch::channel(0);
        let (knowledge, _) = watch::channel(Arc::default());
        let (status, _) = watch::channel(Arc::default());
        let handle = CoordinatorHandle {
            jobs: send,
            changes: changes.subscribe(),
            knowledge: knowledge.subscribe(),
            status: status.subscribe(),
        };
        let left = BTreeSet::new();
        let started = Instant::now();
        let coordinator = Self {
            registry,
            saved,
            file,
            started,
            left,
            health,
            journal,
            jobs,
            changes,
            knowledge,
            status,
        };
        coordinator.publish();
        Ok((coordinator, handle))
    }

    /// Works until it is dropped. Each await point but the write is cancel-safe, and a write that
    /// was begun is finished by its own thread.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut healthy = true;
        loop {
            tokio::select! {
                job = self.jobs.recv() => {
                    let Some(job) = job else { return };
                    self.perform(job).await;
                }
                changed = self.health.changed(), if healthy => {
                    healthy = changed.is_ok();
                    self.observe().await;
                }
                _ = tick.tick() => self.let_time_pass().await,
            }
        }
    }

    async fn perform(&mut self, job: Job) {
        let job = match job {
            Job::Look(look) => return look(&self.registry, self.now()),
            Job::Change(change) => change,
        };
        let mut next = self.registry.clone();
        let (keep, reply) = job(&mut next, self.now());
        reply(if keep { self.keep(next).await } else { Ok(()) });
    }

    async fn observe(&mut self) {
        let health = Arc::clone(&self.health.borrow_and_update());
        let mut next = self.registry.clone();
        next.observe(&health, self.now());
        self.keep_ours(next).await;
    }

    async fn let_time_pass(&mut self) {
        let mut next = self.registry.clone();
        next.tick(self.now());
        self.keep_ours(next).await;
    }

    /// Keeps what we found out ourselves: it is true even if the disk is full, and found out again
    /// after a restart.
    async fn keep_ours(&mut self, next: Registry) {
        let mut anyway = next.clone();
        if let Err(error) = self.keep(next).await {
            error!(%error, "going on with what is in memory");
            self.tell(&mut anyway);
            self.registry = anyway;
            self.publish();
        }
    }

    async fn keep(&mut self, mut next: Registry) -> Result<(), CoordinatorError> {
        let saved = next.saved();
        if saved != self.saved {
            self.write(&saved).await?;
            self.saved = saved;
        }
        self.tell(&mut next);
        self.registry = next;
        self.publish();
        Ok(())
    }

    async fn write(&self, saved: &Saved) -> Result<(), CoordinatorError> {
        let not_saved =
            |error: &dyn std::fmt::Display| CoordinatorError::NotSaved(error.to_string());
        let bytes = serde_json::to_vec(saved).map_err(|error| not_saved(&error))?;
        let bytes = zeroize::Zeroizing::new(bytes);
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || store::save(&file, &bytes)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(not_saved(&error)),
            Err(error) => Err(not_saved(&error)),
        }
    }

    /// Notes what happened in the journal and the log.
    fn tell(&mut self, next: &mut Registry) {
        for event in next.take_events() {
            if let crate::registry::RegistryEvent::Left(name) = &event
                && let Some(record) = self.registry.members.of(name)
            {
                self.left.insert(record.address);
            }
            let (kind, about, text) = journal::entry(&event);
            info!(event = kind.label(), about, text, "coordinator");
            self.journal.note_about(kind, &about, text);
        }
    }

    fn publish(&self) {
        let run = self.now().run;
        let member = |record: &crate::registry::members::MemberRecord| RegisteredMember {
            name: record.name.clone(),
            address: record.address,
            missing: self.registry.members.is_missing(&record.name, run),
            draining: self.registry.members.heard(&record.name).is_some_and(|it| it.said.draining),
        };
        let members: Vec<_> = self.registry.members.records().map(member).collect();
        let here = |address: &&SocketAddr| !members.iter().any(|it| it.address == **address);
        let cluster = &self.registry.cluster;
        let knowledge = Knowledge {
            left: self.left.iter().filter(here).copied().collect(),
            members,
            cluster_ca: cluster.ca().map(str::to_owned),
            kubeconfig: cluster.kubeconfig().cloned().map(Arc::new),
        };
        self.knowledge.send_if_modified(|current| {
            let changed = **current != knowledge;
            if changed {
                *current = Arc::new(knowledge);
            }
            changed
        });
        self.status.send_replace(Arc::new(status::status(&self.registry, self.now())));
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { unix: since.as_secs(), run: self.started.elapsed() }
    }
}

#[cfg(test)]
mod tests;

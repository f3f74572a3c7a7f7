//! The loop of one coordinator: register, renew, heartbeat, work. It may be dropped at any await
//! point: what it learnt is on the disk, and a work that it began runs to its end by itself.

use std::sync::Arc;
use std::time::Duration;

use common::Tasks;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::credentials::{issue, revoke};
use super::desk::{Desk, Taken};
use super::duty::{Duty, Told, duty};
use super::facts::{announce, cluster_ca};
use super::registering::{Circumstances, RegisterError, register_with, renew};
use super::{LOOK, Master, unix_now};
use crate::client::{Backoff, ClientError, JoinClient};
use crate::identity::{AgentDir, Identity, KnownCoordinator};
use crate::kubeadm::OsRandom;
use crate::protocol::{Heartbeat, Task, Work, WorkOutcome, WorkResult};
use crate::ticket::CoordinatorAddr;

/// Longest that a work may take: a coordinator asks somebody else after 45 s. It is some ten calls,
/// none of which usually takes a second.
const WORK_LIMIT: Duration = Duration::from_secs(40);

/// How often a result is told before it is given up; the work ends by itself then.
const RESULT_TRIES: usize = 6;

/// Least time between two heartbeats, in case that a coordinator answers at once.
const PACE: Duration = Duration::from_millis(200);

/// The state of a master in rotation; only such a one may say what the cluster is.
const IN_ROTATION: &str = "UP";

/// Wait when a coordinator does not know us and nothing but a new ticket helps.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// What the loops share.
pub(super) struct Office {
    dir: AgentDir,
    master: Master,
    tasks: Tasks,
    /// The certificates Secret is one for the whole cluster: two uploads at once would spoil each
    /// other.
    uploading: tokio::sync::Mutex<()>,
}

impl Office {
    pub(super) fn new(dir: AgentDir, master: Master, tasks: Tasks) -> Self {
        Self { dir, master, tasks, uploading: tokio::sync::Mutex::new(()) }
    }
}

/// What one loop remembers.
struct Attendance {
    office: Arc<Office>,
    desk: Arc<Mutex<Desk>>,
    unknown: bool,
    /// What was told of the cluster.
    told: Told,
    /// State of our backend, as the coordinator said it last.
    state: Option<String>,
    /// The last failure that was logged, so that each is logged once.
    said: String,
}

/// Attends one coordinator until the identity is gone.
pub(super) async fn attend(office: Arc<Office>, address: CoordinatorAddr) {
    let desk = Arc::new(Mutex::new(Desk::default()));
    let mut attendance = Attendance {
        office,
        desk,
        unknown: false,
        told: Told::default(),
        state: None,
        said: String::new(),
    };
    let mut backoff = Backoff::default();
    loop {
        let identity = match attendance.office.dir.load() {
            Ok(Some(identity)) => identity,
            Ok(None) => return,
            Err(error) => {
                attendance.failed(&address, &error);
                tokio::time::sleep(FORGOTTEN).await;
                continue;
            }
        };
        let Some(known) = identity.coordinator(&address) else { return };
        match attendance.round(&identity, known).await {
            Ok(()) => {
                if !std::mem::take(&mut attendance.said).is_empty() {
                    info!(coordinator = %address, "the coordinator answers again");
                }
                backoff.worked();
                tokio::time::sleep(PACE).await;
            }
            Err(error) => {
                attendance.failed(&address, &error);
                let wait = attendance.wait(&error, &mut backoff);
                attendance.rest(&identity, &address, wait).await;
            }
        }
    }
}

impl Attendance {
    /// One duty and one heartbeat.
    async fn round(
        &mut self,
        identity: &Identity,
        known: &KnownCoordinator,
    ) -> Result<(), RegisterError> {
        let dir = &self.office.dir;
        match duty(known, unix_now(), self.unknown) {
            Duty::Register => {
                let cluster_ca = cluster_ca(&self.office.master);
                let circumstances = Circumstances { cluster_ca, force: false };
                register_with(dir, identity, known, circumstances).await?;
                self.unknown = false;
                self.told = Told::default();
                info!(coordinator = %known.address, name = identity.name, "registered");
                return Ok(());
            }
            Duty::Renew => {
                if let Some(client) = known.member(&identity.key)? {
                    match renew(dir, identity, known, &client).await {
                        Ok(_) => {
                            info!(coordinator = %known.address, "renewed the certificate");
                            return Ok(());
                        }
                        // There is half of its life left to try again.
                        Err(error) => self.failed(&known.address, &error),
                    }
                }
            }
            Duty::Attend => {}
        }
        let Some(client) = known.member(&identity.key)? else { return Ok(()) };
        let attended = self.heartbeat(client).await;
        self.unknown = attended.as_ref().is_err_and(ClientError::is_unknown_to_it);
        Ok(attended?)
    }

    async fn heartbeat(&mut self, client: JoinClient) -> Result<(), ClientError> {
        let can_issue = self.office.master.can_issue();
        let heartbeat = Heartbeat { draining: false, can_issue, seen: self.state.clone() };
        let answer = client.heartbeat(&heartbeat).await?;
        if self.state.as_ref() != Some(&answer.state) {
            info!(coordinator = %client.coordinator(), state = answer.state, why = answer.why,
                "the balancer has another opinion of this master");
            self.state = Some(answer.state);
        }
        if can_issue && self.state.as_deref() == Some(IN_ROTATION) {
            self.tell_facts(&client).await;
        }
        if let Some(work) = answer.work {
            self.take(client, work);
        }
        Ok(())
    }

    /// Tells what the cluster is, if that is due. The coordinator can do without for a while.
    async fn tell_facts(&mut self, client: &JoinClient) {
        let ca = cluster_ca(&self.office.master);
        if !self.told.is_due(unix_now(), ca.as_deref()) {
            return;
        }
        let whole = match announce(&self.office.master, ca.clone(), client).await {
            Ok(whole) => whole,
            Err(error) => {
                warn!(coordinator = %client.coordinator(), reason = %error,
                    "cannot tell the coordinator about the cluster");
                !error.may_work_later()
            }
        };
        self.told = std::mem::take(&mut self.told).after(unix_now(), ca, whole);
    }

    fn take(&self, client: JoinClient, work: Work) {
        let id = work.id;
        let taken = self.desk.lock().take(work);
        let (office, desk) = (Arc::clone(&self.office), Arc::clone(&self.desk));
        match taken {
            Taken::Busy => {}
            Taken::Again(result) => {
                let tell = async move {
                    tell(&office, &client, WorkResult { id, result }).await;
                };
                self.office.tasks.spawn(tell);
            }
            Taken::Start(task) => {
                let job = async move {
                    let result = perform(&office, task).await;
                    desk.lock().done(id, result.clone());
                    tell(&office, &client, WorkResult { id, result }).await;
                };
                self.office.tasks.spawn(job);
            }
        }
    }

    /// Logs a failure, once until it changes.
    fn failed(&mut self, address: &CoordinatorAddr, error: &dyn std::fmt::Display) {
        let said = error.to_string();
        if said != self.said {
            warn!(coordinator = %address, reason = said, "the coordinator cannot be attended");
            self.said = said;
        }
    }

    /// Waits so long, or until a command has told us more of this coordinator: a new ticket, or what it
    /// gave for one.
    async fn rest(&self, before: &Identity, address: &CoordinatorAddr, wait: Duration) {
        let end = Instant::now() + wait;
        let told = |identity: &Identity| {
            let known = identity.coordinator(address);
            (identity.token.clone(), known.map(|it| (it.pins.clone(), it.seat.clone())))
        };
        let before = told(before);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(LOOK)).await;
            let now = self.office.dir.load();
            let news = now.is_ok_and(|now| now.as_ref().map(told).as_ref() != Some(&before));
            if news || left <= LOOK {
                return;
            }
        }
    }

    fn wait(&self, error: &RegisterError, backoff: &mut Backoff) -> Duration {
        let asked = error.client().and_then(ClientError::retry_after);
        let ours = backoff.failed(asked, fastrand::f64());
        match error.client() {
            // The next round registers by the key; if that has just failed, only a ticket helps.
            Some(client) if client.is_denied() && !self.unknown => ours.max(FORGOTTEN),
            _ => ours,
        }
    }
}

/// Does a work. Never fails to have an outcome.
async fn perform(office: &Office, task: Task) -> WorkOutcome {
    let _alone = office.uploading.lock().await;
    let work = async {
        match task {
            Task::Issue { joiner, sealing_key } => {
                info!(joiner, "making credentials for a joiner");
                let stop = office.tasks.stopping();
                let made = issue(&office.master, &joiner, &sealing_key, &mut OsRandom, stop).await;
                made.map(|(sealed, made)| WorkOutcome::Issued { sealed, made })
            }
            Task::Revoke { made } => {
                info!(token = made.token_id, "revoking the credentials of a join");
                revoke(&office.master, &made).await.map(|()| WorkOutcome::Revoked)
            }
        }
    };
    match tokio::time::timeout(WORK_LIMIT, work).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => {
            let wait = error.must_wait();
            if wait {
                info!(reason = %error, "the work must wait");
            } else {
                warn!(reason = %error, "the work failed");
            }
            WorkOutcome::Failed { reason: error.to_string(), wait }
        }
        Err(_) => WorkOutcome::Failed {
            reason: format!("it took longer than {} s", WORK_LIMIT.as_secs()),
            wait: false,
        },
    }
}

/// Tells a result. If the coordinator has no use for credentials any more they are revoked.
async fn tell(office: &Office, client: &JoinClient, result: WorkResult) {
    let mut backoff = Backoff::default();
    for _ in 0..RESULT_TRIES {
        match client.work_result(&result).await {
            Ok(()) => return,
            Err(error) if error.may_work_later() => {
                let wait = backoff.failed(error.retry_after(), fastrand::f64());
                tokio::select! {
                    () = office.tasks.stopping() => break,
                    () = tokio::time::sleep(wait) => {}
                }
            }
            Err(error) => {
                debug!(reason = %error, "the coordinator does not want the result");
                break;
            }
        }
    }
    if let WorkOutcome::Issued { made, .. } = &result.result
        && let Err(error) = revoke(&office.master, made).await
    {
        warn!(reason = %error, "credentials that nobody uses end by themselves in 15 minutes");
    }
}

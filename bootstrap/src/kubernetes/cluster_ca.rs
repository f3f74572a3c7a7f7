//! The cluster's CA, found by its pin: the operator gives 32 bytes, the cluster gives the rest.
//!
//! The ConfigMap `kube-public/cluster-info` holds the CA bundle and may be read by everybody. It is
//! asked twice. The first answer comes over TLS that nobody verified, so only certificates with the
//! pin are taken from it: a stranger could put others beside them. The second is asked for over TLS
//! that those must verify, and its whole bundle is trusted, as kubeadm does after its second read.
//! While a CA is being replaced the second may fail; the pinned certificates are then all there is.
//!
//! Once it is known it is asked for again when a member is given up, whose new certificate may be of
//! a CA that has come beside the pinned one.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::status::BackendState;
use common::{HealthFeed, MembershipFeed};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::backoff::Backoff;
use crate::cluster::{Access, Cluster};
use crate::kubeadm::{
    Authority, CLUSTER_INFO_NAME, CaPin, ClusterInfo, ConfigMap, PUBLIC_NAMESPACE,
};
use crate::store;

/// Name of the file in the state directory.
const FILE: &str = "cluster-ca.crt";

/// Longest wait for one member's answer: the next one may be quicker.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Largest file that is read back.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A CA bundle and the pin it was found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterCa {
    /// One of its certificates has this pin.
    pub pin: CaPin,
    /// The bundle as PEM.
    pub pem: Vec<u8>,
}

/// Looks for the CA until it is found, and again when the pin changes or a member is given up.
#[derive(Debug)]
pub struct CaFinder {
    /// The pin to look for; without one nothing is looked for, and nothing is found.
    pub pin: watch::Receiver<Option<CaPin>>,
    /// Who can be asked.
    pub members: MembershipFeed,
    /// How they are: those that serve are asked first, and a change is a reason to ask again.
    pub health: HealthFeed,
    /// Where what was found is kept over a restart.
    pub directory: Option<PathBuf>,
    /// What was found. It stays while another pin is looked for.
    pub found: watch::Sender<Option<Arc<ClusterCa>>>,
}

impl ClusterCa {
    /// The CA that an earlier run found by this pin.
    #[must_use]
    pub fn kept(directory: &Path, pin: CaPin) -> Option<Self> {
        let path = directory.join(FILE);
        let size = std::fs::metadata(&path).ok()?.len();
        let pem = std::fs::read(&path).ok().filter(|_| size <= FILE_BYTES_MAX)?;
        let pins = CaPin::of_bundle(&pem).ok()?;
        pins.contains(&pin).then_some(Self { pin, pem })
    }

    /// Whether it has a certificate that the other lacks.
    fn adds_to(&self, other: &Self) -> bool {
        let pins = |ca: &Self| CaPin::of_bundle(&ca.pem).unwrap_or_default();
        CaPin::any_new(&pins(self), &pins(other))
    }

    /// Keeps it for the next run; a disk that fails costs the next start a question.
    fn keep(&self, directory: &Path) {
        let path = directory.join(FILE);
        if let Err(error) = store::save(&path, &self.pem) {
            warn!(%error, path = %path.display(), "cannot keep the cluster's CA");
        }
    }
}

impl CaFinder {
    /// Runs until it is dropped. Cancel-safe.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        let (mut told, mut given_up) = (None, HashSet::new());
        loop {
            let Some(pin) = self.wanted(&mut given_up).await else {
                return;
            };
            let known = self.known(pin);
            if known.is_none()
                && let Some(kept) = self.kept(pin).await
            {
                self.found.send_replace(Some(Arc::new(kept)));
                continue;
            }
            let begun = Instant::now();
            let mut renewed = self.pin.clone();
            let asked = tokio::select! {
                asked = self.ask_all(pin) => asked,
                changed = renewed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
            };
            match (asked, known) {
                (Ok(ca), None) => self.publish(ca).await,
                (Ok(ca), Some(known)) if ca.adds_to(&known) => self.publish(ca).await,
                // What is known stays.
                (_, Some(_)) => {}
                (Err(reason), None) => {
                    if reason.is_some() && reason != told {
                        warn!(reason, "the cluster's CA is not known yet");
                        told = reason;
                    }
                    let wait = backoff.ended(begun.elapsed(), fastrand::f64());
                    tokio::select! {
                        () = sleep(wait) => {}
                        _ = self.pin.changed() => backoff.forget(),
                        _ = self.members.changed() => backoff.forget(),
                        _ = self.health.changed() => backoff.forget(),
                    }
                }
            }
        }
    }

    /// The CA of this pin, if it was found.
    fn known(&self, pin: CaPin) -> Option<Arc<ClusterCa>> {
        self.found.borrow().clone().filter(|ca| ca.pin == pin)
    }

    /// Waits for a pin whose CA is not known, or for a member that is given up; `None` at the end of
    /// the program.
    async fn wanted(&mut self, given_up: &mut HashSet<SocketAddr>) -> Option<CaPin> {
        loop {
            let pin = *self.pin.borrow_and_update();
            let known = self.found.borrow().as_ref().map(|ca| ca.pin);
            let now = self.given_up();
            let before = std::mem::replace(given_up, now);
            match pin {
                Some(pin) if known != Some(pin) => return Some(pin),
                Some(pin) if !given_up.is_subset(&before) => return Some(pin),
                None if known.is_some() => {
                    self.found.send_replace(None);
                }
                _ => {}
            }
            tokio::select! {
                changed = self.pin.changed() => changed.ok()?,
                changed = self.health.changed() => changed.ok()?,
            }
        }
    }

    /// The members that get no connections because their probes fail.
    fn given_up(&mut self) -> HashSet<SocketAddr> {
        let health = self.health.borrow_and_update();
        let dead = health.iter().filter(|it| it.state == BackendState::Dead);
        dead.map(|it| it.addr).collect()
    }

    /// What an earlier run found.
    async fn kept(&self, pin: CaPin) -> Option<ClusterCa> {
        let directory = self.directory.clone()?;
        let reading = tokio::task::spawn_blocking(move || ClusterCa::kept(&directory, pin));
        reading.await.ok()?
    }

    async fn publish(&self, ca: ClusterCa) {
        info!(pin = %ca.pin, "the cluster's CA is known; probes verify it from now on");
        let kept = ca.clone();
        if let Some(directory) = self.directory.clone() {
            // A write that was lost with its thread costs the next start a question.
            tokio::task::spawn_blocking(move || kept.keep(&directory)).await.ok();
        }
        self.found.send_replace(Some(Arc::new(ca)));
    }

    /// Asks one member after the other. The error is a reason worth telling: a member that is not
    /// there, or has no cluster-info yet, is none.
    async fn ask_all(&self, pin: CaPin) -> Result<ClusterCa, Option<String>> {
        let mut reason = None;
        for addr in self.in_order() {
            match timeout(ANSWER_TIMEOUT, ask(addr, pin)).await {
                Ok(Ok(ca)) => return Ok(ca),
                Ok(Err(Refusal::Told(told))) => reason = Some(told),
                Ok(Err(Refusal::Later)) | Err(_) => {}
            }
        }
        Err(reason)
    }

    /// The members, those that serve first.
    fn in_order(&self) -> Vec<SocketAddr> {
        let health = Arc::clone(&self.health.borrow());
        let serves = |addr: &SocketAddr| {
            health.iter().any(|it| it.addr == *addr && it.state == BackendState::Up)
        };
        let members = Arc::clone(&self.members.borrow());
        let mut addrs: Vec<SocketAddr> = members.members.iter().map(|it| it.addr).collect();
        addrs.sort_by_key(|addr| !serves(addr));
        addrs
    }
}

/// Why a member did not help.
enum Refusal {
    /// It may help later.
    Later,
    /// Something an operator should know.
    Told(String),
}

/// Asks one member, twice.
async fn ask(addr: SocketAddr, pin: CaPin) -> Result<ClusterCa, Refusal> {
    let told = |reason: String| Refusal::Told(format!("cluster-info of {addr}: {reason}"));
    let unverified = Access::unverified(addr).map_err(|error| told(error.to_string()))?;
    let bundle = bundle(unverified, addr).await?;
    let pinned = pin.pick(&bundle).map_err(|error| told(error.to_string()))?;
    if pinned.is_empty() {
        let found = CaPin::of_bundle(&bundle).map_err(|error| told(error.to_string()))?;
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        return Err(Refusal::Told(format!(
            "the cluster at {addr} has the CA {}, but the pin is {pin}; is it another cluster, or is \
             the pin wrong?",
            found.join(", ")
        )));
    }
    let verified = Access::verified(addr, pinned.clone());
    let verified = verified.map_err(|error| told(error.to_string()))?;
    let whole = self::bundle(verified, addr).await.ok();
    let pem = whole.filter(|pem| pin.pick(pem).is_ok_and(|found| !found.is_empty()));
    let pem = pem.unwrap_or_else(|| CaPin::bundle_of(&pinned));
    Ok(ClusterCa { pin, pem })
}

/// The CA bundle of a member's `cluster-info`.
async fn bundle(access: Access, addr: SocketAddr) -> Result<Vec<u8>, Refusal> {
    let told = |reason: &dyn std::fmt::Display| {
        Refusal::Told(format!("cluster-info of {addr} cannot be used: {reason}"))
    };
    let path = format!("/api/v1/namespaces/{PUBLIC_NAMESPACE}/configmaps/{CLUSTER_INFO_NAME}");
    let cluster = Cluster::connect(access).map_err(|error| told(&error))?;
    let answer: Zeroizing<Vec<u8>> = match cluster.read_whole(&path).await {
        Ok(answer) => answer,
        Err(error) if error.is_denied() => {
            return Err(Refusal::Told(format!(
                "{addr} does not show cluster-info to everybody; give the CA itself as cluster.ca"
            )));
        }
        Err(_) => return Err(Refusal::Later),
    };
    let text = std::str::from_utf8(&answer).map_err(|error| told(&error))?;
    let map = ConfigMap::parse(text).map_err(|error| told(&error))?;
    let info = ClusterInfo::from_config_map(&map).map_err(|error| told(&error))?;
    match &info.access().authority {
        Some(Authority::Pem(pem)) => Ok(pem.clone()),
        _ => Err(told(&"it holds no CA")),
    }
}

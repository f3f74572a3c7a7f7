//! What we know of the cluster itself: how to log in to watch it, and its CA.
//!
//! Both come from the configuration, or from a master that hands them to the coordinator; the
//! configuration wins. While a pin is wanted whose CA is not known, probes cannot tell an apiserver
//! from a stranger, and say so.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use bootstrap::MembershipWriter;
use bootstrap::kubeadm::CaPin;
use bootstrap::kubernetes::{
    CaFinder, ClusterCa, Credentials, KubernetesSource, Pace, SourceStatus,
};
use common::config::Config;
use common::status::KubernetesStatus;
use common::{HealthFeed, Tasks, files};
use lb::Balancer;
use lb::health::Command;
use lb::health::prober::ProbeMethod;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tracing::error;
use zeroize::Zeroizing;

use super::probe::{self, PEM_BYTES_MAX};
use super::state_dir;

/// A kubeconfig as text.
pub(crate) type Kubeconfig = Arc<Zeroizing<String>>;

/// The access to the cluster and its identity.
pub(crate) struct Cluster {
    known: Mutex<Known>,
    credentials: watch::Sender<Option<Credentials>>,
    pin: watch::Sender<Option<CaPin>>,
    found: watch::Sender<Option<Arc<ClusterCa>>>,
    status: watch::Sender<SourceStatus>,
    directory: Option<PathBuf>,
}

/// What the configuration says and what a master said.
struct Known {
    config: Config,
    kubeconfig: Option<Kubeconfig>,
    ca: Option<Vec<u8>>,
}

impl Known {
    /// The CA that a master handed over, unless it is given or has not the wanted pin.
    fn learnt(&self) -> Option<ClusterCa> {
        let pem = self.ca.clone().filter(|_| self.config.cluster.ca.is_none())?;
        let pins = CaPin::of_bundle(&pem).ok()?;
        let pin = match configured_pin(&self.config) {
            Some(wanted) => pins.into_iter().find(|pin| *pin == wanted),
            None => pins.into_iter().next(),
        };
        Some(ClusterCa { pin: pin?, pem })
    }
}

impl fmt::Debug for Cluster {
    /// Without the kubeconfig, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// What the configuration and the state directory know.
    pub(super) fn new(config: &Config) -> Self {
        let directory = state_dir::usable(config).map(PathBuf::from);
        let pin = configured_pin(config);
        let kept = |pin| ClusterCa::kept(directory.as_deref()?, pin);
        let found = pin.and_then(kept).map(Arc::new);
        Self {
            known: Mutex::new(Known { config: config.clone(), kubeconfig: None, ca: None }),
            credentials: watch::Sender::new(configured_credentials(config)),
            pin: watch::Sender::new(pin),
            found: watch::Sender::new(found),
            status: watch::Sender::new(SourceStatus::default()),
            directory,
        }
    }

    /// Watches the apiservers, looks for the CA, and tells the probes when it is found.
    pub(super) fn follow(
        self: &Arc<Self>,
        balancer: &Balancer,
        writer: &Arc<MembershipWriter>,
        health: HealthFeed,
        probes: mpsc::Sender<Command>,
        tasks: &Tasks,
    ) {
        let source = KubernetesSource {
            listen: balancer.listen().to_vec(),
            credentials: self.credentials.subscribe(),
            health: health.clone(),
            writer: Arc::clone(writer),
            pace: Pace::default(),
            status: self.status.clone(),
        };
        tasks.spawn_until_stopped("kubernetes source", source.run());
        let finder = CaFinder {
            pin: self.pin.subscribe(),
            members: writer.feed(),
            health,
            directory: self.directory.clone(),
            found: self.found.clone(),
        };
        tasks.spawn_until_stopped("cluster CA", finder.run());
        tasks.spawn_until_stopped("probe identity", Arc::clone(self).identify(probes));
    }

    /// The state of the Kubernetes source.
    pub(crate) fn status(&self) -> SourceStatus {
        self.status.borrow().clone()
    }

    /// As [`Cluster::status`], for screens.
    pub(crate) fn kubernetes(&self) -> KubernetesStatus {
        let SourceStatus { on, api, answered, since, listed, error, failures } = self.status();
        let ago = |at: Instant| at.elapsed().as_secs();
        KubernetesStatus {
            on,
            connected: on && answered.is_some() && error.is_none(),
            since_seconds: since.map(ago),
            answered_seconds_ago: answered.map(ago),
            api: api.map(str::to_owned),
            listed: listed.iter().map(ToString::to_string).collect(),
            error,
            failures_total: failures,
        }
    }

    /// Whether probes verify apiservers: `None` where nobody asked for that.
    pub(crate) fn identified(&self) -> Option<bool> {
        let given = self.known.lock().config.cluster.ca.is_some();
        let wanted = self.pin.borrow().is_some();
        (given || wanted).then(|| given || self.found.borrow().is_some())
    }

    /// How backends are to be questioned under this configuration, with the CA found so far.
    pub(super) fn method(&self, config: &Config) -> Result<ProbeMethod, String> {
        let found = self.found.borrow().clone();
        let wanted = configured_pin(config).is_some();
        probe::method(config, found.as_deref(), wanted)
    }

    /// The operator changed the configuration. Files are read again even if their names are the same.
    pub(super) fn configure(&self, config: &Config) {
        let mut known = self.known.lock();
        known.config = config.clone();
        self.tell(&known);
    }

    /// A registered master handed over what the coordinator may use: a kubeconfig, and the CA of its
    /// cluster as PEM. What is configured wins, and a CA without the configured pin is none.
    pub(super) fn learn(&self, kubeconfig: Option<Kubeconfig>, ca: Option<&str>) {
        let mut known = self.known.lock();
        known.kubeconfig = kubeconfig;
        known.ca = ca.map(|pem| pem.as_bytes().to_vec());
        self.tell(&known);
    }

    /// The pins that the operator gave, as such or as the CA itself; the registry holds masters to
    /// them.
    pub(super) fn pins(&self) -> Vec<CaPin> {
        let config = self.known.lock().config.clone();
        let file = config.cluster.ca.and_then(|path| files::regular(&path, PEM_BYTES_MAX).ok());
        match (file, config.cluster.ca_pin) {
            (Some(pem), _) => CaPin::of_bundle(&pem).unwrap_or_default(),
            (None, pin) => pin.and_then(|pin| CaPin::from_str(&pin).ok()).into_iter().collect(),
        }
    }

    fn tell(&self, known: &Known) {
        let handed = || known.kubeconfig.clone().map(Credentials::Handed);
        let credentials = configured_credentials(&known.config).or_else(handed);
        let same_text = matches!(credentials, None | Some(Credentials::Handed(_)))
            && *self.credentials.borrow() == credentials;
        if !same_text {
            self.credentials.send_replace(credentials);
        }
        let learnt = known.learnt();
        let pin = configured_pin(&known.config).or(learnt.as_ref().map(|ca| ca.pin));
        if let Some(learnt) = learnt {
            self.found.send_if_modified(|found| {
                let changed = found.as_deref() != Some(&learnt);
                *found = Some(Arc::new(learnt));
                changed
            });
        }
        self.pin.send_if_modified(|current| std::mem::replace(current, pin) != pin);
    }

    /// Tells the probes each CA that is found. Cancel-safe.
    async fn identify(self: Arc<Self>, probes: mpsc::Sender<Command>) {
        let mut found = self.found.subscribe();
        while found.changed().await.is_ok() {
            found.borrow_and_update();
            let config = self.known.lock().config.clone();
            match self.method(&config) {
                Ok(method) => {
                    if probes.send(Command::Probe(method)).await.is_err() {
                        return;
                    }
                }
                Err(reason) => error!(reason, "the cluster's CA cannot be used for the probes"),
            }
        }
    }
}

fn configured_credentials(config: &Config) -> Option<Credentials> {
    config.kubeconfig.clone().map(Credentials::File)
}

/// The pin that must be looked for: none if the CA itself is given.
fn configured_pin(config: &Config) -> Option<CaPin> {
    let pin = config.cluster.ca_pin.as_deref().filter(|_| config.cluster.ca.is_none())?;
    CaPin::from_str(pin).ok()
}

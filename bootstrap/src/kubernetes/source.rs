//! The task that watches `default/kubernetes`, for as long as the program runs.
//!
//! It waits while it has no credentials or while no backend serves, lists, watches, and begins anew
//! after every failure. It never ends and never takes anything out of the membership by failing.
//! All await points are cancel-safe.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::config::ListenAddr;
use common::config::address::APISERVER_PORT;
use common::status::BackendState;
use common::{HealthFeed, OwnAddresses};
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::Credentials;
use super::backoff::{Backoff, GOOD_AFTER};
use super::endpoints::{Api, Listing, Seen, Unreadable};
use crate::MembershipWriter;
use crate::cluster::{AccessError, ApiError, Cluster, Lines};

/// Seconds that are added to a watch at random, so that two balancers do not ask in step.
const WATCH_SECONDS_SPREAD: u64 = 10;

/// How long things last. The default is for clusters; tests are in a hurry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Seconds after which a server ends a watch of ours: short, so that a stalled one is found soon.
    pub watch_seconds: u64,
    /// Silence beyond the end of the watch after which the connection is given up.
    pub grace: Duration,
    /// Changes within this time are told as one: a joining master comes and goes while etcd grows.
    pub debounce: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { watch_seconds: 50, grace: Duration::from_secs(10), debounce: Duration::from_secs(1) }
    }
}

/// Where credentials come from; `None` while there are none.
pub type CredentialsFeed = watch::Receiver<Option<Credentials>>;

/// What is known of the source, for status and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// Whether there are credentials; without them the source is off.
    pub on: bool,
    /// The API that answers.
    pub api: Option<&'static str>,
    /// When it last said anything.
    pub answered: Option<Instant>,
    /// When it began to answer, or to fail.
    pub since: Option<Instant>,
    /// The apiservers that it listed last.
    pub listed: Vec<SocketAddr>,
    /// Why there is no answer now, in one sentence.
    pub error: Option<String>,
    /// Failures since the start.
    pub failures: u64,
}

/// The task's inputs and outputs.
#[derive(Debug)]
pub struct KubernetesSource {
    /// Where our own balancer listens, at least one address. The source goes through the first, and
    /// takes none of them for an apiserver: the balancer would dial itself.
    pub listen: Vec<SocketAddr>,
    /// The credentials, which may change at any time.
    pub credentials: CredentialsFeed,
    /// How the backends are: while none serves there is nobody to ask.
    pub health: HealthFeed,
    /// Who is told.
    pub writer: Arc<MembershipWriter>,
    /// How long things last.
    pub pace: Pace,
    /// Where the state is shown.
    pub status: watch::Sender<SourceStatus>,
}

/// Why the source cannot tell now.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{0}")]
    Watch(String),
    #[error("the watch was silent for {}s; the connection is given up", .0.as_secs())]
    Stalled(Duration),
}

impl KubernetesSource {
    /// Runs until it is dropped. Cancel-safe.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let Some(credentials) = self.credentials().await else {
                return;
            };
            let mut renewed = self.credentials.clone();
            self.somebody_serves().await;
            let begun = Instant::now();
            let failure = tokio::select! {
                failure = self.follow(&credentials) => failure,
                changed = renewed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    backoff.forget();
                    continue;
                }
            };
            let lasted = if self.answered_since(begun) { begun.elapsed() } else { Duration::ZERO };
            self.failed(&failure, lasted);
            tokio::select! {
                () = sleep(backoff.ended(lasted, fastrand::f64())) => {}
                _ = renewed.changed() => backoff.forget(),
                () = self.serves_again() => backoff.forget(),
            }
        }
    }

    /// Waits for credentials; `None` if there will never be any.
    async fn credentials(&mut self) -> Option<Credentials> {
        loop {
            let credentials = self.credentials.borrow_and_update().clone();
            self.status.send_if_modified(|status| {
                let on = credentials.is_some();
                std::mem::replace(&mut status.on, on) != on
            });
            if credentials.is_some() {
                return credentials;
            }
            self.credentials.changed().await.ok()?;
        }
    }

    /// Lists and watches until something fails.
    async fn follow(&self, credentials: &Credentials) -> Failure {
        match self.try_to_follow(credentials).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    async fn try_to_follow(
        &self,
        credentials: &Credentials,
    ) -> Result<std::convert::Infallible, Failure> {
        let entrance = entrance(&self.listen);
        let cluster = Cluster::connect(credentials.access()?.through(entrance))?;
        loop {
            let mut listing = list(&cluster).await?;
            self.answered(&listing);
            self.tell(&listing);
            while !self.watch(&cluster, &mut listing).await? {}
        }
    }

    /// One watch; whether the list must be read anew.
    async fn watch(&self, cluster: &Cluster, listing: &mut Listing) -> Result<bool, Failure> {
        let spread = WATCH_SECONDS_SPREAD.min(self.pace.watch_seconds / 4);
        let seconds = self.pace.watch_seconds + fastrand::u64(..=spread);
        let limit = Duration::from_secs(seconds) + self.pace.grace;
        let begun = Instant::now();
        let path = listing.api().watch(listing.version(), seconds);
        let anew = match cluster.watch(&path).await {
            Ok(mut lines) => {
                let mut due = None;
                let ended = self.hear(&mut lines, listing, &mut due, limit).await;
                if due.is_some() {
                    self.tell(listing);
                }
                ended?
            }
            Err(error) if error.status().is_some_and(|status| status.code == 410) => true,
            Err(error) => return Err(error.into()),
        };
        // A server that ends every watch at once must not be asked without a pause.
        if begun.elapsed() < self.pace.debounce {
            sleep(self.pace.debounce).await;
        }
        Ok(anew)
    }

    /// Takes in events until the server ends the watch; tells changes once they are due.
    async fn hear(
        &self,
        lines: &mut Lines,
        listing: &mut Listing,
        due: &mut Option<tokio::time::Instant>,
        limit: Duration,
    ) -> Result<bool, Failure> {
        loop {
            let line = tokio::select! {
                line = timeout(limit, lines.next()) => line.map_err(|_| Failure::Stalled(limit))??,
                () = until(*due) => {
                    *due = None;
                    self.tell(listing);
                    continue;
                }
            };
            let Some(line) = line else { return Ok(false) };
            let seen = listing.apply(&line)?;
            self.answered(listing);
            match seen {
                Seen::Changed => {
                    due.get_or_insert(tokio::time::Instant::now() + self.pace.debounce);
                }
                Seen::Unchanged => {}
                Seen::Expired => return Ok(true),
                Seen::Failure(reason) => return Err(Failure::Watch(reason)),
            }
        }
    }

    fn tell(&self, listing: &Listing) {
        let own = match OwnAddresses::read() {
            Ok(own) => own,
            Err(error) => {
                // One of them may be ourselves, and would be asked in a circle.
                warn!(%error, "cannot read this machine's addresses; the members stay");
                return;
            }
        };
        let mut addrs = listing.addrs();
        addrs.retain(|addr| !is_ours(*addr, &self.listen, &own));
        self.writer.kubernetes(&addrs);
    }

    /// Notes that the API said something.
    fn answered(&self, listing: &Listing) {
        self.status.send_modify(|status| {
            let api = listing.api().name();
            if status.error.take().is_some() || status.api != Some(api) {
                info!(api, "the cluster tells us its apiservers");
                status.since = Some(Instant::now());
            }
            status.api = Some(api);
            status.answered = Some(Instant::now());
            status.listed = listing.addrs();
        });
    }

    fn answered_since(&self, begun: Instant) -> bool {
        self.status.borrow().answered.is_some_and(|answered| answered >= begun)
    }

    /// Notes a failure; the same one is logged once. A watch that breaks after it went well is what a
    /// restart or a drain of its master does, and is seldom news.
    fn failed(&self, failure: &Failure, lasted: Duration) {
        let reason = failure.to_string();
        self.status.send_modify(|status| {
            status.failures = status.failures.saturating_add(1);
            if status.error.as_ref() != Some(&reason) {
                if lasted >= GOOD_AFTER {
                    debug!(reason, "the watch of the apiservers broke; it begins anew");
                } else {
                    warn!(reason, "the cluster does not tell us its apiservers; the members stay");
                }
                if status.error.replace(reason).is_none() {
                    status.since = Some(Instant::now());
                }
            }
        });
    }

    /// Resolves at once if a backend takes connections, else as soon as one does.
    async fn somebody_serves(&self) {
        let mut health = self.health.clone();
        // A feed that ended is the end of the program.
        health.wait_for(|members| serves(members)).await.ok();
    }

    /// Resolves when nobody served and then somebody does.
    async fn serves_again(&self) {
        let mut health = self.health.clone();
        if health.wait_for(|members| !serves(members)).await.is_err() {
            return std::future::pending().await;
        }
        self.somebody_serves().await;
    }
}

fn serves(members: &[common::MemberState]) -> bool {
    members.iter().any(|member| match member.state {
        BackendState::Up | BackendState::Skipped | BackendState::Suspect | BackendState::Drain => {
            true
        }
        BackendState::Pending
        | BackendState::Frozen
        | BackendState::Dead
        | BackendState::Removed => false,
    })
}

/// Where a program on this machine reaches the balancer.
fn entrance(listen: &[SocketAddr]) -> SocketAddr {
    let first = listen.first().copied();
    let first = first.unwrap_or(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), APISERVER_PORT));
    if first.ip().is_unspecified() {
        return SocketAddr::new(Ipv4Addr::LOCALHOST.into(), first.port());
    }
    first
}

/// Whether a connection to this address would come to ourselves.
fn is_ours(addr: SocketAddr, listen: &[SocketAddr], own: &OwnAddresses) -> bool {
    listen.iter().any(|it| ListenAddr(*it).accepts(addr, own))
}

async fn until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The list by the best API that is there, that we may read, and that lists anybody: 1.17 serves
/// slices that nothing fills unless a feature gate is on.
async fn list(cluster: &Cluster) -> Result<Listing, Failure> {
    let mut refused: Option<ApiError> = None;
    let mut empty: Option<Listing> = None;
    for api in Api::ALL {
        match cluster.read_whole(&api.list()).await {
            Ok(answer) => {
                let listing = Listing::read(api, &answer)?;
                if !listing.addrs().is_empty() {
                    return Ok(listing);
                }
                empty = empty.or(Some(listing));
            }
            Err(error) => match error.status().map(|status| status.code) {
                Some(404) => refused = refused.or(Some(error)),
                Some(403) => refused = Some(error),
                _ => return Err(error.into()),
            },
        }
    }
    empty.ok_or_else(|| refused.map_or(Failure::Unreadable(Unreadable), Failure::Api))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_address_is_no_apiserver() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let own: OwnAddresses = [addr("192.0.2.7:0").ip()].into_iter().collect();
        let is_ours = |text, listen: &[SocketAddr]| is_ours(addr(text), listen, &own);
        let everywhere = [addr("[::]:6443")];
        assert_eq!(entrance(&everywhere), addr("127.0.0.1:6443"));
        assert!(is_ours("127.0.0.1:6443", &everywhere));
        assert!(is_ours("192.0.2.7:6443", &everywhere));
        assert!(!is_ours("192.0.2.7:7443", &everywhere));
        assert!(!is_ours("192.0.2.1:6443", &everywhere), "of another machine");
        let one = [addr("192.0.2.9:6443")];
        assert_eq!(entrance(&one), one[0]);
        assert!(is_ours("192.0.2.9:6443", &one) && !is_ours("127.0.0.1:6443", &one));
    }
}

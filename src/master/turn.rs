//! The joiner's part of the broker: wait for the turn, keep it while kubeadm runs, and see it end.
//!
//! With several coordinators it takes the turn of each that answers, in an order that all joiners
//! share, so that one machine at a time joins and none waits for another that waits for it. The last
//! one gives the credentials. A coordinator that falls silent is done without as long as another one
//! answers.

use std::time::Duration;

use bootstrap::client::{Backoff, ClientError, JoinClient};
use bootstrap::kubeadm::{BootstrapToken, CaPin, CertificateKey};
use bootstrap::protocol::{Credentials, JoinAnswer, JoinOutcome, JoinPhase, JoinRequest};
use bootstrap::sealing::SealingKey;
use common::Tasks;
use futures_util::future::join_all;

use super::progress::{Progress, left};
use super::{client_failed, interrupted, patiently};
use crate::exit::{Exit, Stop};

/// How long the only coordinator is waited for if it is away: longer than a restart and its upgrade.
const AWAY_MAX: Duration = Duration::from_secs(180);

/// How long one of several is waited for: longer than a restart.
const ONE_AWAY_MAX: Duration = Duration::from_secs(8);

/// How long the end of kubeadm is told again. A turn whose joiner is silent ends after 60 s anyway.
const TELL_MAX: Duration = Duration::from_secs(60);

/// Pause after an answer that came at once, so that no coordinator is asked without end.
pub(super) const PACE: Duration = Duration::from_millis(200);

/// How long a coordinator that is away is waited for, one of so many.
pub(super) fn patience(coordinators: usize) -> Duration {
    if coordinators > 1 { ONE_AWAY_MAX } else { AWAY_MAX }
}

/// What a joiner was given, checked.
pub(crate) struct Given {
    pub(crate) endpoint: String,
    pub(crate) token: BootstrapToken,
    pub(crate) pins: Vec<CaPin>,
    pub(crate) key: CertificateKey,
}

/// The turn at one coordinator.
struct Place {
    client: JoinClient,
    /// Whether it gives no credentials.
    turn_only: bool,
    away_max: Duration,
}

/// A turn to join.
pub(crate) struct Turn {
    /// One for each coordinator. The last one gives the credentials.
    places: Vec<Place>,
    sealing_key: String,
}

/// Why a turn was not had.
enum Lost {
    /// The coordinator does not answer.
    Away(ClientError),
    /// The join has ended.
    Ended(anyhow::Error),
}

impl Turn {
    /// Waits for the turn at each of the coordinators, and for credentials.
    pub(crate) async fn take(
        clients: Vec<JoinClient>,
        name: &str,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<(Self, Given)> {
        let key = SealingKey::generate().map_err(Stop::failed)?;
        let mut turn = Self { places: Vec::new(), sealing_key: key.public() };
        let opened = match turn.wait(clients, progress, tasks).await {
            Ok(sealed) => open(key, name, &sealed),
            Err(error) => Err(error),
        };
        match opened {
            Ok(given) => Ok((turn, given)),
            Err(error) => {
                // The place in the queue, or the turn, is for the next one.
                turn.give_up("the joiner gave up before kubeadm ran").await;
                Err(error)
            }
        }
    }

    /// Takes one place after the other and keeps those that it has.
    async fn wait(
        &mut self,
        clients: Vec<JoinClient>,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<String> {
        let away_max = patience(clients.len());
        let mut clients = clients.into_iter().peekable();
        let mut last_error = None;
        while let Some(client) = clients.next() {
            let turn_only = clients.peek().is_some();
            self.places.push(Place { client, turn_only, away_max });
            match self.wait_at_last(progress, tasks).await {
                Ok(Some(sealed)) => return Ok(sealed),
                Ok(None) => {}
                Err(Lost::Ended(error)) => return Err(error),
                Err(Lost::Away(error)) => {
                    progress.says(&format!("Going on without a coordinator: {error}"));
                    self.places.pop();
                    last_error = Some(error);
                }
            }
        }
        // The one that should give the credentials does not answer; one that answered gives them.
        while let Some(place) = self.places.last_mut() {
            place.turn_only = false;
            match self.wait_at_last(progress, tasks).await {
                Ok(Some(sealed)) => return Ok(sealed),
                Ok(None) => {}
                Err(Lost::Ended(error)) => return Err(error),
                Err(Lost::Away(error)) => {
                    self.places.pop();
                    last_error = Some(error);
                }
            }
        }
        let error = last_error.map(|error| client_failed(&error));
        Err(error.unwrap_or_else(|| Stop::failed("no coordinator to join through")).into())
    }

    /// Waits for the turn at the last place, and for credentials if it gives them; keeps the others.
    async fn wait_at_last(
        &self,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> Result<Option<String>, Lost> {
        let Some((last, held)) = self.places.split_last() else { return Ok(None) };
        tokio::select! {
            biased;
            () = tasks.stopping() => Err(Lost::Ended(interrupted("nothing was changed here").into())),
            waited = self.wait_at(last, progress, tasks) => waited,
            () = self.hold(held) => Ok(None),
        }
    }

    async fn wait_at(
        &self,
        place: &Place,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> Result<Option<String>, Lost> {
        let (mut first, mut seen) = (true, None);
        loop {
            let answer = self.ask(place, seen, tasks).await.map_err(|error| {
                if error.may_work_later() {
                    return Lost::Away(error);
                }
                Lost::Ended(client_failed(&error).into())
            })?;
            match answer.phase {
                JoinPhase::Ready if place.turn_only => return Ok(None),
                JoinPhase::Ready => {
                    if let Some(sealed) = answer.credentials {
                        progress.says("It is our turn; the credentials are there.");
                        return Ok(Some(sealed));
                    }
                }
                JoinPhase::Queued | JoinPhase::Issuing => progress.waits(&waiting(&answer)),
                // The end of an earlier try, which is told once.
                JoinPhase::Failed | JoinPhase::Joined | JoinPhase::Settling if first => {
                    first = false;
                    continue;
                }
                JoinPhase::Failed | JoinPhase::Joined | JoinPhase::Settling => {
                    let sentence = format!("the turn to join ended: {}", answer.message);
                    return Err(Lost::Ended(Stop::new(Exit::TryAgain, sentence).into()));
                }
            }
            first = false;
            seen = Some(answer.phase);
            tokio::time::sleep(PACE).await;
        }
    }

    fn request(&self, place: &Place, seen: Option<JoinPhase>) -> JoinRequest {
        let (sealing_key, turn_only) = (self.sealing_key.clone(), place.turn_only);
        JoinRequest { sealing_key, turn_only, seen }
    }

    /// Says that we still want it, and what was seen; a coordinator that is away is waited for.
    async fn ask(
        &self,
        place: &Place,
        seen: Option<JoinPhase>,
        tasks: &Tasks,
    ) -> Result<JoinAnswer, ClientError> {
        let request = self.request(place, seen);
        patiently(place.away_max, tasks, || place.client.join(&request)).await
    }

    /// Keeps the turn while kubeadm runs. Resolves with the reason if it is lost all the same.
    pub(crate) async fn keep(&self) -> String {
        let Some((last, held)) = self.places.split_last() else {
            return std::future::pending().await;
        };
        tokio::select! {
            lost = self.keep_at(last) => lost,
            () = self.hold(held) => std::future::pending().await,
        }
    }

    /// Keeps the turn at places that give no credentials. Never resolves.
    async fn hold(&self, held: &[Place]) {
        join_all(held.iter().map(|place| self.keep_at(place))).await;
        std::future::pending::<()>().await;
    }

    async fn keep_at(&self, place: &Place) -> String {
        let (mut backoff, mut seen) = (Backoff::default(), Some(JoinPhase::Ready));
        loop {
            let wait = match place.client.join(&self.request(place, seen)).await {
                // To ask again would begin another join.
                Ok(answer) if answer.phase == JoinPhase::Failed => return answer.message,
                Ok(answer) => {
                    seen = Some(answer.phase);
                    backoff.worked();
                    PACE
                }
                // kubeadm goes on without the coordinator.
                Err(error) => backoff.failed(error.retry_after(), fastrand::f64()),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Frees the turn; it ends by itself if that cannot be said.
    pub(crate) async fn give_up(&self, reason: &str) {
        let outcome = JoinOutcome { joined: false, reason: reason.to_owned() };
        let limit = Duration::from_secs(5);
        let tell = |place: &Place| {
            let client = place.client.clone();
            let outcome = &outcome;
            async move { tokio::time::timeout(limit, client.join_outcome(outcome)).await }
        };
        join_all(self.places.iter().map(tell)).await;
    }

    /// Waits until the coordinator that gave the credentials says that the turn has ended, which is
    /// when the new master is in rotation there. `false` if it knows of no turn of ours any more, or
    /// if it is away and there are others to ask.
    pub(crate) async fn settle(
        &self,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<bool> {
        let Some(place) = self.places.last() else { return Ok(false) };
        let mut seen = None;
        loop {
            let answer = tokio::select! {
                biased;
                () = tasks.stopping() => {
                    return Err(interrupted("this machine is a master; see `mainstay status`").into());
                }
                answer = self.ask(place, seen, tasks) => answer,
            };
            let answer = match answer {
                Err(error) if error.may_work_later() && place.away_max < AWAY_MAX => {
                    return Ok(false);
                }
                answer => answer.map_err(|error| client_failed(&error))?,
            };
            match answer.phase {
                JoinPhase::Joined => return Ok(true),
                JoinPhase::Settling => progress.waits(&waiting(&answer)),
                JoinPhase::Failed => {
                    let hint = "kubeadm has ended well, but the balancer does not use this master";
                    return Err(Stop::failed(format!("{hint}: {}", answer.message)).into());
                }
                // It has forgotten the turn and takes this for a new wish.
                JoinPhase::Queued | JoinPhase::Issuing | JoinPhase::Ready => {
                    tell(std::slice::from_ref(&place.client), true, "").await.ok();
                    return Ok(false);
                }
            }
            seen = Some(answer.phase);
            tokio::time::sleep(PACE).await;
        }
    }
}

/// Tells all coordinators how kubeadm ended; one must hear it. Harmless where no turn is left.
pub(crate) async fn tell(
    clients: &[JoinClient],
    joined: bool,
    reason: &str,
) -> Result<(), ClientError> {
    let outcome = JoinOutcome { joined, reason: reason.to_owned() };
    let limit = TELL_MAX.min(patience(clients.len()));
    // Also when we are stopping: it is the last word.
    let stopped = Tasks::new();
    let telling = clients.iter().map(|client| {
        let (outcome, stopped) = (&outcome, &stopped);
        patiently(limit, stopped, move || client.join_outcome(outcome))
    });
    let mut failure = Ok(());
    for told in join_all(telling).await {
        match told {
            Ok(()) => return Ok(()),
            Err(error) => failure = Err(error),
        }
    }
    failure
}

/// A line of progress.
fn waiting(answer: &JoinAnswer) -> String {
    let before = match answer.position {
        0 => String::new(),
        1 => " (1 join before this one)".to_owned(),
        more => format!(" ({more} joins before this one)"),
    };
    let deadline = answer
        .deadline_seconds
        .map(|seconds| format!(", at most {} more", left(Duration::from_secs(seconds))));
    let message: String = answer.message.chars().filter(|c| !c.is_control()).take(300).collect();
    let deadline = deadline.filter(|_| answer.position == 0).unwrap_or_default();
    format!("Waiting for the turn to join{before}: {message}{deadline}")
}

fn open(key: SealingKey, name: &str, sealed: &str) -> anyhow::Result<Given> {
    let broken = || {
        Stop::failed(
            "the credentials for this join cannot be used; run the command again for new ones",
        )
    };
    let text = key.open(name, sealed).map_err(Stop::failed)?;
    let credentials: Credentials = serde_json::from_slice(&text).map_err(|_| broken())?;
    let pins = credentials.ca_cert_hashes.iter().map(|pin| pin.parse());
    let pins = pins.collect::<Result<Vec<_>, _>>().map_err(|_| broken())?;
    if pins.is_empty() {
        return Err(broken().into());
    }
    Ok(Given {
        endpoint: credentials.endpoint,
        token: credentials.token.parse().map_err(|_| broken())?,
        pins,
        key: credentials.certificate_key.parse().map_err(|_| broken())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_is_before_us_and_for_how_long() {
        let answer = |position, deadline_seconds| JoinAnswer {
            phase: JoinPhase::Queued,
            position,
            message: "master2 has the\u{1b}[31m turn".to_owned(),
            deadline_seconds,
            credentials: None,
        };
        assert_eq!(
            waiting(&answer(2, Some(90))),
            "Waiting for the turn to join (2 joins before this one): master2 has the[31m turn"
        );
        assert!(waiting(&answer(1, None)).contains("(1 join before this one)"));
        assert!(waiting(&answer(0, Some(600))).ends_with(", at most 10 min more"));
    }

    #[test]
    fn only_whole_credentials_are_taken() {
        let sealed = |text: &str| {
            let key = SealingKey::generate().unwrap();
            let random = &mut bootstrap::kubeadm::OsRandom;
            let sealed =
                bootstrap::sealing::seal(&key.public(), "master2", text.as_bytes(), random)
                    .unwrap();
            open(key, "master2", &sealed)
        };
        let (pin, key) = (format!("sha256:{}", "ab".repeat(32)), "cd".repeat(32));
        let text = |token: &str, pin: &str| {
            format!(
                r#"{{"endpoint":"lb:6443","token":"{token}","ca_cert_hashes":["{pin}"],"certificate_key":"{key}"}}"#
            )
        };
        let given = sealed(&text("abcdef.0123456789abcdef", &pin)).unwrap();
        assert_eq!((given.endpoint.as_str(), given.pins.len()), ("lb:6443", 1));
        for text in [text("secret", &pin), text("abcdef.0123456789abcdef", "x"), "{}".to_owned()] {
            let error = sealed(&text).err().unwrap().to_string();
            assert!(error.contains("cannot be used") && !error.contains("secret"), "{error}");
        }
    }
}

//! The joiner's part of the broker: wait for the turn, keep it while kubeadm runs, and see it end.

use std::time::Duration;

use bootstrap::client::{Backoff, ClientError, JoinClient};
use bootstrap::kubeadm::{BootstrapToken, CaPin, CertificateKey};
use bootstrap::protocol::{
    Credentials, Heartbeat, JoinAnswer, JoinOutcome, JoinPhase, JoinRequest,
};
use bootstrap::sealing::SealingKey;
use common::Tasks;
use tokio::time::Instant;

use super::progress::{Progress, left};
use super::{client_failed, interrupted, patiently};
use crate::exit::{Exit, Stop};

/// How long a coordinator that is away is waited for: longer than a restart and its upgrade.
const AWAY_MAX: Duration = Duration::from_secs(180);

/// How long the end of kubeadm is told again. A turn whose joiner is silent ends after 60 s anyway.
const TELL_MAX: Duration = Duration::from_secs(60);

/// Longest wait for the rotation after the turn: a coordinator's own limit for a new apiserver is
/// 6 minutes.
const ROTATION_MAX: Duration = Duration::from_secs(420);

/// Pause after an answer that came at once, so that no coordinator is asked without end.
const PACE: Duration = Duration::from_millis(200);

/// What a joiner was given, checked.
pub(crate) struct Given {
    pub(crate) endpoint: String,
    pub(crate) token: BootstrapToken,
    pub(crate) pins: Vec<CaPin>,
    pub(crate) key: CertificateKey,
}

/// A turn to join.
pub(crate) struct Turn {
    client: JoinClient,
    sealing_key: String,
}

impl Turn {
    /// Waits for the turn and for credentials.
    pub(crate) async fn take(
        client: JoinClient,
        name: &str,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<(Self, Given)> {
        let key = SealingKey::generate().map_err(Stop::failed)?;
        let turn = Self { client, sealing_key: key.public() };
        let waited = turn.wait_for_credentials(progress, tasks).await;
        let opened = match waited {
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

    async fn wait_for_credentials(
        &self,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<String> {
        let (mut asked, mut seen) = (0_u32, None);
        loop {
            let answer = tokio::select! {
                biased;
                () = tasks.stopping() => return Err(interrupted("nothing was changed here").into()),
                answer = self.ask(seen, tasks) => answer,
            };
            let answer = answer.map_err(|error| client_failed(&error))?;
            let first = asked == 0;
            asked = asked.saturating_add(1);
            match answer.phase {
                JoinPhase::Ready => {
                    if let Some(sealed) = answer.credentials {
                        progress.says("It is our turn; the credentials are there.");
                        return Ok(sealed);
                    }
                }
                JoinPhase::Queued | JoinPhase::Issuing => progress.waits(&waiting(&answer)),
                // The end of an earlier try, which is told once.
                JoinPhase::Failed | JoinPhase::Joined | JoinPhase::Settling if first => continue,
                JoinPhase::Failed | JoinPhase::Joined | JoinPhase::Settling => {
                    let sentence = format!("the turn to join ended: {}", answer.message);
                    return Err(Stop::new(Exit::TryAgain, sentence).into());
                }
            }
            seen = Some(answer.phase);
            tokio::time::sleep(PACE).await;
        }
    }

    /// Says that we still want it, and what was seen; a coordinator that is away is waited for.
    async fn ask(&self, seen: Option<JoinPhase>, tasks: &Tasks) -> Result<JoinAnswer, ClientError> {
        let request = JoinRequest { sealing_key: self.sealing_key.clone(), seen };
        patiently(AWAY_MAX, tasks, || self.client.join(&request)).await
    }

    /// Keeps the turn while kubeadm runs. Resolves with the reason if it is lost all the same.
    pub(crate) async fn keep(&self) -> String {
        let (mut backoff, mut seen) = (Backoff::default(), Some(JoinPhase::Ready));
        loop {
            let request = JoinRequest { sealing_key: self.sealing_key.clone(), seen };
            let wait = match self.client.join(&request).await {
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
        let told = tokio::time::timeout(Duration::from_secs(5), self.client.join_outcome(&outcome));
        told.await.ok();
    }

    /// Waits until the coordinator says that the turn has ended, which is when the new master is
    /// in rotation. `false` if it knows of no turn of ours any more.
    pub(crate) async fn settle(
        &self,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<bool> {
        let mut seen = None;
        loop {
            let answer = tokio::select! {
                biased;
                () = tasks.stopping() => {
                    return Err(interrupted("this machine is a master; see `mainstay status`").into());
                }
                answer = self.ask(seen, tasks) => answer,
            };
            let answer = answer.map_err(|error| client_failed(&error))?;
            match answer.phase {
                JoinPhase::Joined => return Ok(true),
                JoinPhase::Settling => progress.waits(&waiting(&answer)),
                JoinPhase::Failed => {
                    let hint = "kubeadm has ended well, but the balancer does not use this master";
                    return Err(Stop::failed(format!("{hint}: {}", answer.message)).into());
                }
                // It has forgotten the turn and takes this for a new wish.
                JoinPhase::Queued | JoinPhase::Issuing | JoinPhase::Ready => {
                    tell(&self.client, true, "").await.ok();
                    return Ok(false);
                }
            }
            seen = Some(answer.phase);
            tokio::time::sleep(PACE).await;
        }
    }
}

/// Tells how kubeadm ended. Harmless where no turn is left.
pub(crate) async fn tell(
    client: &JoinClient,
    joined: bool,
    reason: &str,
) -> Result<(), ClientError> {
    let outcome = JoinOutcome { joined, reason: reason.to_owned() };
    // Also when we are stopping: it is the last word.
    patiently(TELL_MAX, &Tasks::new(), || client.join_outcome(&outcome)).await
}

/// Waits until the balancer has this master in rotation.
pub(crate) async fn rotation(
    client: &JoinClient,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + ROTATION_MAX;
    let mut seen: Option<String> = None;
    loop {
        let heartbeat = Heartbeat { seen: seen.clone(), ..Heartbeat::default() };
        let answer = tokio::select! {
            biased;
            () = tasks.stopping() => {
                return Err(interrupted("this machine is a master; see `mainstay status`").into());
            }
            answer = patiently(AWAY_MAX, tasks, || client.heartbeat(&heartbeat)) => answer,
        };
        let answer = answer.map_err(|error| client_failed(&error))?;
        if answer.state == "UP" {
            return Ok(());
        }
        let state = if answer.state.is_empty() { "not known" } else { answer.state.as_str() };
        let text = format!("The balancer waits for this master: {state}, {}", answer.why);
        if Instant::now() > deadline {
            return Err(Stop::new(Exit::TryAgain, format!("not in rotation yet. {text}")).into());
        }
        progress.waits(&text);
        seen = Some(answer.state);
        tokio::time::sleep(PACE).await;
    }
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

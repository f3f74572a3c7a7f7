//! The calls of the join API, one function each.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::connection::{self, Answer};
use super::error::{ClientError, Failure};
use super::tls::{self, MemberCertificate, Trust};
use crate::protocol::{
    CERTIFICATE, CLUSTER, COORDINATOR_NAME, ClusterFacts, Done, HEARTBEAT, HEARTBEATS, Heartbeat,
    HeartbeatAnswer, JOIN_OUTCOME, JOIN_WAIT, JOINS, JoinAnswer, JoinOutcome, JoinRequest, LEAVE,
    Leave, MEMBERS, Refusal, Registered, Registration, Renewal, WORK, WorkResult,
};
use crate::ticket::{CoordinatorAddr, JoinToken};

/// Longest wait for an answer that is not held back on purpose. Registering writes to a disk.
const ANSWER: Duration = Duration::from_secs(10);

/// Room for a request, so that growing leaves no copy of a secret behind; a kubeconfig has 6 KiB.
const REQUEST_BYTES: usize = 16 * 1024;

/// Talks to one coordinator.
#[derive(Clone)]
pub struct JoinClient {
    coordinator: CoordinatorAddr,
    tls: Arc<ClientConfig>,
}

impl JoinClient {
    /// A client that opens no connection yet.
    ///
    /// # Errors
    /// [`ClientError`] if the CA, the certificate or the key cannot be used.
    pub fn new(
        coordinator: CoordinatorAddr,
        trust: Trust<'_>,
        member: Option<MemberCertificate<'_>>,
    ) -> Result<Self, ClientError> {
        match tls::config(trust, member) {
            Ok(tls) => Ok(Self { coordinator, tls }),
            Err(failure) => Err(ClientError { coordinator, failure }),
        }
    }

    /// Whom it talks to.
    #[must_use]
    pub fn coordinator(&self) -> &CoordinatorAddr {
        &self.coordinator
    }

    /// Registers; without a token for a key that is known already.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn register(
        &self,
        token: Option<&JoinToken>,
        registration: &Registration,
    ) -> Result<Registered, ClientError> {
        self.call(Method::POST, MEMBERS, Some(registration), token, ANSWER).await
    }

    /// Says that we are there; held back until there is work, for one heartbeat at most.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, ClientError> {
        self.call(Method::POST, HEARTBEATS, Some(heartbeat), None, ANSWER + HEARTBEAT).await
    }

    /// Renews the certificate.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn renew(&self, renewal: &Renewal) -> Result<Registered, ClientError> {
        self.call(Method::POST, CERTIFICATE, Some(renewal), None, ANSWER).await
    }

    /// Leaves.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn leave(&self) -> Result<(), ClientError> {
        self.done(Method::POST, LEAVE, &Leave {}).await
    }

    /// Says how a work went.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn work_result(&self, result: &WorkResult) -> Result<(), ClientError> {
        self.done(Method::POST, WORK, result).await
    }

    /// Says what is known of the cluster.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn announce(&self, facts: &ClusterFacts) -> Result<(), ClientError> {
        self.done(Method::PUT, CLUSTER, facts).await
    }

    /// What the coordinator knows of the cluster.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn cluster(&self) -> Result<ClusterFacts, ClientError> {
        self.call(Method::GET, CLUSTER, None::<&()>, None, ANSWER).await
    }

    /// Asks for a turn to join, or says that we still want it; held back while nothing changes.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn join(&self, request: &JoinRequest) -> Result<JoinAnswer, ClientError> {
        self.call(Method::POST, JOINS, Some(request), None, ANSWER + JOIN_WAIT).await
    }

    /// Says how kubeadm ended.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn join_outcome(&self, outcome: &JoinOutcome) -> Result<(), ClientError> {
        self.done(Method::POST, JOIN_OUTCOME, outcome).await
    }

    async fn done(
        &self,
        method: Method,
        path: &'static str,
        body: &impl Serialize,
    ) -> Result<(), ClientError> {
        let Done {} = self.call(method, path, Some(body), None, ANSWER).await?;
        Ok(())
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &'static str,
        body: Option<&impl Serialize>,
        token: Option<&JoinToken>,
        limit: Duration,
    ) -> Result<A, ClientError> {
        let failed = |failure| ClientError { coordinator: self.coordinator.clone(), failure };
        let request = request(method, path, body, token);
        let request = request.ok_or_else(|| failed(unreadable(path, "no such request")))?;
        let answer = connection::exchange(&self.coordinator, &self.tls, request, limit).await;
        let answer = answer.map_err(failed)?;
        if !answer.status.is_success() {
            return Err(failed(refusal(&answer)));
        }
        // The parser's message may quote the answer.
        serde_json::from_slice(&answer.body)
            .map_err(|_| failed(unreadable(path, "it is not what this version expects")))
    }
}

fn unreadable(path: &'static str, reason: &'static str) -> Failure {
    Failure::Unreadable { path, reason }
}

fn refusal(answer: &Answer) -> Failure {
    let said = serde_json::from_slice(&answer.body).map(|Refusal { error }| error);
    Failure::refused(answer.status, &said.unwrap_or_default(), answer.retry_after)
}

/// The request; `None` cannot happen, as every part of it is ours.
fn request(
    method: Method,
    path: &'static str,
    body: Option<&impl Serialize>,
    token: Option<&JoinToken>,
) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, COORDINATOR_NAME)
        .header(USER_AGENT, concat!("mainstay/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = token {
        let text = Zeroizing::new(format!("Bearer {}", *token.to_text()));
        let mut bearer = HeaderValue::from_str(&text).ok()?;
        bearer.set_sensitive(true);
        request = request.header(AUTHORIZATION, bearer);
    }
    let mut content = Zeroizing::new(Vec::new());
    if let Some(body) = body {
        content.reserve(REQUEST_BYTES);
        serde_json::to_writer(&mut *content, body).ok()?;
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request.body(Full::new(Bytes::from_owner(content))).ok()
}

//! Single calls: one request, one answer, at most ten seconds.
//!
//! `kube` brings the connection, TLS and credentials. Its own request functions are passed by,
//! because they log an answer that they cannot read, and our answers hold secrets.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::access::{Access, AccessError};
use super::error::{ApiError, ApiStatus};
use super::stream::Lines;

/// Longest wait for one answer; kubeadm's limit for each of its requests.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer that is read: a list of more than ten thousand tokens.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A cluster that answers requests.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    server: String,
}

impl Cluster {
    /// Makes ready to talk to the cluster; no connection is opened before the first call.
    ///
    /// # Errors
    /// [`AccessError`] if the kubeconfig's credentials cannot be used.
    pub fn connect(access: Access) -> Result<Self, AccessError> {
        let server = access.server().to_owned();
        let client = Client::try_from(access.into_config())
            .map_err(|error| AccessError::credentials(&error))?;
        Ok(Self::with_client(client, server))
    }

    /// A cluster behind a client of one's own; `server` is what messages call it.
    #[must_use]
    pub fn with_client(client: Client, server: String) -> Self {
        Self { client, server }
    }

    /// The object at a path, or `None` if there is none.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ApiError> {
        match self.call(Method::GET, path, Vec::new()).await {
            Ok(answer) => self.read(path, &answer).map(Some),
            Err(ApiError::Status { status, .. }) if status.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The answer to a GET as it came.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn read_whole(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        self.call(Method::GET, path, Vec::new()).await
    }

    /// The answer to a GET that comes line by line and may last; only its beginning is waited for
    /// with a limit.
    ///
    /// # Errors
    /// [`ApiError`]
    pub async fn watch(&self, path: &str) -> Result<Lines, ApiError> {
        let begun = timeout(ANSWER_TIMEOUT, self.begin(Method::GET, path, Vec::new())).await;
        let answer = begun.map_err(|_| self.late())??;
        let code = answer.status();
        if code.is_success() {
            return Ok(Lines::new(self.server.clone(), answer));
        }
        let content = timeout(ANSWER_TIMEOUT, self.collect(answer)).await;
        Err(self.refusal(code, &content.map_err(|_| self.late())??))
    }

    /// Creates an object below a path.
    pub(super) async fn create<T, A>(&self, path: &str, object: &T) -> Result<A, ApiError>
    where
        T: Serialize,
        A: DeserializeOwned,
    {
        let answer = self.call(Method::POST, path, body(object)).await?;
        self.read(path, &answer)
    }

    /// Replaces the object at a path, whatever it is now.
    pub(super) async fn replace<T: Serialize>(
        &self,
        path: &str,
        object: &T,
    ) -> Result<(), ApiError> {
        self.call(Method::PUT, path, body(object)).await?;
        Ok(())
    }

    /// Deletes the object at a path if it is still the one of this UID; one that is gone is fine.
    pub(super) async fn take_back(&self, path: &str, uid: Option<&str>) -> Result<(), ApiError> {
        let gone = |status: &ApiStatus| status.is_not_found() || status.is_conflict();
        match self.delete(path, uid).await {
            Err(error) if error.status().is_some_and(gone) => Ok(()),
            other => other,
        }
    }

    /// Deletes the object at a path; with `uid` only if it is still that one.
    pub(super) async fn delete(&self, path: &str, uid: Option<&str>) -> Result<(), ApiError> {
        let options = uid.map(|uid| {
            json!({
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "preconditions": { "uid": uid },
            })
        });
        let options = options.as_ref().map(body).unwrap_or_default();
        self.call(Method::DELETE, path, options).await?;
        Ok(())
    }

    /// One request; the body of the answer if it is a success.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        match timeout(ANSWER_TIMEOUT, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> ApiError {
        ApiError::Timeout { server: self.server.clone(), limit: ANSWER_TIMEOUT }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let answer = self.begin(method, path, body).await?;
        let code = answer.status();
        let content = self.collect(answer).await?;
        if code.is_success() { Ok(content) } else { Err(self.refusal(code, &content)) }
    }

    /// Sends a request and waits for the head of its answer.
    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Body>, ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", "application/json")
            .header("user-agent", concat!("mainstay/", env!("CARGO_PKG_VERSION")));
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Body::from(body)).map_err(|_| self.unreadable(path))?;
        let answer = self.client.send(request).await;
        answer.map_err(|error| ApiError::of_request(&self.server, &error))
    }

    /// The body of an answer.
    async fn collect(&self, answer: Response<Body>) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let content = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| ApiError::of(&self.server, error.as_ref()))?
            .to_bytes();
        Ok(Zeroizing::new(content.to_vec()))
    }

    fn refusal(&self, code: StatusCode, content: &[u8]) -> ApiError {
        ApiError::Status { server: self.server.clone(), status: ApiStatus::read(code, content) }
    }

    fn read<T: DeserializeOwned>(&self, path: &str, answer: &[u8]) -> Result<T, ApiError> {
        // The parser's message may quote the answer.
        serde_json::from_slice(answer).map_err(|_| self.unreadable(path))
    }

    fn unreadable(&self, path: &str) -> ApiError {
        ApiError::Unreadable { server: self.server.clone(), path: path.to_owned() }
    }
}

/// The object as JSON. Ours have text keys only, so there always is such a form.
fn body(object: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(object).unwrap_or_default()
}

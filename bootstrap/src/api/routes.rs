//! Finds what is asked and whether the caller may ask it.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::answer::{Answer, Failure, ok};
use super::{Caller, JoinApi, handlers};
use crate::protocol;

/// Longest wait for a body.
const BODY_MAX: Duration = Duration::from_secs(10);

/// The answer to one request.
pub(super) async fn answer(api: &JoinApi, caller: &Caller, request: Request<Incoming>) -> Answer {
    match route(api, caller, request).await {
        Ok(answer) => answer,
        Err(failure) => failure.into_answer(),
    }
}

async fn route(
    api: &JoinApi,
    caller: &Caller,
    request: Request<Incoming>,
) -> Result<Answer, Failure> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    match (head.method.clone(), path.as_str()) {
        (Method::GET, protocol::LIVEZ) => Ok(ok(&protocol::Done {})),
        (Method::POST, protocol::MEMBERS) => {
            // The ticket is looked at before a stranger's body is read.
            let ticket = handlers::ticket(api, caller, bearer(&head.headers)).await?;
            handlers::register(api, caller, ticket, read(body).await?).await
        }
        (method, path) => {
            let name = handlers::member(api, caller).await?;
            for_member(api, &name, caller, method, path, body).await
        }
    }
}

async fn for_member(
    api: &JoinApi,
    name: &str,
    caller: &Caller,
    method: Method,
    path: &str,
    body: Incoming,
) -> Result<Answer, Failure> {
    match (method, path) {
        (Method::POST, protocol::HEARTBEATS) => {
            handlers::heartbeat(api, name, read(body).await?).await
        }
        (Method::POST, protocol::CERTIFICATE) => {
            handlers::renew(api, name, caller, read(body).await?).await
        }
        (Method::POST, protocol::LEAVE) => {
            let protocol::Leave {} = read(body).await?;
            handlers::leave(api, name).await
        }
        (Method::POST, protocol::WORK) => handlers::worked(api, name, read(body).await?).await,
        (Method::GET, protocol::CLUSTER) => handlers::cluster(api).await,
        (Method::PUT, protocol::CLUSTER) => handlers::learn(api, name, read(body).await?).await,
        (Method::POST, protocol::JOINS) => handlers::join(api, name, read(body).await?).await,
        (Method::POST, protocol::JOIN_OUTCOME) => {
            handlers::joined(api, name, read(body).await?).await
        }
        _ => Err(Failure::new(
            StatusCode::NOT_FOUND,
            "there is no such request; is the program on the master newer than the balancer's?",
        )),
    }
}

/// The token of a request, if it brings one.
fn bearer(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    // A header of another kind is a wrong ticket, not none.
    Some(Zeroizing::new(value.strip_prefix("Bearer ").unwrap_or_default().to_owned()))
}

/// A body as what it must be.
async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Failure> {
    let too_large = || {
        let sentence = format!("the body is larger than {} bytes", protocol::BODY_BYTES_MAX);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
    };
    if body.size_hint().lower() > protocol::BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let limited = Limited::new(body, protocol::BODY_BYTES_MAX);
    let content = match timeout(BODY_MAX, limited.collect()).await {
        Ok(Ok(content)) => Zeroizing::new(content.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(Failure::malformed("the body broke off")),
        Err(_) => {
            return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"));
        }
    };
    serde_json::from_slice(&content).map_err(|error| {
        // The parser's message may quote what was sent.
        let (line, column) = (error.line(), error.column());
        Failure::malformed(format!(
            "the body is not what this request takes (line {line}, column {column})"
        ))
    })
}

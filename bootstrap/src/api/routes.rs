//! Finds what is asked and whether the caller may ask it.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::answer::{Answer, Failure, ok};
use super::table::{self, Call, MemberCall};
use super::{Caller, JoinApi, handlers};
use crate::protocol;

/// Longest wait for a body.
const BODY_MAX: Duration = Duration::from_secs(10);

/// The answer to one request.
pub(super) async fn answer(api: &JoinApi, caller: &Caller, request: Request<Incoming>) -> Answer {
    let route = table::find(request.method(), request.uri().path());
    match carry_out(api, caller, route.map(|route| route.call), request).await {
        Ok(answer) => answer,
        Err(failure) => {
            let listed = route.map_or(table::UNKNOWN, |route| route.refusals);
            // For the tests: no answer that the documents do not know.
            debug_assert!(listed.contains(&failure.status()), "{route:?}: {failure:?}");
            failure.into_answer()
        }
    }
}

async fn carry_out(
    api: &JoinApi,
    caller: &Caller,
    call: Option<Call>,
    request: Request<Incoming>,
) -> Result<Answer, Failure> {
    let (head, body) = request.into_parts();
    match call {
        Some(Call::Live) => Ok(ok(&protocol::Done {})),
        Some(Call::Register) => {
            // The ticket is looked at before a stranger's body is read.
            let ticket = handlers::ticket(api, caller, bearer(&head.headers)).await?;
            let wish = read(body).await?;
            let _asked = caller.place.asked();
            handlers::register(api, caller, ticket, wish).await
        }
        Some(Call::Member(call)) => {
            let name = handlers::member(api, caller).await?;
            for_member(api, &name, caller, call, body).await
        }
        None => {
            handlers::member(api, caller).await?;
            Err(Failure::new(
                StatusCode::NOT_FOUND,
                "there is no such request; is the program on the master newer than the balancer's?",
            ))
        }
    }
}

async fn for_member(
    api: &JoinApi,
    name: &str,
    caller: &Caller,
    call: MemberCall,
    body: Incoming,
) -> Result<Answer, Failure> {
    match call {
        MemberCall::Heartbeat => handlers::heartbeat(api, name, read(body).await?).await,
        MemberCall::Renew => handlers::renew(api, name, caller, read(body).await?).await,
        MemberCall::Leave => {
            let protocol::Leave {} = read(body).await?;
            handlers::leave(api, name).await
        }
        MemberCall::Work => handlers::worked(api, name, read(body).await?).await,
        MemberCall::Cluster => handlers::cluster(api).await,
        MemberCall::Learn => handlers::learn(api, name, read(body).await?).await,
        MemberCall::Join => handlers::join(api, name, read(body).await?).await,
        MemberCall::Outcome => handlers::joined(api, name, read(body).await?).await,
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

//! What the admin endpoint answers to which path.

use std::convert::Infallible;
use std::sync::Arc;

use common::drain::StopPhase;
use common::duration;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Response, StatusCode, Uri};

use super::{Report, coordinator, events, metrics, page};

/// A whole answer, or one that goes on.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What goes back.
pub(super) type Answer = Response<Body>;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// Decisions as they are made.
pub(super) const EVENTS: &str = "/v1/events";

/// Says what a rebalancing would do, and does it on POST.
const REBALANCE: &str = "/v1/rebalance";

/// Tells about hand-overs, and begins one on POST.
const UPGRADE: &str = "/v1/upgrade";

/// Under which the members are.
const MEMBERS: &str = "/v1/members/";

/// The format of Prometheus' text exposition.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who asks: verbs need the unix socket or the admin token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// May look.
    Anyone,
    /// May also change something.
    Operator,
}

/// The answer to one request.
pub(super) async fn answer(
    report: &Arc<Report>,
    caller: Caller,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    body: Incoming,
) -> Answer {
    let asked_for_us = matches!(uri.path(), "/livez" | "/readyz");
    if !asked_for_us && !report.limits.answer().await {
        return response(StatusCode::TOO_MANY_REQUESTS, TEXT, "too many requests\n");
    }
    if let Some(answer) = coordinator::answer(report, caller, method, uri.path(), body).await {
        return answer;
    }
    match *method {
        Method::GET if uri.path() == EVENTS => {
            events::answer(report, uri.query().unwrap_or_default(), headers)
        }
        Method::GET | Method::HEAD if uri.path() == REBALANCE => rebalance(report, false).await,
        Method::GET | Method::HEAD => look(report, uri.path()),
        Method::POST => change(report, caller, uri).await,
        _ => not_allowed("GET, HEAD, POST"),
    }
}

fn look(report: &Report, path: &str) -> Answer {
    let path = unescaped(path);
    match path.as_str() {
        "/" => page::answer(report),
        "/livez" => response(StatusCode::OK, TEXT, "ok"),
        "/readyz" => match report.ready() {
            Ok(()) => response(StatusCode::OK, TEXT, "ok"),
            Err(reason) => {
                response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {reason}\n"))
            }
        },
        "/metrics" => response(StatusCode::OK, PROMETHEUS, metrics::render(report)),
        "/v1/status" => json(&report.status()),
        UPGRADE => json(&report.desk().status()),
        _ => match path.strip_prefix(MEMBERS) {
            Some(name) => match report.explain(name) {
                Some(explanation) => json(&explanation),
                None => response(StatusCode::NOT_FOUND, TEXT, "no member of this name\n"),
            },
            None => response(
                StatusCode::NOT_FOUND,
                TEXT,
                "try / /livez /readyz /metrics /v1/status /v1/events /v1/members/NAME\n",
            ),
        },
    }
}

async fn change(report: &Report, caller: Caller, uri: &Uri) -> Answer {
    let path = unescaped(uri.path());
    let verb = path.strip_prefix(MEMBERS).and_then(|rest| rest.rsplit_once('/'));
    let drain = verb.and_then(|(name, verb)| match verb {
        "drain" => Some((name, true)),
        "undrain" => Some((name, false)),
        _ => None,
    });
    if drain.is_none() && path != REBALANCE && path != UPGRADE {
        return not_allowed("GET, HEAD");
    }
    if caller != Caller::Operator {
        return response(StatusCode::UNAUTHORIZED, TEXT, "verbs need the admin token\n");
    }
    if path == UPGRADE {
        return upgrade(report);
    }
    let Some((name, drained)) = drain else {
        return rebalance(report, true).await;
    };
    let over = match uri.query().map(|query| query.strip_prefix("over=").map(duration::parse)) {
        None => None,
        Some(Some(Ok(over))) => Some(over),
        Some(Some(Err(error))) => {
            return response(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n"));
        }
        Some(None) => return response(StatusCode::BAD_REQUEST, TEXT, "only ?over=TIME\n"),
    };
    match report.drain(name.to_owned(), drained, over).await {
        Ok(true) => look(report, &format!("{MEMBERS}{name}")),
        Ok(false) => response(StatusCode::NOT_FOUND, TEXT, "no member of this name\n"),
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

fn upgrade(report: &Report) -> Answer {
    let refused = |reason: &'static str| response(StatusCode::CONFLICT, TEXT, reason);
    if report.phase() != StopPhase::Serving {
        return refused("the balancer stops\n");
    }
    if !report.desk().ask() {
        return refused("a hand-over is under way\n");
    }
    json(&report.desk().status())
}

async fn rebalance(report: &Report, act: bool) -> Answer {
    match report.rebalance(act).await {
        Ok(done) => json(&done),
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

/// The path with the brackets of IPv6 addresses as members' names have them.
fn unescaped(path: &str) -> String {
    path.replace("%5B", "[").replace("%5b", "[").replace("%5D", "]").replace("%5d", "]")
}

pub(super) fn json(body: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec_pretty(body) {
        Ok(mut body) => {
            body.push(b'\n');
            response(StatusCode::OK, JSON, body)
        }
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("only {allowed}\n"));
    let allowed = hyper::header::HeaderValue::from_static(allowed);
    answer.headers_mut().insert(hyper::header::ALLOW, allowed);
    answer
}

pub(super) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    headers.insert(hyper::header::CONTENT_TYPE, content_type);
    let no_store = hyper::header::HeaderValue::from_static("no-store");
    headers.insert(hyper::header::CACHE_CONTROL, no_store);
    response
}

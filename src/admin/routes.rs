//! What the admin endpoint answers to which path.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Response, StatusCode};

use super::{Report, metrics};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

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
    report: &Report,
    caller: Caller,
    method: &Method,
    path: &str,
) -> Response<Full<Bytes>> {
    // Names that are IPv6 addresses have brackets, which a URI takes only escaped.
    let path = path.replace("%5B", "[").replace("%5D", "]");
    match *method {
        Method::GET | Method::HEAD => look(report, &path),
        Method::POST => change(report, caller, &path).await,
        _ => not_allowed("GET, HEAD, POST"),
    }
}

fn look(report: &Report, path: &str) -> Response<Full<Bytes>> {
    match path {
        "/livez" => response(StatusCode::OK, TEXT, "ok"),
        "/readyz" => match report.ready() {
            Ok(()) => response(StatusCode::OK, TEXT, "ok"),
            Err(reason) => {
                response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {reason}\n"))
            }
        },
        "/metrics" => response(StatusCode::OK, PROMETHEUS, metrics::render(report)),
        "/v1/status" => json(&report.status()),
        _ => match path.strip_prefix(MEMBERS) {
            Some(name) => match report.explain(name) {
                Some(explanation) => json(&explanation),
                None => response(StatusCode::NOT_FOUND, TEXT, "no member of this name\n"),
            },
            None => response(
                StatusCode::NOT_FOUND,
                TEXT,
                "try /livez /readyz /metrics /v1/status /v1/members/NAME\n",
            ),
        },
    }
}

async fn change(report: &Report, caller: Caller, path: &str) -> Response<Full<Bytes>> {
    let verb = path.strip_prefix(MEMBERS).and_then(|rest| rest.rsplit_once('/'));
    let Some((name, drained)) = verb.and_then(|(name, verb)| match verb {
        "drain" => Some((name, true)),
        "undrain" => Some((name, false)),
        _ => None,
    }) else {
        return not_allowed("GET, HEAD");
    };
    if caller != Caller::Operator {
        return response(StatusCode::UNAUTHORIZED, TEXT, "verbs need the admin token\n");
    }
    match report.drain(name.to_owned(), drained).await {
        Ok(true) => look(report, &format!("{MEMBERS}{name}")),
        Ok(false) => response(StatusCode::NOT_FOUND, TEXT, "no member of this name\n"),
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

fn json(body: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec_pretty(body) {
        Ok(mut body) => {
            body.push(b'\n');
            response(StatusCode::OK, JSON, body)
        }
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut answer = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("only {allowed}\n"));
    let allowed = hyper::header::HeaderValue::from_static(allowed);
    answer.headers_mut().insert(hyper::header::ALLOW, allowed);
    answer
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    headers.insert(hyper::header::CONTENT_TYPE, content_type);
    let no_store = hyper::header::HeaderValue::from_static("no-store");
    headers.insert(hyper::header::CACHE_CONTROL, no_store);
    response
}

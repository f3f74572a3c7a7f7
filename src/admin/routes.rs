//! What the admin endpoint answers to which path.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Response, StatusCode};

use super::{Report, metrics};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The format of Prometheus' text exposition.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The answer to one request.
pub(super) fn answer(report: &Report, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut answer = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        answer.headers_mut().insert(hyper::header::ALLOW, ALLOWED);
        return answer;
    }
    match path {
        "/livez" => response(StatusCode::OK, TEXT, "ok"),
        "/readyz" => match report.ready() {
            Ok(()) => response(StatusCode::OK, TEXT, "ok"),
            Err(reason) => response(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                format!("not ready: {reason}\n"),
            ),
        },
        "/metrics" => response(StatusCode::OK, PROMETHEUS, metrics::render(report)),
        "/v1/status" => match serde_json::to_vec_pretty(&report.status()) {
            Ok(mut body) => {
                body.push(b'\n');
                response(StatusCode::OK, JSON, body)
            }
            Err(error) => response(
                StatusCode::INTERNAL_SERVER_ERROR,
                TEXT,
                format!("{error}\n"),
            ),
        },
        _ => response(
            StatusCode::NOT_FOUND,
            TEXT,
            "try /livez /readyz /metrics /v1/status\n",
        ),
    }
}

const ALLOWED: hyper::header::HeaderValue = hyper::header::HeaderValue::from_static("GET, HEAD");

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

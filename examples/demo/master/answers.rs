//! What a stand-in master answers: enough of an apiserver for `curl` and `kubectl get --raw`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode, Uri};
use serde_json::json;
use tokio::time::{Interval, interval};

/// Names the master that answered.
const MASTER: HeaderName = HeaderName::from_static("x-demo-master");

/// Time between two lines of a watch.
const WATCH_INTERVAL: Duration = Duration::from_millis(400);

/// The whole answer at once, or a watch that goes on.
pub(super) type AnswerBody = Either<Full<Bytes>, Watch>;

/// The answer of the master `name` at `addr`.
pub(super) fn answer(
    name: &str,
    addr: Option<SocketAddr>,
    uri: &Uri,
) -> Result<Response<AnswerBody>, hyper::http::Error> {
    let watch = uri.query().is_some_and(|query| query.contains("watch="));
    let addr = addr.map(|addr| addr.to_string()).unwrap_or_default();
    let (status, kind, body) = match uri.path() {
        "/readyz" | "/livez" | "/healthz" => (StatusCode::OK, "text/plain", "ok".to_owned()),
        "/version" => {
            let version = json!({
                "major": "1", "minor": "33", "gitVersion": format!("v1.33.0-{name}"),
                "platform": "linux/demo",
            });
            (StatusCode::OK, "application/json", version.to_string())
        }
        "/api" => {
            let here = json!([{ "clientCIDR": "0.0.0.0/0", "serverAddress": addr }]);
            let api = json!({
                "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": here,
            });
            (StatusCode::OK, "application/json", api.to_string())
        }
        "/api/v1/namespaces" => {
            let item =
                json!({ "metadata": { "name": "default", "annotations": { "demo": name } } });
            let list = json!({ "kind": "NamespaceList", "apiVersion": "v1", "metadata": {}, "items": [item] });
            (StatusCode::OK, "application/json", list.to_string())
        }
        path => {
            let reason = format!("{name} knows no {path}; try /readyz /version /api");
            let failure = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason,
                "reason": "NotFound", "code": 404,
            });
            let body = failure.to_string();
            (StatusCode::NOT_FOUND, "application/json", body)
        }
    };
    let body = if watch { Either::Right(Watch::new(name)) } else { Either::Left(Full::from(body)) };
    Response::builder()
        .status(status)
        .header(MASTER, HeaderValue::from_str(name)?)
        .header(CONTENT_TYPE, kind)
        .body(body)
}

/// A body without end: one bookmark after the other, as a quiet watch has.
pub(super) struct Watch {
    line: Bytes,
    interval: Interval,
}

impl Watch {
    fn new(name: &str) -> Self {
        let object = json!({ "metadata": { "annotations": { "demo": name } } });
        let event = json!({ "type": "BOOKMARK", "object": object });
        Self { line: Bytes::from(format!("{event}\n")), interval: interval(WATCH_INTERVAL) }
    }
}

impl Body for Watch {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = self.line.clone();
        self.interval.poll_tick(cx).map(|_| Some(Ok(Frame::data(line))))
    }
}

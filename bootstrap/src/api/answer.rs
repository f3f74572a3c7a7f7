//! Answers of the join API: JSON, never cached, errors as one sentence.

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;

use crate::coordinator::CoordinatorError;
use crate::protocol::Refusal;
use crate::registry::refusal::{Refused, RefusedKind};

/// What goes out.
pub(super) type Answer = Response<Full<Bytes>>;

/// Anything that is no success.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    status: StatusCode,
    sentence: String,
    retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into(), retry_after: None }
    }

    pub(super) fn malformed(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// Too many wrong tickets.
    pub(super) fn limited(wait: Duration) -> Self {
        let sentence = "too many wrong tickets from your address; wait before the next try";
        let retry_after = Some(wait.max(Duration::from_secs(1)));
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, sentence) }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    pub(super) fn into_answer(self) -> Answer {
        let mut answer = json(self.status, &Refusal { error: self.sentence });
        if let Some(wait) = self.retry_after {
            let seconds = HeaderValue::from(wait.as_secs().saturating_add(1));
            answer.headers_mut().insert(RETRY_AFTER, seconds);
        }
        answer
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let status = match refused.kind {
            RefusedKind::Malformed => StatusCode::BAD_REQUEST,
            RefusedKind::Unauthorized => StatusCode::UNAUTHORIZED,
            RefusedKind::Forbidden => StatusCode::FORBIDDEN,
            RefusedKind::Conflict => StatusCode::CONFLICT,
        };
        Self::new(status, refused.sentence)
    }
}

impl From<CoordinatorError> for Failure {
    fn from(error: CoordinatorError) -> Self {
        let retry_after = Some(Duration::from_secs(5));
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()) }
    }
}

/// A success.
pub(super) fn ok(body: &impl Serialize) -> Answer {
    json(StatusCode::OK, body)
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    // Our bodies have text keys only, so they always have a JSON form.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

//! `/v1/events`: the journal as server-sent events, or as one JSON list.
//!
//! Nothing is queued for a reader: each has a place in the journal's ring and is written to when it
//! takes bytes. A browser that lost its connection says which event it saw last and goes on there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use common::events::{Event, Follower};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Report;
use super::routes::{Answer, Body, JSON, TEXT, response};

/// Time between two comments that show a reader, and what is between us, that we are there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Time between two statuses for those who asked for them.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How long a browser waits before it connects anew, and that we are there.
const OPENING: &str = "retry: 2000\n\n";

/// The header by which a browser says where it was.
const LAST_EVENT_ID: &str = "last-event-id";

/// What is wanted of `/v1/events`, from the query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// One JSON list of what is kept, and no stream.
    list: bool,
    /// The status too, each second.
    status: bool,
}

impl Wanted {
    fn of(query: &str) -> Option<Self> {
        let mut wanted = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part {
                "follow=false" => wanted.list = true,
                "status=true" => wanted.status = true,
                "follow=true" | "status=false" => {}
                _ => return None,
            }
        }
        Some(wanted)
    }
}

/// The answer to `GET /v1/events`.
pub(super) fn answer(report: &Arc<Report>, query: &str, headers: &HeaderMap) -> Answer {
    let Some(wanted) = Wanted::of(query) else {
        let hint = "only ?follow=false and ?status=true\n";
        return response(StatusCode::BAD_REQUEST, TEXT, hint);
    };
    let journal = report.balancer().journal();
    if wanted.list {
        let kept = journal.kept();
        let kept: Vec<&Event> = kept.iter().map(Arc::as_ref).collect();
        return match serde_json::to_vec(&kept) {
            Ok(list) => response(StatusCode::OK, JSON, list),
            Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        };
    }
    let Some(place) = report.limits.follower() else {
        let hint = "too many readers of the events; close one\n";
        return response(StatusCode::SERVICE_UNAVAILABLE, TEXT, hint);
    };
    let mark = headers.get(LAST_EVENT_ID).and_then(|mark| mark.to_str().ok());
    let follower = journal.follow_from(mark.unwrap_or_default());
    streamed(Reader {
        status: wanted.status.then(|| every(STATUS_EVERY)),
        keep_alive: every(KEEP_ALIVE),
        report: Arc::clone(report),
        follower,
        stage: Stage::Opening,
        _place: place,
    })
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn streamed(reader: Reader) -> Answer {
    let frames = stream::unfold(reader, |mut reader| async move {
        let text = reader.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), reader))
    });
    let mut answer = Response::new(Body::new(StreamBody::new(frames).boxed_unsync()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Going,
    Ended,
}

/// One reader of the stream; it holds its place until it is dropped.
struct Reader {
    report: Arc<Report>,
    follower: Follower,
    status: Option<Interval>,
    keep_alive: Interval,
    stage: Stage,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        match self.stage {
            Stage::Opening => {
                self.stage = Stage::Going;
                return Some(OPENING.to_owned());
            }
            Stage::Ended => return None,
            Stage::Going => {}
        }
        let status = async {
            match &mut self.status {
                Some(status) => status.tick().await,
                None => std::future::pending().await,
            }
        };
        Some(tokio::select! {
            biased;
            event = self.follower.next() => match event {
                Ok(event) => self.event(&event),
                Err(lost) => {
                    self.stage = Stage::Ended;
                    format!(": {lost}; connect anew\n\n")
                }
            },
            _ = status => self.said("status", None, &self.report.status()),
            _ = self.keep_alive.tick() => ": still here\n\n".to_owned(),
        })
    }

    fn event(&self, event: &Event) -> String {
        let mark = self.report.balancer().journal().mark(event);
        self.said("decision", Some(mark), event)
    }

    /// One message. JSON in its short form has no line break, so it is one line of data.
    fn said(&self, name: &str, id: Option<String>, data: &impl serde::Serialize) -> String {
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        match serde_json::to_string(data) {
            Ok(data) => format!("{id}event: {name}\ndata: {data}\n\n"),
            Err(error) => format!(": {error}\n\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted() {
        let (list, status) = (true, true);
        assert_eq!(Wanted::of(""), Some(Wanted::default()));
        assert_eq!(Wanted::of("follow=false"), Some(Wanted { list, status: false }));
        assert_eq!(Wanted::of("status=true"), Some(Wanted { list: false, status }));
        assert_eq!(Wanted::of("follow=maybe"), None);
    }
}

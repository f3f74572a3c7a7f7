//! Follows the events of a running balancer, for `mainstay events` and `mainstay top`.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, bail};
use common::config::AdminAddr;
use common::events::Event;
use common::status::Status;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::client::{ANSWER_TIMEOUT, connect};

/// Silence after which the balancer is gone: three of its signs of life.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// Largest message: a status of 64 backends is below 64 KiB.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What the balancer says.
#[derive(Debug)]
pub(crate) enum Said {
    /// A decision, and how to go on after it.
    Event { mark: String, event: Event },
    /// How it is now.
    Status(Box<Status>),
}

/// Calls `each` for everything that is said, until it breaks or the stream ends.
///
/// # Errors
/// The balancer cannot be reached, refuses, or went away.
pub(crate) fn follow(
    admin: &AdminAddr,
    with_status: bool,
    from: Option<&str>,
    mut each: impl FnMut(Said) -> ControlFlow<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stream = timeout(ANSWER_TIMEOUT, connect(admin)).await.context("no connection")??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let following = async {
            let asked = sender.send_request(request(with_status, from)?);
            let answer = timeout(ANSWER_TIMEOUT, asked).await.context("no answer within 5s")??;
            if answer.status() != StatusCode::OK {
                bail!("it answered {}", answer.status());
            }
            read(answer.into_body(), &mut each).await
        };
        tokio::pin!(following, connection);
        tokio::select! {
            ended = &mut following => ended,
            ended = &mut connection => {
                ended?;
                following.await
            }
        }
    })
}

fn request(with_status: bool, from: Option<&str>) -> anyhow::Result<Request<Empty<Bytes>>> {
    let path = if with_status { "/v1/events?status=true" } else { "/v1/events" };
    let mut request = Request::get(path).header("host", "mainstay");
    if let Some(mark) = from {
        request = request.header("last-event-id", mark);
    }
    Ok(request.body(Empty::new())?)
}

async fn read(
    mut body: Incoming,
    each: &mut impl FnMut(Said) -> ControlFlow<()>,
) -> anyhow::Result<()> {
    let mut messages = Messages::default();
    while let Some(frame) = timeout(SILENCE_MAX, body.frame()).await.context("it fell silent")? {
        let Ok(bytes) = frame?.into_data() else {
            continue;
        };
        messages.add(&bytes)?;
        while let Some(text) = messages.next() {
            if let Some(said) = understood(&text)?
                && each(said).is_break()
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Bytes until they are whole messages.
#[derive(Debug, Default)]
struct Messages(Vec<u8>);

impl Messages {
    fn add(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if self.0.len() + bytes.len() > MESSAGE_BYTES_MAX {
            bail!("it sent a message larger than 4 MiB");
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole message, which ends with an empty line.
    fn next(&mut self) -> Option<String> {
        let end = self.0.windows(2).position(|pair| pair == b"\n\n")?;
        let message: Vec<u8> = self.0.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(&message).into_owned())
    }
}

/// What a message says; `None` for a sign of life or a kind that is newer than we are.
fn understood(message: &str) -> anyhow::Result<Option<Said>> {
    let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ").unwrap_or_default();
    Ok(match field("event: ") {
        Some("decision") => {
            let mark = field("id: ").unwrap_or_default().to_owned();
            // A kind that is newer than we are is no reason to end.
            serde_json::from_str(data).ok().map(|event| Said::Event { mark, event })
        }
        Some("status") => {
            let status = serde_json::from_str(data);
            Some(Said::Status(status.context("the answer is no status of Mainstay")?))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::events::{EventKind, Journal};

    #[test]
    fn messages_in_any_pieces() {
        let journal = Journal::new();
        journal.note_about(EventKind::BackendUp, "m1", "PENDING to UP");
        let event = &journal.kept()[0];
        let data = serde_json::to_string(&**event).unwrap();
        let stream =
            format!("retry: 2\n\n: hello\n\nid: 9-1\nevent: decision\ndata: {data}\n\nevent: x");
        for size in 1..stream.len() {
            let mut messages = Messages::default();
            let mut said = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                messages.add(piece).unwrap();
                while let Some(text) = messages.next() {
                    said.extend(understood(&text).unwrap());
                }
            }
            match &said[..] {
                [Said::Event { mark, event: found }] => {
                    assert_eq!((mark.as_str(), found), ("9-1", &**event));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let mut messages = Messages::default();
        let piece = vec![b'x'; MESSAGE_BYTES_MAX];
        messages.add(&piece).unwrap();
        assert!(messages.add(b"x").is_err());
    }

    #[test]
    fn a_newer_kind_is_passed_over() {
        let message = "event: decision\ndata: {\"kind\":\"unheard_of\"}\n\n";
        assert!(understood(message).unwrap().is_none());
        assert!(understood("event: status\ndata: {}\n\n").is_err());
    }
}

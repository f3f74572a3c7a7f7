//! Asks the admin endpoint over its unix socket, as plainly as HTTP allows.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// One answer.
#[derive(Debug)]
pub(crate) struct AdminAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// An admin connection that stays open between requests.
pub(crate) struct AdminConnection(UnixStream);

impl AdminConnection {
    pub(crate) fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self(stream))
    }

    /// Asks and reads the whole answer, by its length.
    pub(crate) fn ask(&mut self, method: &str, path: &str) -> io::Result<AdminAnswer> {
        write!(self.0, "{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = self.0.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&buffer[..count]);
            if let Some(whole) = parse(&answer) {
                return Ok(whole);
            }
        }
    }
}

/// The answer, once all of it is there.
fn parse(answer: &[u8]) -> Option<AdminAnswer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_lowercase();
    let length: usize = head
        .split_once("content-length: ")
        .and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok())?;
    if body.len() < length {
        return None;
    }
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = body.to_owned();
    Some(AdminAnswer { status, head, body })
}

/// The value of a metric, named with its labels as `/metrics` shows it; 0 if it is not there.
pub(crate) fn metric_in(page: &str, series: &str) -> f64 {
    let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
    lines.find(|(name, _)| *name == series).map_or(0.0, |(_, value)| value.parse().unwrap())
}

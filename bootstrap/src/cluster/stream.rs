//! An answer that comes line by line and may never end: a watch.

use http::Response;
use http_body_util::BodyExt;
use kube::client::Body;

use super::error::ApiError;

/// Longest line: an EndpointSlice holds 1000 endpoints at most, 300 KiB.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The lines of an answer.
pub struct Lines {
    server: String,
    body: Body,
    /// What came and is not handed out yet.
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn new(server: String, answer: Response<Body>) -> Self {
        Self { server, body: answer.into_body(), buffer: Vec::new() }
    }

    /// The next line without its end, or `None` when the server has ended the answer in order.
    /// Empty lines are passed over. Cancel-safe.
    ///
    /// # Errors
    /// [`ApiError`] if the connection broke or a line is longer than 1 MiB.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            if let Some(line) = self.take() {
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(self.unreadable());
            }
            let Some(frame) = self.body.frame().await else {
                // Half a line is what a broken server or a cut connection leaves.
                return if self.buffer.is_empty() { Ok(None) } else { Err(self.unreadable()) };
            };
            let frame = frame.map_err(|error| ApiError::of(&self.server, &error))?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// The first line of the buffer if it is whole.
    fn take(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    fn unreadable(&self) -> ApiError {
        ApiError::Unreadable { server: self.server.clone(), path: "a watch".to_owned() }
    }
}

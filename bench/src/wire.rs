//! The protocol between load generator and stand-in backend: a fixed header says how many bytes
//! follow and how many are wanted back. It is as cheap as a protocol can be, so that the proxy in
//! between is what limits a scenario.

/// Length of the header of every request.
pub(crate) const HEADER_BYTES: usize = 16;

/// Length of a small request, header included: about what a compressed HTTP/2 `GET` takes.
pub(crate) const SMALL_REQUEST_BYTES: usize = 64;

/// A length that never ends: the stream runs until one side closes.
pub(crate) const ENDLESS: u64 = u64::MAX;

/// How much both sides move with one system call when a stream is long.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// Of a backend with TLS: the number behind this path is the length of the answer.
pub(crate) const ANSWER_PATH: &str = "/answer/";

/// Of a backend with TLS: the number behind this path is the milliseconds between two events.
pub(crate) const WATCH_PATH: &str = "/watch/";

/// Length of an event, about that of a node's heartbeat. It begins with the eight bytes of the
/// moment it was sent.
pub(crate) const EVENT_BYTES: usize = 512;

/// Nanoseconds on the clock that all processes of a machine share.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, rest) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + rest.unwrap_or_default()
}

/// What a client asks of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Bytes that follow the header; the backend reads them and throws them away.
    pub(crate) body: u64,
    /// Bytes the backend sends back.
    pub(crate) answer: u64,
}

impl Request {
    /// A request of [`SMALL_REQUEST_BYTES`] that wants `answer` bytes back.
    pub(crate) fn small(answer: u64) -> [u8; SMALL_REQUEST_BYTES] {
        let body = (SMALL_REQUEST_BYTES - HEADER_BYTES) as u64;
        let mut bytes = [0; SMALL_REQUEST_BYTES];
        for (place, byte) in bytes.iter_mut().zip(Self { body, answer }.header()) {
            *place = byte;
        }
        bytes
    }

    /// The header as it goes over the wire.
    pub(crate) fn header(self) -> [u8; HEADER_BYTES] {
        ((u128::from(self.body) << 64) | u128::from(self.answer)).to_be_bytes()
    }

    /// Reads a header, or nothing while `bytes` is still too short.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let number = u128::from_be_bytes(*bytes.first_chunk()?);
        Some(Self {
            body: u64::try_from(number >> 64).ok()?,
            answer: u64::try_from(number & u128::from(u64::MAX)).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let request = Request { body: 48, answer: ENDLESS };
        assert_eq!(Request::parse(&request.header()), Some(request));
        assert_eq!(Request::parse(&request.header()[..15]), None);
    }

    #[test]
    fn a_small_request_names_its_own_length() {
        let bytes = Request::small(4096);
        assert_eq!(Request::parse(&bytes), Some(Request { body: 48, answer: 4096 }));
    }
}

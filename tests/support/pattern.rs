//! A stream of bytes whose every position can be checked: a lost, repeated or moved byte shows.

/// A prime, so that no buffer size is a multiple of it.
const PERIOD: usize = 65_521;

/// The endless pattern, read or checked from the start.
#[derive(Clone)]
pub(crate) struct Pattern {
    block: Vec<u8>,
    at: usize,
    /// Bytes passed so far.
    pub(crate) passed: u64,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
        Self { block: (0..PERIOD).map(byte).collect(), at: 0, passed: 0 }
    }

    /// The next bytes, at most `most`; call [`Pattern::pass`] with how many were used.
    pub(crate) fn next(&self, most: u64) -> &[u8] {
        let rest = &self.block[self.at..];
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(rest.len());
        &rest[..length]
    }

    pub(crate) fn pass(&mut self, count: usize) {
        self.at = (self.at + count) % PERIOD;
        self.passed += count as u64;
    }

    /// Whether `bytes` come next; passes them.
    pub(crate) fn matches(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.next(bytes.len() as u64);
            let length = expected.len();
            if expected != &bytes[..length] {
                return false;
            }
            self.pass(length);
            bytes = &bytes[length..];
        }
        true
    }
}

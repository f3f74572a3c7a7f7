//! Bytes as a list of small numbers, for targets whose input is events and not text.

/// What is left of the input.
#[derive(Debug)]
pub(crate) struct Words<'a>(pub(crate) &'a [u8]);

impl Words<'_> {
    /// The next byte; none at the end.
    pub(crate) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next byte as a number below `end`.
    pub(crate) fn below(&mut self, end: u8) -> Option<u8> {
        self.next().map(|byte| byte % end)
    }

    /// The next two bytes as a number.
    pub(crate) fn long(&mut self) -> Option<u64> {
        Some(u64::from(self.next()?) << 8 | u64::from(self.next()?))
    }
}

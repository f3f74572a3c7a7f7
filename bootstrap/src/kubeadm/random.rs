//! Where random numbers enter: one trait, so that the rest stays repeatable under test.

use ring::rand::{SecureRandom, SystemRandom};

/// A source of random bytes.
pub trait Random {
    /// Fills the whole of `buffer`.
    ///
    /// # Errors
    /// [`RandomError`] if the source has none to give; nothing may be generated then.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RandomError>;
}

/// The operating system's generator, fit for keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RandomError> {
        SystemRandom::new().fill(buffer).map_err(|_| RandomError)
    }
}

/// The source gave no usable random numbers. Retrying may help early in a machine's boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no usable random numbers")]
pub struct RandomError;

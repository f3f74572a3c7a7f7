//! The token that says which process owns the sessions: a byte in a pipe.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::{read, write};
use rustix::pipe::{PipeFlags, pipe_with};

/// Pause between two looks at whether a process that is dying is dead.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How often that is looked at: for a second.
const LOOKS: u32 = 200;

/// The end of the old process, which makes the token.
#[derive(Debug)]
pub(super) struct Mint {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Mint {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { reader, writer })
    }

    /// What the new process gets.
    pub(super) fn reader(&self) -> io::Result<OwnedFd> {
        self.reader.try_clone()
    }

    /// Puts the token where both can read it.
    pub(super) fn put(&self) -> io::Result<()> {
        Ok(write(&self.writer, &[1]).map(drop)?)
    }

    /// Takes the token back; whether it still was there.
    pub(super) fn take_back(&self) -> bool {
        matches!(read(self.reader.as_fd(), &mut [0_u8]), Ok(1))
    }
}

/// The end of the new process.
#[derive(Debug)]
pub(super) struct Slot(pub(super) OwnedFd);

impl Slot {
    /// Takes the token; whether this process now owns the sessions. It also does if the old one is
    /// dead: nobody else can go on with them.
    pub(super) fn take(&self) -> bool {
        matches!(self.read(), Ok(()))
    }

    /// As [`Slot::take`], when the channel was closed: a process that is dying closes its ends one
    /// after the other, so its pipe gets a moment.
    pub(super) async fn take_from_dying(&self) -> bool {
        for _ in 0..LOOKS {
            match self.read() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                taken => return taken.is_ok(),
            }
        }
        false
    }

    /// A byte and the end of the pipe are both good.
    fn read(&self) -> io::Result<()> {
        Ok(read(self.0.as_fd(), &mut [0_u8]).map(drop)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_one_gets_it() {
        let mint = Mint::new().unwrap();
        let slot = Slot(mint.reader().unwrap());
        assert!(!slot.take() && !mint.take_back(), "nobody has decided");
        mint.put().unwrap();
        assert!(slot.take());
        assert!(!mint.take_back() && !slot.take());
        mint.put().unwrap();
        assert!(mint.take_back());
        assert!(!slot.take() && !slot.take_from_dying().await);
    }

    #[tokio::test]
    async fn a_dead_owner_leaves_it_to_the_heir() {
        let mint = Mint::new().unwrap();
        let slot = Slot(mint.reader().unwrap());
        drop(mint);
        assert!(slot.take_from_dying().await && slot.take());
    }
}

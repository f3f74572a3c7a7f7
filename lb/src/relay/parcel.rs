//! A relay that stands still, as another process gets it, and back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::direction::Direction;
use super::pipes::Pipe;
use super::{Relay, RelayTools};
use crate::handover::{DirectionRecord, HeldRecord, SessionRecord};
use crate::listener::ClientPermit;
use crate::session::{Session, SessionEntry};
use crate::socket_options::reset_on_close;

impl Relay {
    /// What another process must know to go on with it.
    pub(crate) fn record(&self) -> SessionRecord {
        // What it moved belongs to this process's counts, before they are read.
        self.session.settle();
        SessionRecord {
            patient: self.patient,
            up: self.up.record(),
            down: self.down.record(),
            ..self.session.record()
        }
    }

    /// The descriptors that go with the record, in its order.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let pipes = [&self.up, &self.down].into_iter().filter_map(Direction::held_pipe);
        let ends = pipes.flat_map(|pipe| [pipe.reader.as_fd(), pipe.writer.as_fd()]);
        [self.client.as_fd(), self.backend.as_fd()].into_iter().chain(ends).collect()
    }

    /// The bytes that go with the record, in its order.
    pub(crate) fn held_bytes(&self) -> [&[u8]; 2] {
        [self.up.held_bytes(), self.down.held_bytes()]
    }

    /// Lets the close of its sockets be a reset.
    pub(crate) fn reset(&self) {
        reset_on_close(&SockRef::from(&self.client));
        reset_on_close(&SockRef::from(&self.backend));
    }

    /// The session that it moves the bytes of.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Puts it where sessions stand that another process may go on with.
    pub(crate) fn hand_in(self, permit: ClientPermit) {
        let sessions = Arc::clone(&self.session.sessions);
        sessions.standing.add(crate::handover::Standing { relay: self, permit });
    }

    /// The relay that another process had. Its sockets belong to the runtime that this is called in.
    ///
    /// # Errors
    /// Descriptors or bytes are not those of the record, or the system refuses the sockets.
    pub(crate) fn revived(
        record: &SessionRecord,
        descriptors: Vec<OwnedFd>,
        bytes: &[u8],
        session: SessionEntry,
        tools: Arc<RelayTools>,
    ) -> io::Result<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(io::ErrorKind::InvalidData);
        let client = TcpStream::from_std(next()?.into())?;
        let backend = TcpStream::from_std(next()?.into())?;
        let mut pipe_of = |direction: &DirectionRecord| -> io::Result<Option<Pipe>> {
            match direction.held {
                HeldRecord::Piped { .. } => {
                    let (reader, writer) = (next()?, next()?);
                    Ok(Some(tools.pipes.adopt(reader, writer)))
                }
                HeldRecord::Nothing | HeldRecord::Bytes(_) => Ok(None),
            }
        };
        let (up_pipe, down_pipe) = (pipe_of(&record.up)?, pipe_of(&record.down)?);
        let both = bytes.split_at_checked(record.up.held.bytes());
        let (up_bytes, down_bytes) = both.ok_or(io::ErrorKind::InvalidData)?;
        let up = Direction::revived(&record.up, up_bytes, up_pipe);
        let down = Direction::revived(&record.down, down_bytes, down_pipe);
        let (Some(up), Some(down)) = (up, down) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        Ok(Self { client, backend, up, down, patient: record.patient, session, tools })
    }
}

//! The channel between the two processes: messages with descriptors, over a unix socket that keeps
//! their boundaries.
//!
//! What is sent is as large and has as many descriptors as it likes: it is cut into packets that the
//! kernel takes, the last of which says that it is the last.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes of one packet; half of what the kernel's default buffer of a socket takes.
const PACKET_BYTES: usize = 96 * 1024;

/// Descriptors of one packet; the kernel takes 253.
const PACKET_DESCRIPTORS: usize = 240;

/// Largest message: a hundred sessions that hold what they can.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Most descriptors of a message: 16 addresses with 256 workers.
const MESSAGE_DESCRIPTORS_MAX: usize = 4096 + 64;

/// Pause while the kernel finds that too many descriptors are on their way.
const CROWDED_PAUSE: Duration = Duration::from_millis(1);

/// First byte of a packet: more follow, or it is the last of its message.
const MORE: u8 = 0;
const LAST: u8 = 1;

/// A message as it arrives.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// One end of the channel.
#[derive(Debug)]
pub(super) struct Channel {
    socket: UnixStream,
    packet: Vec<u8>,
}

impl Channel {
    /// Both ends; the second is for the other process.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::new(ours)?, theirs))
    }

    /// The end that another process made.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = StdStream::from(socket);
        socket.set_nonblocking(true)?;
        let packet = vec![0; PACKET_BYTES + 1];
        Ok(Self { socket: UnixStream::from_std(socket)?, packet })
    }

    /// Sends one message. Not cancel-safe: after that the channel is of no use.
    pub(super) async fn send(
        &mut self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut parts = bytes.chunks(PACKET_BYTES);
        let mut groups = descriptors.chunks(PACKET_DESCRIPTORS);
        let packets = parts.len().max(groups.len()).max(1);
        for number in 1..=packets {
            let head = if number == packets { LAST } else { MORE };
            let part = parts.next().unwrap_or_default();
            self.send_packet(head, part, groups.next().unwrap_or_default()).await?;
        }
        Ok(())
    }

    async fn send_packet(
        &self,
        head: u8,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let head = [head];
        let parts = [IoSlice::new(&head), IoSlice::new(bytes)];
        loop {
            self.socket.writable().await?;
            let sent = self.socket.try_io(Interest::WRITABLE, || {
                let space = rustix::cmsg_space!(ScmRights(PACKET_DESCRIPTORS));
                let mut space = vec![MaybeUninit::uninit(); space];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty()
                    && !control.push(SendAncillaryMessage::ScmRights(descriptors))
                {
                    return Err(ErrorKind::InvalidInput.into());
                }
                Ok(sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL)?)
            });
            match sent {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_crowded(&error) => tokio::time::sleep(CROWDED_PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// The next message; `None` when the other process has closed its end. Not cancel-safe within a
    /// message of several packets.
    pub(super) async fn receive(&mut self) -> io::Result<Option<Message>> {
        let mut message = Message::default();
        loop {
            self.socket.readable().await?;
            let Self { socket, packet } = self;
            let received = socket.try_io(Interest::READABLE, || {
                receive_packet(socket.as_fd(), packet, &mut message.descriptors)
            });
            let length = match received {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            };
            let Some((head, bytes)) = packet.get(..length).and_then(<[u8]>::split_first) else {
                return Ok(None);
            };
            message.bytes.extend_from_slice(bytes);
            if *head == LAST {
                return Ok(Some(message));
            }
            if message.bytes.len() > MESSAGE_BYTES_MAX
                || message.descriptors.len() > MESSAGE_DESCRIPTORS_MAX
            {
                return Err(ErrorKind::FileTooLarge.into());
            }
        }
    }
}

/// Whether more descriptors are on their way than the kernel allows one user.
fn is_crowded(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::TOOMANYREFS.raw_os_error())
}

fn receive_packet(
    socket: BorrowedFd<'_>,
    packet: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(packet)];
    let received = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    // The kernel gives up descriptors that do not fit, or for which we have no room.
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "descriptors or bytes were lost: too few open files allowed?",
        ));
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[tokio::test]
    async fn messages_keep_their_bytes_descriptors_and_order() {
        let (mut one, theirs) = Channel::pair().unwrap();
        let mut other = Channel::new(theirs).unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let many: Vec<_> = (0..500).map(|_| writer.as_fd()).collect();
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let sending = async {
            one.send(&bytes, &many).await.unwrap();
            one.send(b"", &[]).await.unwrap();
            one.send(b"short", &[reader.as_fd()]).await.unwrap();
        };
        let receiving = async {
            let large = other.receive().await.unwrap().unwrap();
            let empty = other.receive().await.unwrap().unwrap();
            let short = other.receive().await.unwrap().unwrap();
            (large, empty, short)
        };
        let ((), (large, empty, short)) = tokio::join!(sending, receiving);
        assert_eq!((large.bytes == bytes, large.descriptors.len()), (true, 500));
        assert_eq!((empty.bytes.len(), empty.descriptors.len()), (0, 0));
        assert_eq!((short.bytes.as_slice(), short.descriptors.len()), (b"short".as_slice(), 1));
        writer.write_all(b"x").unwrap();
        drop((large, writer));
        let mut through = std::fs::File::from(short.descriptors.into_iter().next().unwrap());
        let mut read = String::new();
        through.read_to_string(&mut read).unwrap();
        assert_eq!(read, "x", "it is the same pipe");
        reader.read_to_string(&mut read).unwrap();
    }

    #[tokio::test]
    async fn a_closed_end_is_seen() {
        let (mut one, theirs) = Channel::pair().unwrap();
        drop(theirs);
        assert!(one.receive().await.unwrap().is_none());
        assert!(one.send(b"x", &[]).await.is_err());
    }
}

//! The options that every socket of the data path has, and why.
//!
//! Accepted sockets inherit those of the listening one, which saves six system calls for each
//! connection; backend sockets get all but one of them when their session is a second old, which
//! saves five for each short one (`kubectl`, probes, a kubelet that reconnects).

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockRef, TcpKeepalive};

/// Silence after which the kernel asks the peer whether it lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Questions without an answer after which the peer is gone: 30 s in all, below the 45 s of
/// client-go and far below the 15 minutes of the kernel's defaults.
const KEEPALIVE_RETRIES: u32 = 3;

/// Longest time that sent data may stay unacknowledged. It also ends what keepalive began.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Sets the options, on a listening socket so that accepted ones inherit them, or on the backend
/// socket of a session that lasts.
///
/// # Errors
/// The kernel refused an option.
pub fn apply(socket: &SockRef<'_>) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// Waits for a reader that has paused, or does so no longer. The kernel counts a peer that takes
/// nothing like one that is gone, and `kubectl logs | less` is legal. Without the user timeout a peer
/// may pause as long as it answers the kernel's questions; one that answers nothing is gone after the
/// kernel's 15 retransmissions, a dead backend when its probes say so.
pub fn be_patient(socket: &SockRef<'_>, patient: bool) {
    let timeout = (!patient).then_some(USER_TIMEOUT);
    // A socket that refuses has failed already, and says so at its next use.
    socket.set_tcp_user_timeout(timeout).ok();
}

/// Whether the kernel holds bytes that the peer has no room for. With the lowest of low-water marks a
/// socket can be written to only if every byte has been sent.
#[must_use]
pub fn has_unsent(socket: &SockRef<'_>) -> bool {
    let ask = || {
        socket.set_tcp_notsent_lowat(1)?;
        let mut asked = [PollFd::new(&**socket, PollFlags::OUT)];
        let polled = poll(&mut asked, Some(&Timespec::default()));
        // Zero is the system's own mark again.
        socket.set_tcp_notsent_lowat(0)?;
        io::Result::Ok(polled? == 0)
    };
    // A socket that refuses has failed, and says so at its next use.
    ask().unwrap_or(false)
}

/// Lets acknowledgements ride on the data that is about to go the other way, the one that completes
/// a handshake too. The client's first bytes are at hand when a backend accepts, so packets of their
/// own would be waste: of 25 packets of a short connection this saves 3.
pub fn ride_acknowledgements(socket: &SockRef<'_>) {
    // A socket that refuses has failed already, and says so at its first use.
    socket.set_tcp_quickack(false).ok();
}

/// Makes the close of this socket a reset, so that the peer learns at once that the stream is over
/// and not complete.
pub fn reset_on_close(socket: &SockRef<'_>) {
    // Fails only for a socket that is gone already, and then there is nobody to tell.
    socket.set_linger(Some(Duration::ZERO)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_inherit_the_options() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        apply(&SockRef::from(&listener)).unwrap();
        let addr = listener.local_addr().unwrap();
        let _client = tokio::net::TcpStream::connect(addr).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }

    #[tokio::test]
    async fn a_pause_shows_in_what_is_unsent() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        SockRef::from(&listener).set_recv_buffer_size(8192).unwrap();
        let writer = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let mut writer = writer.await.unwrap();
        let (mut reader, _) = listener.accept().await.unwrap();
        assert!(!has_unsent(&SockRef::from(&writer)));
        writer.write_all(&[0; 100_000]).await.unwrap();
        assert!(has_unsent(&SockRef::from(&writer)), "a reader that reads nothing");
        reader.read_exact(&mut [0; 100_000]).await.unwrap();
        assert!(!has_unsent(&SockRef::from(&writer)));
        let socket = SockRef::from(&writer);
        assert!(socket.tcp_notsent_lowat().unwrap() != 1, "the mark is the system's again");
        for (patient, timeout) in [(true, None), (false, Some(USER_TIMEOUT))] {
            be_patient(&socket, patient);
            assert_eq!(socket.tcp_user_timeout().unwrap().filter(|it| !it.is_zero()), timeout);
        }
    }
}

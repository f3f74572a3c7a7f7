//! The options that every socket of the data path has, and why.
//!
//! Accepted sockets inherit those of the listening one, which saves six system calls for each
//! connection; backend sockets get all but one of them when their session is a second old, which
//! saves five for each short one (`kubectl`, probes, a kubelet that reconnects).

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Silence after which the kernel asks the peer whether it lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Questions without an answer after which the peer is gone: 30 s in all, below the 45 s of
/// client-go and far below the 15 minutes of the kernel's defaults.
const KEEPALIVE_RETRIES: u32 = 3;

/// Longest time that sent data may stay unacknowledged by a client.
const USER_TIMEOUT_CLIENT: Duration = Duration::from_secs(30);

/// The same for a backend, which is one hop away.
const USER_TIMEOUT_BACKEND: Duration = Duration::from_secs(20);

/// Sets what accepted sockets shall inherit.
///
/// # Errors
/// The kernel refused an option.
pub fn apply_to_listener(socket: &SockRef<'_>) -> io::Result<()> {
    apply(socket, USER_TIMEOUT_CLIENT)
}

/// Sets the options of the backend socket of a session that lasts.
///
/// # Errors
/// The kernel refused an option.
pub fn apply_to_backend(socket: &SockRef<'_>) -> io::Result<()> {
    apply(socket, USER_TIMEOUT_BACKEND)
}

fn apply(socket: &SockRef<'_>, user_timeout: Duration) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(user_timeout))
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
        apply_to_listener(&SockRef::from(&listener)).unwrap();
        let addr = listener.local_addr().unwrap();
        let _client = tokio::net::TcpStream::connect(addr).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT_CLIENT));
    }
}

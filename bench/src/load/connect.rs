//! A connection for each request, as `kubectl` and most scripts do it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use tokio::net::{TcpSocket, TcpStream};

use super::{RETRY_PAUSE, exchange::Client, meter::Meter};

/// Bytes of the one answer.
const ANSWER_BYTES: u64 = 64;

/// Ports a client uses in turn.
const PORTS: std::ops::RangeInclusive<u16> = 1024..=65_535;

/// Connects, asks once and closes, for ever. The latency is that of all three.
///
/// Each client has a loopback address of its own and goes through all its ports before it uses one
/// again. Left to the kernel, all clients would share 28 000 ports, each blocked for a second after
/// its connection was closed, and the benchmark would measure the search for a free one.
pub(super) async fn repeat(target: SocketAddr, number: usize, meter: Meter) {
    let [_, _, high, low] = u32::try_from(number).unwrap_or_default().to_be_bytes();
    let own = Ipv4Addr::new(127, 1, high, low);
    let mut announced = false;
    for port in PORTS.cycle() {
        let started = Instant::now();
        let Ok(socket) = bind(own, port) else {
            continue;
        };
        match once(socket, target).await {
            Ok(()) => {
                meter.operation(started, ANSWER_BYTES);
                if !std::mem::replace(&mut announced, true) {
                    meter.ready();
                }
            }
            Err(error) => {
                meter.failed(&error);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Fails if somebody else has the port.
fn bind(own: Ipv4Addr, port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((own, port).into())?;
    Ok(socket)
}

async fn once(socket: TcpSocket, target: SocketAddr) -> io::Result<()> {
    let stream: TcpStream = socket.connect(target).await?;
    Client::new(stream, ANSWER_BYTES)?.exchange().await
}

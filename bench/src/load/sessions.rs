//! Sessions that are established, carry a little and then stay quiet, as most of a control plane's
//! do at any moment.

use std::{future, io, net::SocketAddr};

use super::{RETRY_PAUSE, exchange::Client, meter::Meter};

/// How many sessions are opened at the same time. More would overflow accept queues, and what is
/// measured is sessions, not their arrival.
pub(super) const LANES: usize = 32;

/// Requests each session carries before it is quiet, and the bytes of each answer: enough that a
/// proxy has allocated whatever it keeps for a session in use.
const EXCHANGES: usize = 3;
const ANSWER_BYTES: u64 = 4096;

/// Opens `share` sessions one after the other and holds them until the task ends.
pub(super) async fn hold(target: SocketAddr, share: usize, meter: Meter) {
    let mut held = Vec::with_capacity(share);
    while held.len() < share {
        match open(target).await {
            Ok(client) => {
                held.push(client);
                meter.ready();
            }
            Err(error) => {
                meter.failed(&error);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
    future::pending::<()>().await;
}

async fn open(target: SocketAddr) -> io::Result<Client> {
    let mut client = Client::connect(target, ANSWER_BYTES).await?;
    for _ in 0..EXCHANGES {
        client.exchange().await?;
    }
    Ok(client)
}

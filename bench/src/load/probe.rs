//! Asks through a balancer until it is known which backends it reaches.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use super::{exchange::Client, target};

/// A question that takes longer counts as unanswered.
const LIMIT: Duration = Duration::from_secs(1);

/// How a backend is asked for its number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probe {
    /// By the plain protocol.
    Plain,
}

/// How many different backends answered on `connections` connections that are open at the same
/// time. Stops at the first that gets no answer.
pub(crate) async fn backends_seen(
    targets: &[SocketAddr],
    probe: Probe,
    connections: usize,
) -> usize {
    let mut seen = BTreeSet::new();
    let mut held = Vec::new();
    for turn in 0..connections {
        let Probe::Plain = probe;
        let question = async {
            let mut client = Client::connect(target(targets, turn), 1).await?;
            client.exchange().await.map(|()| client)
        };
        let Ok(Ok(client)) = tokio::time::timeout(LIMIT, question).await else {
            break;
        };
        seen.extend(client.answered_by());
        held.push(client);
    }
    seen.len()
}

//! Asks through a balancer until it is known that it reaches every backend.

use std::{collections::BTreeSet, io, net::SocketAddr, time::Duration};

use tokio_rustls::TlsConnector;

use super::{
    exchange::Client,
    kube::{self, Http},
    target,
};
use crate::backend::{BACKENDS, BackendProcess};

/// A question that takes longer counts as unanswered.
const LIMIT: Duration = Duration::from_secs(1);

/// Connections that are open at the same time. Even a balancer that deals them by chance has then
/// hardly ever missed a backend, and if it has, it is asked again.
const CONNECTIONS: usize = 4 * BACKENDS;

/// True if all of `backends` have answered. Stops at the first question that is not answered.
pub(crate) async fn reaches_all(targets: &[SocketAddr], backends: &BackendProcess) -> bool {
    let mut seen = BTreeSet::new();
    let mut held = Vec::new();
    for turn in 0..CONNECTIONS {
        let question = ask(target(targets, turn), backends.tls.as_ref());
        let Ok(Ok((number, connection))) = tokio::time::timeout(LIMIT, question).await else {
            return false;
        };
        seen.extend(number);
        held.push(connection);
    }
    seen.len() == backends.addresses.len()
}

/// A connection that is kept only so that it counts in the balancer.
#[expect(dead_code, reason = "held, never looked at")]
enum Held {
    Plain(Client),
    Tls(Box<Http>),
}

async fn ask(target: SocketAddr, tls: Option<&TlsConnector>) -> io::Result<(Option<u8>, Held)> {
    if let Some(tls) = tls {
        let mut http = kube::connect(target, tls).await?;
        return Ok((kube::ask(&mut http, 1).await?, Held::Tls(Box::new(http))));
    }
    let mut client = Client::connect(target, 1).await?;
    client.exchange().await?;
    Ok((client.answered_by(), Held::Plain(client)))
}

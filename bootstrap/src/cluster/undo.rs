//! Takes back what a call made, or may have made when its answer was lost. The calls of a master's
//! agent go through the balancer, so a restart of the balancer cuts them off at any moment, and what
//! they leave in the cluster are credentials: one try is not enough.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::client::Cluster;
use super::error::ApiError;
use super::tokens::secret_path;
use crate::kubeadm::{Secret, TOKEN_SECRET};

/// Pauses between the tries: a balancer that was restarted answers again after the first ones.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// No further try after this; somebody may be waiting for the end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Deletes a Secret if it still is the one of this UID, and tries again while the apiserver cannot
/// be reached. One that is gone is fine.
pub(super) async fn take_back(
    cluster: &Cluster,
    name: &str,
    uid: Option<&str>,
) -> Result<(), ApiError> {
    let path = secret_path(name);
    let mut patience = Patience::new();
    loop {
        match cluster.take_back(&path, uid).await {
            Err(error) if patience.lasts(&error).await => {}
            other => return other,
        }
    }
}

/// Deletes the token Secret that a POST without an answer may have stored. Another one that has its
/// name holds another secret, and is left alone.
pub(super) async fn take_back_unsure(cluster: &Cluster, sent: &Secret) -> Result<(), ApiError> {
    let path = secret_path(&sent.metadata.name);
    let mut patience = Patience::new();
    loop {
        match take_back_once(cluster, &path, sent).await {
            Err(error) if patience.lasts(&error).await => {}
            other => return other,
        }
    }
}

async fn take_back_once(cluster: &Cluster, path: &str, sent: &Secret) -> Result<(), ApiError> {
    match cluster.get::<Secret>(path).await? {
        Some(found) if found.data.bytes(TOKEN_SECRET) == sent.data.bytes(TOKEN_SECRET) => {
            cluster.take_back(path, found.metadata.uid.as_deref()).await
        }
        _ => Ok(()),
    }
}

/// How long tries go on.
struct Patience {
    end: Instant,
    pauses: std::array::IntoIter<Duration, 6>,
}

impl Patience {
    fn new() -> Self {
        Self { end: Instant::now() + PATIENCE, pauses: PAUSES.into_iter() }
    }

    /// Waits before the next try; false if there is none.
    async fn lasts(&mut self, error: &ApiError) -> bool {
        if !error.may_work_later() {
            return false;
        }
        match self.pauses.next() {
            Some(pause) if Instant::now() + pause < self.end => {
                sleep(pause).await;
                true
            }
            _ => false,
        }
    }
}

//! Everybody comes at once: thousands of clients that lost their balancer and try again as client-go
//! does, until all are served.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::task::JoinSet;

use crate::peer::{Kind, Peer};
use crate::stage::Stage;

/// Clients, where the limit of open files allows so many.
const CLIENTS_MAX: usize = 20_000;

/// Files that a balancer opens for other things than its clients.
const OTHER_FILES: u64 = 1_500;

/// They come within this time.
const WITHIN: Duration = Duration::from_secs(1);

/// First wait before a client tries again; doubles up to [`BACK_OFF_MAX`].
const BACK_OFF: Duration = Duration::from_millis(800);

const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// After this long the rest is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Clients for whom a balancer may open two files each.
fn clients() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    CLIENTS_MAX.min((files.saturating_sub(OTHER_FILES) / 2) as usize)
}

/// What became of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) kind: Kind,
    pub(crate) clients: usize,
    pub(crate) served: usize,
    /// Attempts that failed; each client tries until it is served.
    pub(crate) refused: usize,
    /// Until half of the clients and all that were served had their stream.
    pub(crate) half: Duration,
    pub(crate) last: Duration,
    /// Most that were served within one second, by all masters.
    pub(crate) busiest: usize,
}

/// The storm on each balancer, one after the other.
pub(crate) fn all(kinds: &[Kind]) -> Vec<Storm> {
    let storm = |kind: &Kind| Some(blow(&Stage::set(&[*kind], false)?.peers[0]));
    kinds.iter().filter_map(storm).inspect(|storm| println!("{storm:?}")).collect()
}

fn blow(peer: &Peer) -> Storm {
    peer.client.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(come(peer))
    })
}

async fn come(peer: &Peer) -> Storm {
    let (begun, refused) = (Instant::now(), Arc::<AtomicUsize>::default());
    let (count, mut clients) = (clients(), JoinSet::new());
    for index in 0..count {
        let (addr, trust, refused) = (peer.addr(), peer.trust.clone(), Arc::clone(&refused));
        let first = WITHIN * index as u32 / count as u32;
        clients.spawn(async move {
            tokio::time::sleep(first).await;
            let mut pause = BACK_OFF;
            loop {
                match trust.open(addr, &Arc::default()).await {
                    // Held open: the others meet the sessions of those who were served.
                    Ok(stream) => return (begun.elapsed(), stream),
                    Err(_) => refused.fetch_add(1, Ordering::Relaxed),
                };
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(BACK_OFF_MAX);
            }
        });
    }
    let mut served = Vec::new();
    let all = async {
        while let Some(client) = clients.join_next().await {
            served.push(client.unwrap());
        }
    };
    // Those who are not served by then are counted by their absence.
    tokio::time::timeout(PATIENCE, all).await.ok();
    let time = |index: usize| served.get(index).map_or(PATIENCE, |(time, _)| *time);
    Storm {
        kind: peer.kind,
        clients: count,
        served: served.len(),
        refused: refused.load(Ordering::Relaxed),
        half: time(count / 2),
        last: time(served.len().saturating_sub(1)),
        busiest: busiest(served.iter().map(|(time, _)| *time)),
    }
}

/// Most of these moments, which are in order, within one second.
fn busiest(moments: impl Iterator<Item = Duration>) -> usize {
    let mut second = VecDeque::new();
    let counts = moments.map(|moment| {
        second.push_back(moment);
        while second.front().is_some_and(|first| *first + Duration::from_secs(1) <= moment) {
            second.pop_front();
        }
        second.len()
    });
    counts.max().unwrap_or_default()
}

#[test]
fn the_busiest_second_is_found() {
    let moments = [0, 100, 999, 1000, 1099, 3000].map(Duration::from_millis);
    assert_eq!(busiest(moments.into_iter()), 4);
    assert_eq!(busiest(std::iter::empty()), 0);
}

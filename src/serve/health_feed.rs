//! Tells the coordinator's side how the backends are, in words that both sides know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::MemberState;
use common::status::BackendState;
use lb::clock::Millis;
use lb::health::{HealthFeed, MemberHealth, State};
use tokio::sync::watch;

/// Translates the balancer's feed until it is dropped; a probe that changes no state is no news.
/// `now` is the balancer's time now. Cancel-safe.
pub(super) async fn translate(
    mut from: HealthFeed,
    now: Millis,
    to: watch::Sender<Arc<Vec<MemberState>>>,
) {
    let start = Instant::now() - Duration::from_millis(now.0);
    loop {
        let states: Vec<MemberState> =
            from.borrow_and_update().iter().map(|member| translated(member, start)).collect();
        to.send_if_modified(|current| {
            let changed = **current != states;
            if changed {
                *current = Arc::new(states);
            }
            changed
        });
        if from.changed().await.is_err() {
            return;
        }
    }
}

fn translated(health: &MemberHealth, start: Instant) -> MemberState {
    let member = &health.backend.member;
    MemberState {
        name: member.name.clone(),
        addr: member.addr,
        state: match health.judge.state() {
            State::Pending => BackendState::Pending,
            State::Up => BackendState::Up,
            State::Drain => BackendState::Drain,
            State::Suspect => BackendState::Suspect,
            State::Frozen => BackendState::Frozen,
            State::Dead => BackendState::Dead,
        },
        since: start + Duration::from_millis(health.judge.since().0),
        why: health.judge.history().last().map(|change| change.signal.clone()).unwrap_or_default(),
    }
}

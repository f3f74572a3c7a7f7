//! The backends as every connection sees them: one immutable snapshot, swapped whole.
//!
//! One task writes ([`Pool::apply`]); any number of connections read ([`Pool::snapshot`]), each the
//! same snapshot for its whole dialling phase.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use common::{Member, Membership};
use parking_lot::Mutex;

use crate::backend::{Backend, ConnectionGuard};
use crate::clock::Millis;
use crate::pick::least_connections;

/// After this many lost races for the same count a connection takes the backend it chose: the count
/// is then off by the few connections that were placed in the same microsecond.
const RESERVE_TRIES: u32 = 16;

/// An immutable numbered snapshot of the backends.
#[derive(Debug, Default)]
pub struct BackendSet {
    /// The membership it was made from.
    pub generation: u64,
    /// At most [`common::member::MEMBERS_MAX`].
    pub backends: Vec<Arc<Backend>>,
}

/// The backends of a snapshot that a connection has tried, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried(u64);

impl Tried {
    fn contains(self, index: usize) -> bool {
        index >= 64 || self.0 & (1 << index) != 0
    }

    fn add(&mut self, index: usize) {
        if index < 64 {
            self.0 |= 1 << index;
        }
    }
}

impl BackendSet {
    /// The backend for a new connection, counted on it and noted in `tried`. Backends that failed a
    /// moment ago come last, the one whose time is over soonest first. `None` when all are tried.
    pub fn pick(&self, tried: &mut Tried, now: Millis, trial: Duration) -> Option<ConnectionGuard> {
        self.pick_trusted(tried, now, trial)
            .or_else(|| self.pick_last_resort(tried))
    }

    fn untried(&self, tried: Tried) -> impl Iterator<Item = (usize, &Arc<Backend>)> {
        self.backends
            .iter()
            .enumerate()
            .filter(move |(index, _)| !tried.contains(*index))
    }

    fn pick_trusted(
        &self,
        tried: &mut Tried,
        now: Millis,
        trial: Duration,
    ) -> Option<ConnectionGuard> {
        let mut passed_over = *tried;
        let mut races = 0;
        loop {
            let usable = self
                .untried(passed_over)
                .filter(|(_, backend)| !backend.refusals().skipped(now));
            let candidates = usable.map(|(index, backend)| backend.candidate(index));
            let chosen = least_connections(candidates, fastrand::u32(..))?;
            let backend = self.backends.get(chosen.index)?;
            let guard = match backend.reserve(chosen.load) {
                Some(guard) => guard,
                None if races < RESERVE_TRIES => {
                    races += 1;
                    continue;
                }
                None => backend.reserve_anyway(),
            };
            if backend.may_try(now, trial) {
                tried.add(chosen.index);
                return Some(guard);
            }
            passed_over.add(chosen.index);
        }
    }

    fn pick_last_resort(&self, tried: &mut Tried) -> Option<ConnectionGuard> {
        let soonest = self
            .untried(*tried)
            .min_by_key(|(_, b)| b.refusals().skip_until());
        let (index, backend) = soonest?;
        tried.add(index);
        Some(backend.reserve_anyway())
    }

    /// Whether some backend has not failed a moment ago.
    #[must_use]
    pub fn has_usable(&self, now: Millis) -> bool {
        self.backends
            .iter()
            .any(|backend| !backend.refusals().skipped(now))
    }
}

/// Owner of the current snapshot.
#[derive(Debug, Default)]
pub struct Pool {
    current: ArcSwap<BackendSet>,
    /// Backends that are no members any more and still have connections.
    retired: Mutex<Vec<Arc<Backend>>>,
}

impl Pool {
    /// The current snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<BackendSet> {
        self.current.load_full()
    }

    /// Backends that are no members any more and still have connections.
    #[must_use]
    pub fn retired(&self) -> Vec<Arc<Backend>> {
        let mut retired = self.retired.lock();
        retired.retain(|backend| backend.load() > 0);
        retired.clone()
    }

    /// Makes the members the backends. A member that stays keeps its counts, also under another
    /// name or source; one that returns while sessions still use it gets its old counts back. Only
    /// one task may call this.
    pub fn apply(&self, membership: &Membership, now: Millis) {
        let old = self.current.load_full();
        let mut known: HashMap<SocketAddr, Arc<Backend>> = HashMap::new();
        for backend in self
            .retired()
            .into_iter()
            .chain(old.backends.iter().cloned())
        {
            known.insert(backend.member.addr, backend);
        }
        let backend_of = |member: &Member| match known.get(&member.addr) {
            Some(same) if same.member == *member => Arc::clone(same),
            Some(same) => Arc::new(same.renamed(member.clone())),
            None => Arc::new(Backend::new(member.clone(), now)),
        };
        let backends: Vec<_> = membership.members.iter().map(backend_of).collect();
        let kept = |backend: &Arc<Backend>| backends.iter().any(|new| new.is(backend));
        let gone: Vec<_> = known
            .values()
            .filter(|backend| !kept(backend))
            .cloned()
            .collect();
        *self.retired.lock() = gone;
        let generation = membership.generation;
        self.current.store(Arc::new(BackendSet {
            generation,
            backends,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::DialFailure;
    use common::Source;

    const TRIAL: Duration = Duration::from_secs(2);

    fn membership(generation: u64, names: &[&str]) -> Membership {
        let member = |name: &&str| Member {
            name: (*name).to_owned(),
            addr: format!("10.0.0.{name}:6443").parse().unwrap(),
            source: Source::Static,
        };
        Membership {
            generation,
            members: names.iter().map(member).collect(),
        }
    }

    fn pool(names: &[&str]) -> Pool {
        let pool = Pool::default();
        pool.apply(&membership(1, names), Millis(0));
        pool
    }

    #[test]
    fn three_hundred_held_connections_differ_by_one_at_most() {
        let set = pool(&["1", "2", "3"]).snapshot();
        let held: Vec<_> = (0..300)
            .map(|_| set.pick(&mut Tried::default(), Millis(0), TRIAL).unwrap())
            .collect();
        assert!(set.backends.iter().all(|backend| backend.load() == 100));
        drop(held);
        assert!(set.backends.iter().all(|backend| backend.load() == 0));
    }

    #[test]
    fn threads_that_pick_at_once_keep_the_balance() {
        let set = pool(&["1", "2", "3"]).snapshot();
        let held = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let guard = set.pick(&mut Tried::default(), Millis(0), TRIAL).unwrap();
                        held.lock().push(guard);
                    }
                });
            }
        });
        let loads: Vec<u32> = set.backends.iter().map(|backend| backend.load()).collect();
        assert_eq!(loads.iter().sum::<u32>(), 1200);
        assert!(
            loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1,
            "{loads:?}"
        );
    }

    #[test]
    fn every_backend_is_tried_once() {
        let set = pool(&["1", "2", "3"]).snapshot();
        let mut tried = Tried::default();
        let mut names: Vec<String> = Vec::new();
        while let Some(guard) = set.pick(&mut tried, Millis(0), TRIAL) {
            names.push(guard.backend().member.name.clone());
        }
        names.sort();
        assert_eq!(names, ["1", "2", "3"]);
    }

    #[test]
    fn a_backend_that_failed_comes_last_but_comes() {
        let set = pool(&["1", "2"]).snapshot();
        set.backends[0].failed(DialFailure::Refused, Millis(0), Millis(0));
        let mut tried = Tried::default();
        let order: Vec<_> = std::iter::from_fn(|| set.pick(&mut tried, Millis(1), TRIAL))
            .map(|guard| guard.backend().member.name.clone())
            .collect();
        assert_eq!(order, ["2", "1"]);
        assert!(set.has_usable(Millis(1)));
        set.backends[1].failed(DialFailure::TimedOut, Millis(0), Millis(0));
        assert!(!set.has_usable(Millis(1)));
        assert!(set.has_usable(Millis(500)));
    }

    #[test]
    fn one_connection_tries_a_backend_whose_time_is_over() {
        let set = pool(&["1", "2"]).snapshot();
        set.backends[0].failed(DialFailure::TimedOut, Millis(0), Millis(0));
        let _busy: Vec<_> = (0..5).map(|_| set.backends[1].reserve_anyway()).collect();
        let name = |now| {
            let guard = set.pick(&mut Tried::default(), Millis(now), TRIAL).unwrap();
            guard.backend().member.name.clone()
        };
        assert_eq!(name(600), "1", "the trial");
        assert_eq!(name(601), "2", "the others wait for its outcome");
        set.backends[0].connected();
        assert_eq!(name(602), "1", "trusted again");
    }

    #[test]
    fn a_failure_of_our_own_is_not_held_against_the_backend() {
        let set = pool(&["1"]).snapshot();
        set.backends[0].failed(DialFailure::Local, Millis(0), Millis(0));
        assert!(set.has_usable(Millis(0)));
    }

    #[test]
    fn a_removed_backend_lives_while_it_is_used() {
        let pool = pool(&["1", "2"]);
        let held = pool
            .snapshot()
            .pick(&mut Tried::default(), Millis(0), TRIAL)
            .unwrap();
        let name = held.backend().member.name.clone();
        pool.apply(&membership(2, &[]), Millis(1));
        assert_eq!(pool.retired().len(), 1);
        pool.apply(&membership(3, &["1", "2"]), Millis(2));
        let back = pool.snapshot();
        let same = back
            .backends
            .iter()
            .find(|backend| backend.member.name == name)
            .unwrap();
        assert_eq!(same.load(), 1, "its counts came back");
        assert!(pool.retired().is_empty());
        drop(held);
    }

    #[test]
    fn an_unchanged_member_keeps_its_counts() {
        let pool = pool(&["1"]);
        let _held = pool.snapshot().backends[0].reserve_anyway();
        pool.apply(&membership(2, &["1", "2"]), Millis(1));
        assert_eq!(pool.snapshot().generation, 2);
        assert_eq!(pool.snapshot().backends[0].load(), 1);
    }
}

//! The backends as every connection sees them: one immutable snapshot, swapped whole.
//!
//! One task writes ([`Pool::publish`]); any number of connections read ([`Pool::snapshot`]), each the
//! same snapshot for its whole dialling phase.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use common::{Member, Membership, Source};
use parking_lot::Mutex;

use crate::backend::{Backend, ConnectionGuard};
use crate::clock::Millis;
use crate::health::Rank;
use crate::pick::least_connections;
use crate::slow_start;

/// After this many lost races for the same count a connection takes the backend it chose: the count
/// is then off by the few connections that were placed in the same microsecond.
const RESERVE_TRIES: u32 = 16;

/// An immutable numbered snapshot of the backends.
#[derive(Debug, Default)]
pub struct BackendSet {
    /// The membership it was made from.
    pub generation: u64,
    /// At most [`common::member::MEMBERS_MAX`].
    pub entries: Vec<Entry>,
}

/// One backend of a snapshot and what it may get.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who and how much.
    pub backend: Arc<Backend>,
    /// When new connections may go to it.
    pub rank: Rank,
    /// Since when it is in its slow start.
    pub slow_start: Option<Millis>,
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
        self.pick_trusted(tried, now, trial).or_else(|| self.pick_last_resort(tried))
    }

    fn untried(&self, tried: Tried) -> impl Iterator<Item = (usize, &Entry)> {
        let allowed = |entry: &Entry| entry.rank != Rank::Never;
        let all = self.entries.iter().enumerate();
        all.filter(move |(index, entry)| !tried.contains(*index) && allowed(entry))
    }

    fn pick_trusted(
        &self,
        tried: &mut Tried,
        now: Millis,
        trial: Duration,
    ) -> Option<ConnectionGuard> {
        let ranks = [Rank::Usual, Rank::LastChoice, Rank::FailOpen];
        ranks.into_iter().find_map(|rank| {
            let held_back = self.held_back(rank, now);
            self.pick_of(rank, held_back, tried, now, trial)
                .or_else(|| self.pick_of(rank, Tried::default(), tried, now, trial))
        })
    }

    /// The backends in their slow start that sit this connection out.
    fn held_back(&self, rank: Rank, now: Millis) -> Tried {
        let mut held_back = Tried::default();
        let peers = self.entries.iter().filter(|entry| entry.rank == rank).count();
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some(since) = entry.slow_start
                && !slow_start::takes_part(now.since(since), peers, fastrand::f64())
            {
                held_back.add(index);
            }
        }
        held_back
    }

    fn pick_of(
        &self,
        rank: Rank,
        held_back: Tried,
        tried: &mut Tried,
        now: Millis,
        trial: Duration,
    ) -> Option<ConnectionGuard> {
        let mut passed_over = Tried(tried.0 | held_back.0);
        let mut races = 0;
        loop {
            let usable = self
                .untried(passed_over)
                .filter(|(_, entry)| entry.rank == rank && !entry.backend.refusals().skipped(now));
            let candidates = usable.map(|(index, entry)| entry.backend.candidate(index));
            let chosen = least_connections(candidates, fastrand::u32(..))?;
            let backend = &self.entries.get(chosen.index)?.backend;
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
        let soonest =
            self.untried(*tried).min_by_key(|(_, entry)| entry.backend.refusals().skip_until());
        let (index, entry) = soonest?;
        tried.add(index);
        Some(entry.backend.reserve_anyway())
    }

    /// Whether some backend that may get connections is not tried yet.
    #[must_use]
    pub fn has_untried(&self, tried: Tried) -> bool {
        self.untried(tried).next().is_some()
    }

    /// Whether some backend may get connections and has not failed a moment ago.
    #[must_use]
    pub fn has_usable(&self, now: Millis) -> bool {
        self.untried(Tried::default()).any(|(_, entry)| !entry.backend.refusals().skipped(now))
    }

    /// Whether some backend may get connections at all.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.untried(Tried::default()).next().is_some()
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

    /// The backend at this address, member or not.
    #[must_use]
    pub fn backend_at(&self, addr: SocketAddr) -> Option<Arc<Backend>> {
        self.member_at(addr).or_else(|| at(addr, self.retired.lock().iter()))
    }

    fn member_at(&self, addr: SocketAddr) -> Option<Arc<Backend>> {
        at(addr, self.current.load().entries.iter().map(|entry| &entry.backend))
    }

    /// Backends that are no members any more and still have connections.
    #[must_use]
    pub fn retired(&self) -> Vec<Arc<Backend>> {
        let mut retired = self.retired.lock();
        retired.retain(|backend| backend.load() > 0);
        retired.clone()
    }

    /// The backends of these members. A member that stays keeps its counts, also under another name
    /// or source; one that returns while sessions still use it gets its old counts back. Those that
    /// are no members any more are remembered while they are used.
    #[must_use]
    pub fn backends_of(&self, membership: &Membership, now: Millis) -> Vec<Arc<Backend>> {
        let old = self.current.load_full();
        let mut known: HashMap<SocketAddr, Arc<Backend>> = HashMap::new();
        let current = old.entries.iter().map(|entry| Arc::clone(&entry.backend));
        for backend in self.retired().into_iter().chain(current) {
            known.insert(backend.member.addr, backend);
        }
        let backend_of = |member: &Member| match known.get(&member.addr) {
            Some(same) if same.member == *member => Arc::clone(same),
            Some(same) => Arc::new(same.renamed(member.clone())),
            None => Arc::new(Backend::new(member.clone(), now)),
        };
        let backends: Vec<_> = membership.members.iter().map(backend_of).collect();
        let kept = |backend: &Arc<Backend>| backends.iter().any(|new| new.is(backend));
        let gone: Vec<_> = known.values().filter(|backend| !kept(backend)).cloned().collect();
        *self.retired.lock() = gone;
        backends
    }

    /// Remembers these while they are used, though they are no members.
    pub fn retire(&self, backends: impl Iterator<Item = Arc<Backend>>) {
        let mut retired = self.retired.lock();
        for backend in backends {
            if !retired.iter().any(|known| known.is(&backend)) {
                retired.push(backend);
            }
        }
    }

    /// The backend of a session that another process established: no member perhaps, and not even
    /// remembered, if the session is its last one.
    pub(crate) fn backend_of_guest(&self, addr: SocketAddr, since: Millis) -> Arc<Backend> {
        if let Some(member) = self.member_at(addr) {
            return member;
        }
        // Under one lock, so that two workers do not make two of one.
        let mut retired = self.retired.lock();
        at(addr, retired.iter()).unwrap_or_else(|| {
            let member = Member { name: addr.to_string(), addr, source: Source::Remembered };
            let backend = Arc::new(Backend::new(member, since));
            retired.push(Arc::clone(&backend));
            backend
        })
    }

    /// Makes this the snapshot of every connection from now on. Only one task may call this.
    pub fn publish(&self, set: BackendSet) {
        self.current.store(Arc::new(set));
    }
}

fn at<'a>(
    addr: SocketAddr,
    mut backends: impl Iterator<Item = &'a Arc<Backend>>,
) -> Option<Arc<Backend>> {
    backends.find(|backend| backend.member.addr == addr).map(Arc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::DialFailure;

    const TRIAL: Duration = Duration::from_secs(2);

    fn membership(generation: u64, names: &[&str]) -> Membership {
        let member = |name: &&str| Member {
            name: (*name).to_owned(),
            addr: format!("10.0.0.{name}:6443").parse().unwrap(),
            source: Source::Static,
        };
        Membership { generation, members: names.iter().map(member).collect() }
    }

    fn apply(pool: &Pool, membership: &Membership) {
        let backends = pool.backends_of(membership, Millis(0)).into_iter();
        let entry = |backend| Entry { backend, rank: Rank::Usual, slow_start: None };
        let generation = membership.generation;
        pool.publish(BackendSet { generation, entries: backends.map(entry).collect() });
    }

    fn pool(names: &[&str]) -> Pool {
        let pool = Pool::default();
        apply(&pool, &membership(1, names));
        pool
    }

    /// The first backend of three under these ranks that connections go to, and the order after it.
    fn order(ranks: [Rank; 3]) -> Vec<String> {
        let pool = pool(&["1", "2", "3"]);
        let ranked = pool.snapshot().entries.clone().into_iter().zip(ranks);
        let entries = ranked.map(|(entry, rank)| Entry { rank, ..entry }).collect();
        pool.publish(BackendSet { generation: 2, entries });
        let (set, mut tried) = (pool.snapshot(), Tried::default());
        std::iter::from_fn(|| set.pick(&mut tried, Millis(1), TRIAL))
            .map(|guard| guard.backend().member.name.clone())
            .collect()
    }

    #[test]
    fn ranks_go_before_counts() {
        use Rank::{FailOpen, LastChoice, Never, Usual};
        assert_eq!(order([FailOpen, LastChoice, Usual]), ["3", "2", "1"]);
        assert_eq!(order([Never, FailOpen, Never]), ["2"]);
        assert!(order([Never, Never, Never]).is_empty());
    }

    #[test]
    fn a_slow_start_takes_its_share_and_no_more() {
        let pool = pool(&["1", "2", "3"]);
        let mut entries = pool.snapshot().entries.clone();
        let _held: Vec<_> = (0..2000).map(|n| entries[n % 2].backend.reserve_anyway()).collect();
        entries[2].slow_start = Some(Millis(0));
        pool.publish(BackendSet { generation: 2, entries });
        let share = |now| {
            let set = pool.snapshot();
            let all: Vec<_> = (0..300)
                .map(|_| set.pick(&mut Tried::default(), Millis(now), TRIAL).unwrap())
                .collect();
            all.iter().filter(|guard| guard.backend().member.name == "3").count()
        };
        assert!((1..60).contains(&share(0)), "a tenth at first");
        assert!((60..200).contains(&share(30_000)), "never twice its share, which is 100");
    }

    #[test]
    fn three_hundred_held_connections_differ_by_one_at_most() {
        let set = pool(&["1", "2", "3"]).snapshot();
        let held: Vec<_> =
            (0..300).map(|_| set.pick(&mut Tried::default(), Millis(0), TRIAL).unwrap()).collect();
        assert!(set.entries.iter().all(|entry| entry.backend.load() == 100));
        drop(held);
        assert!(set.entries.iter().all(|entry| entry.backend.load() == 0));
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
        let loads: Vec<u32> = set.entries.iter().map(|entry| entry.backend.load()).collect();
        assert_eq!(loads.iter().sum::<u32>(), 1200);
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
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
        set.entries[0].backend.failed(DialFailure::Refused, Millis(0), Millis(0));
        let mut tried = Tried::default();
        let order: Vec<_> = std::iter::from_fn(|| set.pick(&mut tried, Millis(1), TRIAL))
            .map(|guard| guard.backend().member.name.clone())
            .collect();
        assert_eq!(order, ["2", "1"]);
        assert!(set.has_usable(Millis(1)));
        set.entries[1].backend.failed(DialFailure::TimedOut, Millis(0), Millis(0));
        assert!(!set.has_usable(Millis(1)));
        assert!(set.has_usable(Millis(500)));
    }

    #[test]
    fn one_connection_tries_a_backend_whose_time_is_over() {
        let set = pool(&["1", "2"]).snapshot();
        set.entries[0].backend.failed(DialFailure::TimedOut, Millis(0), Millis(0));
        let _busy: Vec<_> = (0..5).map(|_| set.entries[1].backend.reserve_anyway()).collect();
        let name = |now| {
            let guard = set.pick(&mut Tried::default(), Millis(now), TRIAL).unwrap();
            guard.backend().member.name.clone()
        };
        assert_eq!(name(600), "1", "the trial");
        assert_eq!(name(601), "2", "the others wait for its outcome");
        set.entries[0].backend.connected();
        assert_eq!(name(602), "2", "a frozen one accepts too");
        set.entries[0].backend.answered();
        assert_eq!(name(603), "1", "trusted again");
    }

    #[test]
    fn a_failure_of_our_own_is_not_held_against_the_backend() {
        let set = pool(&["1"]).snapshot();
        set.entries[0].backend.failed(DialFailure::Local, Millis(0), Millis(0));
        assert!(set.has_usable(Millis(0)));
    }

    #[test]
    fn a_removed_backend_lives_while_it_is_used() {
        let pool = pool(&["1", "2"]);
        let held = pool.snapshot().pick(&mut Tried::default(), Millis(0), TRIAL).unwrap();
        let name = held.backend().member.name.clone();
        apply(&pool, &membership(2, &[]));
        assert_eq!(pool.retired().len(), 1);
        apply(&pool, &membership(3, &["1", "2"]));
        let back = pool.snapshot();
        let same = back.entries.iter().find(|entry| entry.backend.member.name == name).unwrap();
        assert_eq!(same.backend.load(), 1, "its counts came back");
        assert!(pool.retired().is_empty());
        drop(held);
    }

    #[test]
    fn an_unchanged_member_keeps_its_counts() {
        let pool = pool(&["1"]);
        let _held = pool.snapshot().entries[0].backend.reserve_anyway();
        apply(&pool, &membership(2, &["1", "2"]));
        assert_eq!(pool.snapshot().generation, 2);
        assert_eq!(pool.snapshot().entries[0].backend.load(), 1);
    }

    #[test]
    fn a_guest_of_an_unknown_backend_makes_one_that_is_remembered() {
        let pool = pool(&["1"]);
        let addr = |name: &str| format!("10.0.0.{name}:6443").parse().unwrap();
        let member = pool.backend_of_guest(addr("1"), Millis(5));
        assert!(member.is(&pool.backend_at(addr("1")).unwrap()));
        let unknown = pool.backend_of_guest(addr("9"), Millis(5));
        assert!(unknown.is(&pool.backend_of_guest(addr("9"), Millis(6))), "one for all of them");
        let guest = unknown.reserve_anyway();
        assert_eq!(pool.retired().len(), 1);
        drop(guest);
        assert!(pool.retired().is_empty());
    }
}

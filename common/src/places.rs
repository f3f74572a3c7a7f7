//! The places of a server's connections, and who gives way when none is left.
//!
//! Somebody who opens connections and asks nothing on them, or sends a request by halves, would keep
//! everybody out for as long as a request may take to come. So while somebody waits for a place, the
//! connection that has been without a request for longest has to go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Pause until one more is sent away, if the last one has not left yet. It leaves as soon as its task
/// runs.
const LEAVES_WITHIN: Duration = Duration::from_millis(10);

/// A bounded number of places.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    most: usize,
    grace: Duration,
    idle: Mutex<Idle>,
}

/// The connections without a request, the oldest first.
#[derive(Debug, Default)]
struct Idle {
    next: u64,
    since: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

impl Places {
    /// So many places. `grace` is what each connection gets for its request whoever waits.
    #[must_use]
    pub fn new(most: usize, grace: Duration) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(most));
        Arc::new(Self { free, most, grace, idle: Mutex::default() })
    }

    /// A place for one more connection. Waits while all are taken by requests, and for the grace of
    /// those that have none. To be called by the one who accepts, with a connection in hand.
    /// Cancel-safe.
    pub async fn take(self: &Arc<Self>) -> Place {
        let mut patience = self.patience();
        loop {
            let free = Arc::clone(&self.free).acquire_owned();
            match timeout(patience, free).await {
                Ok(Ok(permit)) => return Place::new(self, permit),
                // Nobody closes it.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => {
                    self.send_one_away();
                    patience = self.patience().max(LEAVES_WITHIN);
                }
            }
        }
    }

    /// Places that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.most.saturating_sub(self.free.available_permits())
    }

    /// Time until the next one may be sent away.
    fn patience(&self) -> Duration {
        let idle = self.idle.lock();
        let since = idle.since.values().next().map(|(since, _)| *since);
        since.map_or(self.grace, |since| self.grace.saturating_sub(since.elapsed()))
    }

    fn send_one_away(&self) {
        let mut idle = self.idle.lock();
        if let Some(oldest) = idle.since.first_entry()
            && oldest.get().0.elapsed() >= self.grace
        {
            let (_, leave) = oldest.remove();
            leave.notify_one();
        }
    }
}

/// The place of one connection, free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    _permit: OwnedSemaphorePermit,
    leave: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests under way.
    asked: usize,
    /// Among those without one.
    number: Option<u64>,
}

impl Place {
    fn new(places: &Arc<Places>, permit: OwnedSemaphorePermit) -> Self {
        let (places, leave) = (Arc::clone(places), Arc::default());
        let place = Self { places, _permit: permit, leave, state: Mutex::default() };
        place.enlist(&mut place.state.lock());
        place
    }

    /// A whole request is here: the place is safe until the guard is dropped.
    pub fn asked(&self) -> Asked<'_> {
        self.keep();
        Asked(self)
    }

    /// The place is safe for as long as the connection lasts.
    pub fn keep(&self) {
        let mut state = self.state.lock();
        state.asked += 1;
        self.strike(&mut state);
    }

    /// Runs the connection until it ends or has to go. How it ended is no event worth a line: a client
    /// that goes away or is cut off.
    pub async fn host(&self, connection: impl Future) {
        tokio::select! {
            biased;
            _ = connection => {}
            () = self.sent_away() => {}
        }
    }

    /// Resolves when the connection has to go. Cancel-safe.
    async fn sent_away(&self) {
        loop {
            self.leave.notified().await;
            let state = self.state.lock();
            // It may have asked in the moment between.
            let listed =
                state.number.is_some_and(|it| self.places.idle.lock().since.contains_key(&it));
            if state.asked == 0 && !listed {
                return;
            }
        }
    }

    fn enlist(&self, state: &mut State) {
        let mut idle = self.places.idle.lock();
        let number = idle.next;
        idle.next += 1;
        idle.since.insert(number, (Instant::now(), Arc::clone(&self.leave)));
        state.number = Some(number);
    }

    fn strike(&self, state: &mut State) {
        if let Some(number) = state.number.take() {
            self.places.idle.lock().since.remove(&number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strike(&mut self.state.lock());
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Asked<'a>(&'a Place);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.asked -= 1;
        if state.asked == 0 {
            self.0.enlist(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_millis(50);

    async fn is_sent_away(place: &Place) -> bool {
        timeout(Duration::ZERO, place.sent_away()).await.is_ok()
    }

    /// The place that somebody gets within the time, if he does.
    async fn taken_within(places: &Arc<Places>, limit: Duration) -> Option<Place> {
        timeout(limit, places.take()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_goes_while_nobody_waits() {
        let places = Places::new(2, GRACE);
        let (first, second) = (places.take().await, places.take().await);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!is_sent_away(&first).await && !is_sent_away(&second).await);
        assert_eq!(places.taken(), 2);
        drop(first);
        assert_eq!(places.taken(), 1);
        places.take().await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_without_a_request_goes() {
        let places = Places::new(3, GRACE);
        let (asks, asked, idle) = (places.take().await, places.take().await, places.take().await);
        let under_way = asks.asked();
        drop(asked.asked());
        let waits = async {
            let began = Instant::now();
            let place = places.take().await;
            (place, began.elapsed())
        };
        let leaves = async {
            idle.sent_away().await;
            drop(idle);
        };
        let ((_place, waited), ()) = tokio::join!(waits, leaves);
        assert!(waited >= GRACE && waited < 2 * GRACE, "{waited:?}");
        assert!(!is_sent_away(&asked).await && !is_sent_away(&asks).await);
        drop(under_way);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_or_is_kept_stays() {
        let places = Places::new(2, GRACE);
        let (asks, kept) = (places.take().await, places.take().await);
        kept.keep();
        let under_way = (asks.asked(), asks.asked());
        assert!(taken_within(&places, 100 * GRACE).await.is_none());
        drop(under_way.0);
        assert!(taken_within(&places, 100 * GRACE).await.is_none(), "one is still under way");
        drop(under_way.1);
        assert!(taken_within(&places, 2 * GRACE).await.is_none(), "it has not left yet");
        assert!(is_sent_away(&asks).await && !is_sent_away(&kept).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_at_the_last_moment_stays() {
        let places = Places::new(1, GRACE);
        let place = places.take().await;
        assert!(taken_within(&places, 2 * GRACE).await.is_none());
        let under_way = place.asked();
        assert!(!is_sent_away(&place).await);
        drop(under_way);
        assert!(!is_sent_away(&place).await, "it has its grace again");
        assert!(taken_within(&places, 2 * GRACE).await.is_none());
        drop(place.asked());
        assert!(!is_sent_away(&place).await, "asked and answered in one go");
    }

    #[tokio::test(start_paused = true)]
    async fn hundreds_that_come_again_and_again_keep_nobody_out() {
        let places = Places::new(64, GRACE);
        let mut held: Vec<Place> = Vec::new();
        let began = Instant::now();
        for _ in 0..264 {
            let mut waits = Box::pin(places.take());
            let place = loop {
                match timeout(Duration::from_millis(1), &mut waits).await {
                    Ok(place) => break place,
                    Err(_) => {
                        let mut stay = Vec::new();
                        for place in held {
                            if !is_sent_away(&place).await {
                                stay.push(place);
                            }
                        }
                        held = stay;
                    }
                }
            };
            held.push(place);
        }
        // The last one waited for as many graces as the two hundred too many fill the places.
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    }
}

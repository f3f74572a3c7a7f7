//! Wrong tokens are counted for each source, so that nobody guesses, and nobody who guesses slows
//! others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Wrong tokens that a source may present at once: a ticket copied wrongly a few times.
const BURST: u32 = 10;

/// Time after which one more is allowed. 82 random bits are safe at any rate; this keeps the log
/// and the processor quiet.
const RECOVERY: Duration = Duration::from_secs(6);

/// Most sources that are remembered; beyond it the one that has been quiet for longest is forgotten.
pub const SOURCES_MAX: usize = 4096;

/// Sources of IPv6 are networks of this many bits: a host has a whole one.
const V6_PREFIX: u32 = 64;

/// What sources have tried.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    sources: HashMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    wrong: u32,
    since: Duration,
}

impl Bucket {
    /// What is left of it at `now`.
    fn at(self, now: Duration) -> Self {
        let recovered = now.saturating_sub(self.since).as_millis() / RECOVERY.as_millis();
        let recovered = u32::try_from(recovered).unwrap_or(u32::MAX);
        let since = self.since.saturating_add(RECOVERY.saturating_mul(recovered));
        Self { wrong: self.wrong.saturating_sub(recovered), since: since.min(now) }
    }
}

impl Attempts {
    /// Whether a source may try a token now; else how long it has to wait.
    ///
    /// # Errors
    /// The wait.
    pub fn allowed(&self, source: IpAddr, now: Duration) -> Result<(), Duration> {
        let Some(bucket) = self.sources.get(&network(source)).map(|bucket| bucket.at(now)) else {
            return Ok(());
        };
        if bucket.wrong < BURST {
            return Ok(());
        }
        Err(bucket.since.saturating_add(RECOVERY).saturating_sub(now))
    }

    /// Notes a wrong token.
    pub fn wrong(&mut self, source: IpAddr, now: Duration) {
        let source = network(source);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.forget_one(now);
        }
        let bucket = self.sources.entry(source).or_insert(Bucket { wrong: 0, since: now });
        *bucket = bucket.at(now);
        if bucket.wrong == 0 {
            bucket.since = now;
        }
        bucket.wrong = bucket.wrong.saturating_add(1).min(BURST);
    }

    /// How many sources are remembered.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    fn forget_one(&mut self, now: Duration) {
        self.sources.retain(|_, bucket| bucket.at(now).wrong > 0);
        if self.sources.len() < SOURCES_MAX {
            return;
        }
        let oldest = self.sources.iter().min_by_key(|(_, bucket)| bucket.since);
        if let Some(source) = oldest.map(|(source, _)| *source) {
            self.sources.remove(&source);
        }
    }
}

/// The network that counts as one source.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => IpAddr::V6((u128::from(v6) >> V6_PREFIX << V6_PREFIX).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_guesser_waits_and_others_do_not() {
        let mut attempts = Attempts::default();
        for _ in 0..1_000 {
            attempts.wrong(ip("10.0.0.1"), at(100));
        }
        assert_eq!(attempts.allowed(ip("10.0.0.1"), at(100)), Err(RECOVERY));
        assert_eq!(attempts.allowed(ip("10.0.0.1"), at(104)), Err(at(2)));
        assert!(attempts.allowed(ip("10.0.0.1"), at(106)).is_ok());
        assert!(attempts.allowed(ip("10.0.0.2"), at(100)).is_ok());
    }

    #[test]
    fn a_few_mistakes_cost_nothing() {
        let mut attempts = Attempts::default();
        for _ in 1..BURST {
            attempts.wrong(ip("10.0.0.1"), at(0));
            assert!(attempts.allowed(ip("10.0.0.1"), at(0)).is_ok());
        }
        attempts.wrong(ip("10.0.0.1"), at(0));
        assert!(attempts.allowed(ip("10.0.0.1"), at(0)).is_err());
        assert!(attempts.allowed(ip("10.0.0.1"), at(3_600)).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_mapped_addresses_are_ipv4() {
        let mut attempts = Attempts::default();
        for host in 0..u16::try_from(BURST).unwrap() {
            attempts.wrong(ip(&format!("fd00::{host:x}")), at(0));
            attempts.wrong(ip("::ffff:10.0.0.1"), at(0));
        }
        assert!(attempts.allowed(ip("fd00::ffff"), at(0)).is_err());
        assert!(attempts.allowed(ip("fd00:0:0:1::1"), at(0)).is_ok());
        assert!(attempts.allowed(ip("10.0.0.1"), at(0)).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let mut attempts = Attempts::default();
        for number in 0..u32::try_from(2 * SOURCES_MAX).unwrap() {
            attempts.wrong(IpAddr::V4(number.into()), at(u64::from(number) / 1_000));
        }
        assert!(attempts.sources() <= SOURCES_MAX);
    }
}

//! The catalogue of what is measured. A scenario is known by its name alone, so that a run can be
//! repeated from its report, and any size can be asked for: `rr-16x1k` works without being listed.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};

/// Everything a full run measures, in the order of the report.
const CATALOGUE: [&str; 30] = [
    "rr-1x64",
    "rr-64x64",
    "rr-1000x64",
    "rr-1x4k",
    "rr-64x4k",
    "rr-1000x4k",
    "rr-1x64k",
    "rr-64x64k",
    "rr-1000x64k",
    "crr-64",
    "open-64x64-20k",
    "bulk-1-down",
    "bulk-1-up",
    "bulk-1-both",
    "bulk-8-down",
    "bulk-8-up",
    "bulk-8-both",
    "idle-100",
    "idle-1000",
    "idle-4000",
    "idle-9000",
    "kube",
    "growth-rr-10",
    "growth-rr-100",
    "growth-rr-1000",
    "growth-rr-5000",
    "growth-crr-10",
    "growth-crr-100",
    "growth-crr-1000",
    "growth-crr-5000",
];

/// Connections that do the work while others only exist, in the growth scenarios.
const GROWTH_CONNECTIONS: usize = 16;

/// No scenario holds more sessions than this: a proxy needs two descriptors for each.
const MOST_CONNECTIONS: usize = 100_000;

/// One thing to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// The name it was asked for by.
    pub(crate) name: String,
    /// The part of the report it belongs to.
    pub(crate) group: Group,
    /// What the load generator does.
    pub(crate) work: Work,
    /// Sessions that are established first and then stay quiet.
    pub(crate) background: usize,
}

/// The parts of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Requests and responses over connections that stay.
    Exchange,
    /// A connection for each request.
    Connect,
    /// Requests at a fixed rate, whether or not the answers come.
    Open,
    /// Long streams.
    Bulk,
    /// Sessions that only exist.
    Idle,
    /// What a control plane does.
    Kube,
    /// The cost of a request or a connection beside many other sessions.
    Growth,
}

/// What the load generator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Closed loop of requests over persistent connections.
    Exchange {
        /// Connections at once.
        connections: usize,
        /// Bytes of each answer.
        answer: u64,
    },
    /// Closed loop of connect, one small request, close.
    Connect {
        /// Connections at once.
        connections: usize,
    },
    /// Requests at a fixed rate over persistent connections.
    Open {
        /// Connections the requests are dealt to.
        connections: usize,
        /// Bytes of each answer.
        answer: u64,
        /// Requests a second, all connections together.
        rate: u64,
    },
    /// Endless streams.
    Bulk {
        /// Streams at once.
        connections: usize,
        /// Which way the bytes go.
        direction: Direction,
    },
    /// Nothing beyond the background sessions.
    Idle,
    /// TLS, HTTP/2 watches, lists and short calls.
    Kube,
}

/// Which way a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the backend to the client.
    Down,
    /// From the client to the backend.
    Up,
    /// Both at once.
    Both,
}

impl Scenario {
    /// Understands a name such as `rr-64x4k`.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let words: Vec<&str> = name.split('-').collect();
        let (group, work, background) = match words.as_slice() {
            ["rr", size] => (Group::Exchange, exchange(size)?, 0),
            ["crr", connections] => {
                (Group::Connect, Work::Connect { connections: count(connections)? }, 0)
            }
            ["open", size, rate] => (Group::Open, open(size, rate)?, 0),
            ["bulk", connections, direction] => (Group::Bulk, bulk(connections, direction)?, 0),
            ["idle", sessions] => (Group::Idle, Work::Idle, count(sessions)?),
            ["kube"] => (Group::Kube, Work::Kube, 0),
            ["growth", "rr", others] => {
                let work = Work::Exchange { connections: GROWTH_CONNECTIONS, answer: 64 };
                (Group::Growth, work, count(others)?)
            }
            ["growth", "crr", others] => {
                (Group::Growth, Work::Connect { connections: GROWTH_CONNECTIONS }, count(others)?)
            }
            _ => bail!("no scenario is called {name:?}; `mainstay-bench scenarios` lists them"),
        };
        Ok(Self { name: name.to_owned(), group, work, background })
    }

    /// The scenarios that `patterns` select: names, or beginnings of names up to a dash. No pattern
    /// selects the whole catalogue.
    pub(crate) fn select(patterns: &[String]) -> Result<Vec<Self>> {
        if patterns.is_empty() {
            return CATALOGUE.iter().map(|name| Self::parse(name)).collect();
        }
        let mut names: Vec<&str> = Vec::new();
        for pattern in patterns {
            let beginning = format!("{pattern}-");
            let listed: Vec<&str> =
                CATALOGUE.into_iter().filter(|name| name.starts_with(&beginning)).collect();
            names.extend(if listed.is_empty() { vec![pattern.as_str()] } else { listed });
        }
        names.iter().map(|name| Self::parse(name)).collect()
    }

    /// True if the backends must speak TLS and HTTP/2.
    pub(crate) fn needs_tls(&self) -> bool {
        self.work == Work::Kube
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.work {
            Work::Exchange { connections, answer } => {
                write!(out, "{connections} connections, 64 B requests, {answer} B answers")
            }
            Work::Connect { connections } => {
                write!(out, "connect, 64 B request and answer, close; {connections} at once")
            }
            Work::Open { connections, answer, rate } => {
                write!(out, "{rate} requests/s over {connections} connections, {answer} B answers")
            }
            Work::Bulk { connections, direction } => {
                write!(out, "{connections} endless streams, {direction:?}")
            }
            Work::Idle => write!(out, "{} quiet sessions", self.background),
            Work::Kube => write!(out, "TLS and HTTP/2: watches, lists and short calls"),
        }?;
        if self.background > 0 && self.work != Work::Idle {
            write!(out, "; beside {} quiet sessions", self.background)?;
        }
        Ok(())
    }
}

fn exchange(size: &str) -> Result<Work> {
    let (connections, answer) = connections_by_bytes(size)?;
    Ok(Work::Exchange { connections, answer })
}

fn open(size: &str, rate: &str) -> Result<Work> {
    let (connections, answer) = connections_by_bytes(size)?;
    let rate = number(rate, 1000)?;
    ensure!(rate > 0, "a rate of nothing measures nothing");
    Ok(Work::Open { connections, answer, rate })
}

fn bulk(connections: &str, direction: &str) -> Result<Work> {
    let direction = match direction {
        "down" => Direction::Down,
        "up" => Direction::Up,
        "both" => Direction::Both,
        other => bail!("a stream goes down, up or both, not {other:?}"),
    };
    Ok(Work::Bulk { connections: count(connections)?, direction })
}

fn connections_by_bytes(size: &str) -> Result<(usize, u64)> {
    let (connections, bytes) = size
        .split_once('x')
        .with_context(|| format!("{size:?} is not CONNECTIONSxBYTES, like 64x4k"))?;
    let bytes = number(bytes, 1024)?;
    ensure!(bytes > 0, "an answer of no bytes cannot be awaited");
    Ok((count(connections)?, bytes))
}

fn count(text: &str) -> Result<usize> {
    let count = usize::try_from(number(text, 1000)?)?;
    ensure!((1..=MOST_CONNECTIONS).contains(&count), "{count} connections are out of range");
    Ok(count)
}

fn number(text: &str, thousand: u64) -> Result<u64> {
    let (digits, factor) = text.strip_suffix('k').map_or((text, 1), |digits| (digits, thousand));
    let number: u64 = digits.parse().with_context(|| format!("{text:?} is not a number"))?;
    number.checked_mul(factor).with_context(|| format!("{text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_understood() {
        for name in CATALOGUE {
            Scenario::parse(name).unwrap();
        }
    }

    #[test]
    fn sizes_are_read_from_the_name() {
        let scenario = Scenario::parse("rr-16x4k").unwrap();
        assert_eq!(scenario.work, Work::Exchange { connections: 16, answer: 4096 });
        let scenario = Scenario::parse("open-64x64-20k").unwrap();
        assert_eq!(scenario.work, Work::Open { connections: 64, answer: 64, rate: 20_000 });
        assert_eq!(Scenario::parse("growth-crr-5000").unwrap().background, 5000);
    }

    #[test]
    fn nonsense_is_refused() {
        for name in ["", "rr", "rr-0x64", "rr-64", "rr-64x0", "bulk-8-sideways", "kube-1"] {
            assert!(Scenario::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_beginning_selects_a_family() {
        let names = |pattern: &str| -> Vec<String> {
            let scenarios = Scenario::select(&[pattern.to_owned()]).unwrap();
            scenarios.into_iter().map(|scenario| scenario.name).collect()
        };
        assert_eq!(names("bulk-8"), ["bulk-8-down", "bulk-8-up", "bulk-8-both"]);
        assert_eq!(names("rr-2x8"), ["rr-2x8"]);
        assert_eq!(Scenario::select(&[]).unwrap().len(), CATALOGUE.len());
    }
}

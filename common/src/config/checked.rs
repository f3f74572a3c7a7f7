//! The configuration as types: whoever holds a [`Config`] need not check anything again.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{AdminAddr, ListenAddr, parse_backend};
use super::join::{self, Join};
use super::{ConfigError, Layers, Origin, Value};
use crate::drain::StopLimits;
use crate::member::MEMBERS_MAX;
use crate::{Member, OwnAddresses, duration};

/// Most workers: beyond it the kernel's spreading over sockets gains nothing for 6443.
const WORKERS_MAX: u64 = 256;

/// Most connections that may be asked for; beyond it the source ports run out many times over.
const CONNECTIONS_MAX: u64 = 1_000_000;

/// How backends are questioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// `GET /readyz` over TLS: for apiservers.
    Https,
    /// A TCP connect: for backends that are no apiservers.
    Tcp,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Bounds that the operator may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most client connections at once.
    pub max_connections: usize,
    /// Whether the operator chose that number: a default may be lowered, a choice may not.
    pub max_connections_chosen: bool,
    /// Most new connections of each backend in a second; 0 is no limit.
    pub new_per_second: u32,
    /// Most new connections of each backend at once.
    pub new_burst: u32,
    /// Most connections of one source address; 0 is no limit.
    pub per_source: u32,
}

/// How long the balancer waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For one backend to accept a connection.
    pub connect: Duration,
    /// For any backend to accept it.
    pub dial: Duration,
    /// For the first byte of a client.
    pub first_byte: Duration,
    /// For a byte in either direction of a session.
    pub idle: Duration,
    /// For a byte of the one direction that is still open.
    pub half_close: Duration,
}

/// How apiservers are known, as the names of PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's CA.
    pub ca: Option<PathBuf>,
    /// The pin of its CA: `sha256:` and 64 hexadecimal digits.
    pub ca_pin: Option<String>,
    /// Certificate and key for the probes.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A configuration in which every value is usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients are accepted; at least one.
    pub listen: Vec<ListenAddr>,
    /// The static members; names and addresses are unique.
    pub backends: Vec<Member>,
    /// How they are questioned.
    pub probe: ProbeKind,
    /// How apiservers are known.
    pub cluster: Cluster,
    /// The kubeconfig for watching the cluster.
    pub kubeconfig: Option<PathBuf>,
    /// Whether load is moved back to backends that returned.
    pub rebalance: bool,
    /// How long an imbalance lasts before load is moved.
    pub rebalance_after: Duration,
    /// Age from which a session may be closed for that.
    pub rebalance_age: Duration,
    /// Whether the port stays open while no backend serves.
    pub listen_when_empty: bool,
    /// Where the admin endpoint answers.
    pub admin: AdminAddr,
    /// How masters join.
    pub join: Join,
    /// For what must survive a restart.
    pub state_dir: PathBuf,
    /// Whether the operator named that directory.
    pub state_dir_chosen: bool,
    /// Threads that move bytes; 0 is one for each processor.
    pub workers: usize,
    /// Bounds.
    pub limits: Limits,
    /// Waits.
    pub timeouts: Timeouts,
    /// The phases of a stop.
    pub stop: StopLimits,
    /// Where connections are noted, if they are.
    pub ledger: Option<PathBuf>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Least important level that is logged.
    pub log_level: tracing::Level,
}

impl Config {
    /// A configured backend that is this machine itself: a connection to it would come back to us.
    #[must_use]
    pub fn loops(&self, own: &OwnAddresses) -> Option<&Member> {
        looping(&self.listen, &self.backends, own)
    }

    /// Parses every value.
    ///
    /// # Errors
    /// The first wrong value, with its origin.
    pub fn checked(layers: &Layers) -> Result<Self, ConfigError> {
        let raw = Raw(layers);
        let listen = raw.listen()?;
        let backends = raw.backends(&listen)?;
        let chosen = |name| layers.setting(name).map(|setting| setting.origin != Origin::Default);
        let admin = raw.parsed("admin", AdminAddr::parse)?;
        let join = Join {
            listen: raw.parsed("join.listen", join::parse_listen)?,
            listen_chosen: chosen("join.listen")?,
            endpoint: raw.parsed("join.endpoint", join::parse_endpoint)?,
            allow: raw.parsed_list("join.allow", join::parse_network)?,
        };
        raw.keep_apart(&listen, &admin, &join)?;
        Ok(Self {
            backends,
            listen,
            probe: raw.choice("probe", &[("https", ProbeKind::Https), ("tcp", ProbeKind::Tcp)])?,
            cluster: raw.cluster()?,
            kubeconfig: raw.file("kubernetes.kubeconfig")?,
            rebalance: raw.choice("rebalance", &[("on", true), ("off", false)])?,
            rebalance_after: raw.duration("rebalance_after", Duration::ZERO)?,
            rebalance_age: raw.duration("rebalance_age", Duration::ZERO)?,
            listen_when_empty: raw.switch("listen_when_empty")?,
            admin,
            join,
            state_dir: raw.parsed("state_dir", directory)?,
            state_dir_chosen: chosen("state_dir")?,
            workers: raw.number("workers", 0, WORKERS_MAX)?,
            limits: Limits {
                max_connections: raw.number("limits.max_connections", 1, CONNECTIONS_MAX)?,
                max_connections_chosen: chosen("limits.max_connections")?,
                new_per_second: raw.count("limits.new_per_second")?,
                new_burst: raw.count("limits.new_burst")?,
                per_source: raw.count("limits.per_source")?,
            },
            timeouts: raw.timeouts()?,
            stop: StopLimits {
                lame_duck: raw.duration("stop.lame_duck", Duration::ZERO)?,
                drain_timeout: raw.duration("stop.drain_timeout", Duration::ZERO)?,
            },
            ledger: raw.file("ledger")?,
            log_format: raw.choice("log.format", LOG_FORMATS)?,
            log_level: raw.choice("log.level", LOG_LEVELS)?,
        })
    }
}

const LOG_FORMATS: &[(&str, LogFormat)] =
    &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];

const LOG_LEVELS: &[(&str, tracing::Level)] = &[
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];

/// A timeout that waits for the network must leave it time to answer.
const WAIT_MIN: Duration = Duration::from_millis(10);

pub(super) struct Raw<'a>(&'a Layers);

impl Raw<'_> {
    pub(super) fn wrong(&self, key: &'static str, reason: String) -> ConfigError {
        match self.0.setting(key) {
            Ok(setting) => ConfigError::Value { origin: setting.origin.clone(), key, reason },
            Err(error) => error,
        }
    }

    fn text(&self, key: &'static str) -> Result<&str, ConfigError> {
        match &self.0.setting(key)?.value {
            Value::Text(text) => Ok(text),
            Value::List(_) | Value::Number(_) | Value::Switch(_) => {
                Err(ConfigError::Undeclared(key))
            }
        }
    }

    fn list(&self, key: &'static str) -> Result<&[String], ConfigError> {
        match &self.0.setting(key)?.value {
            Value::List(items) => Ok(items),
            Value::Text(_) | Value::Number(_) | Value::Switch(_) => {
                Err(ConfigError::Undeclared(key))
            }
        }
    }

    fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        parse(self.text(key)?).map_err(|reason| self.wrong(key, reason))
    }

    pub(super) fn parsed_list<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let items = self.list(key)?.iter().map(|item| parse(item));
        items.collect::<Result<_, _>>().map_err(|reason| self.wrong(key, reason))
    }

    fn choice<T: Copy>(&self, key: &'static str, known: &[(&str, T)]) -> Result<T, ConfigError> {
        let text = self.text(key)?;
        let found = known.iter().find(|(name, _)| *name == text);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            self.wrong(key, format!("`{text}` is none of {}", names.join(", ")))
        })
    }

    /// A number up to [`CONNECTIONS_MAX`].
    fn count(&self, key: &'static str) -> Result<u32, ConfigError> {
        let number = self.number(key, 0, CONNECTIONS_MAX)?;
        u32::try_from(number).map_err(|_| ConfigError::Undeclared(key))
    }

    fn switch(&self, key: &'static str) -> Result<bool, ConfigError> {
        match self.0.setting(key)?.value {
            Value::Switch(on) => Ok(on),
            Value::Text(_) | Value::List(_) | Value::Number(_) => Err(ConfigError::Undeclared(key)),
        }
    }

    /// The name of a file; none if it is empty.
    fn file(&self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        self.text(key).map(|text| (!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn cluster(&self) -> Result<Cluster, ConfigError> {
        let file = |key| self.file(key);
        let client = match (file("cluster.client_certificate")?, file("cluster.client_key")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                let reason = "needs cluster.client_key beside it".to_owned();
                return Err(self.wrong("cluster.client_certificate", reason));
            }
            (None, Some(_)) => {
                let reason = "needs cluster.client_certificate beside it".to_owned();
                return Err(self.wrong("cluster.client_key", reason));
            }
        };
        Ok(Cluster { ca: file("cluster.ca")?, ca_pin: self.ca_pin()?, client })
    }

    fn ca_pin(&self) -> Result<Option<String>, ConfigError> {
        let key = "cluster.ca_pin";
        let text = self.text(key)?;
        if text.is_empty() {
            return Ok(None);
        }
        let (kind, digits) = text.split_once(':').unwrap_or_default();
        let whole = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if kind.eq_ignore_ascii_case("sha256") && whole {
            return Ok(Some(text.to_owned()));
        }
        let reason = format!("`{text}` is no pin; it is `sha256:` and 64 hexadecimal digits");
        Err(self.wrong(key, reason))
    }

    fn number(&self, key: &'static str, min: u64, max: u64) -> Result<usize, ConfigError> {
        let Value::Number(number) = self.0.setting(key)?.value else {
            return Err(ConfigError::Undeclared(key));
        };
        match usize::try_from(number) {
            Ok(fits) if (min..=max).contains(&number) => Ok(fits),
            _ => Err(self.wrong(key, format!("{number} is not between {min} and {max}"))),
        }
    }

    fn duration(&self, key: &'static str, min: Duration) -> Result<Duration, ConfigError> {
        let duration =
            self.parsed(key, |text| duration::parse(text).map_err(|error| error.to_string()))?;
        if duration < min {
            let reason = format!("must be at least {}", duration::exact(min));
            return Err(self.wrong(key, reason));
        }
        Ok(duration)
    }

    fn timeouts(&self) -> Result<Timeouts, ConfigError> {
        let timeouts = Timeouts {
            connect: self.duration("timeouts.connect", WAIT_MIN)?,
            dial: self.duration("timeouts.dial", WAIT_MIN)?,
            first_byte: self.duration("timeouts.first_byte", WAIT_MIN)?,
            idle: self.duration("timeouts.idle", WAIT_MIN)?,
            half_close: self.duration("timeouts.half_close", WAIT_MIN)?,
        };
        if timeouts.dial < timeouts.connect {
            let connect = duration::exact(timeouts.connect);
            let reason = format!("is shorter than timeouts.connect ({connect})");
            return Err(self.wrong("timeouts.dial", reason));
        }
        Ok(timeouts)
    }

    fn backends(&self, listen: &[ListenAddr]) -> Result<Vec<Member>, ConfigError> {
        let key = "backends";
        let members = self.parsed_list(key, parse_backend)?;
        if members.len() > MEMBERS_MAX {
            let reason = format!("has {} backends, at most {MEMBERS_MAX} fit", members.len());
            return Err(self.wrong(key, reason));
        }
        if let Some(twice) = first_repeated(members.iter().map(|member| &member.addr)) {
            return Err(self.wrong(key, format!("`{twice}` stands there twice")));
        }
        if let Some(twice) = first_repeated(members.iter().map(|member| &member.name)) {
            return Err(self.wrong(key, format!("two backends are named `{twice}`")));
        }
        // Whoever starts asks the interfaces too.
        if let Some(member) = looping(listen, &members, &OwnAddresses::default()) {
            let reason = format!("`{}` is our own listening address: a loop", member.addr);
            return Err(self.wrong(key, reason));
        }
        Ok(members)
    }
}

/// The first member at which a machine with these addresses would meet itself.
fn looping<'a>(
    listen: &[ListenAddr],
    members: &'a [Member],
    own: &OwnAddresses,
) -> Option<&'a Member> {
    members.iter().find(|member| listen.iter().any(|addr| addr.accepts(member.addr, own)))
}

fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("names no directory".into()) } else { Ok(PathBuf::from(text)) }
}

pub(super) fn first_repeated<T: Eq + std::hash::Hash>(
    mut items: impl Iterator<Item = T>,
) -> Option<T> {
    let mut seen = HashSet::new();
    items.find_map(|item| {
        if seen.contains(&item) {
            Some(item)
        } else {
            seen.insert(item);
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(flag: &'static str, value: Value) -> Result<Config, ConfigError> {
        let mut layers = Layers::default();
        layers.set_flag(flag, value);
        Config::checked(&layers)
    }

    fn list(items: &[&str]) -> Value {
        Value::List(items.iter().map(|item| (*item).to_owned()).collect())
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = Config::checked(&Layers::default()).unwrap();
        assert_eq!(config.listen[0].to_string(), "[::]:6443");
        assert!(config.backends.is_empty());
        assert_eq!(config.timeouts.idle, Duration::from_secs(3900));
        assert!(!config.limits.max_connections_chosen);
    }

    #[test]
    fn says_what_is_wrong_with_a_value() {
        let many: Vec<String> = (0..65).map(|n| format!("10.0.0.{n}")).collect();
        let table = [
            ("--listen", list(&[]), "flag --listen: listen: needs 1 to 16 addresses"),
            ("--listen", list(&["x"]), "flag --listen: listen: `x` is no address to listen on"),
            ("--listen", list(&[":1", ":1"]), "flag --listen: listen: `[::]:1` stands there twice"),
            (
                "--listen",
                list(&[":1", "0.0.0.0:1"]),
                "flag --listen: listen: `[::]:1` and `0.0.0.0:1` are one port",
            ),
            (
                "--listen",
                list(&[":6446"]),
                "default: admin: `127.0.0.1:6446` is the port of clients already",
            ),
            (
                "--join-listen",
                Value::Text("[::]:6443".into()),
                "flag --join-listen: join.listen: `[::]:6443` is the port of clients",
            ),
            (
                "--join-listen",
                Value::Text("[::]:6446".into()),
                "flag --join-listen: join.listen: `[::]:6446` is the port of `admin` already",
            ),
            ("--backend", list(&["m:6443"]), "flag --backend: backends: `m:6443` is no backend"),
            (
                "--backend",
                list(&["10.0.0.1", "10.0.0.1:6443"]),
                "flag --backend: backends: `10.0.0.1:6443` stands there twice",
            ),
            (
                "--backend",
                list(&["a=10.0.0.1", "a=10.0.0.2"]),
                "flag --backend: backends: two backends are named `a`",
            ),
            (
                "--backend",
                list(&["127.0.0.1:6443"]),
                "flag --backend: backends: `127.0.0.1:6443` is our own",
            ),
            ("--backend", Value::List(many), "flag --backend: backends: has 65 backends"),
            (
                "--probe",
                Value::Text("icmp".into()),
                "flag --probe: probe: `icmp` is none of https, tcp",
            ),
            ("--admin", Value::Text("x".into()), "flag --admin: admin: `x` is no admin address"),
        ];
        for (flag, value, expected) in table {
            let said = with(flag, value).unwrap_err().to_string();
            assert!(said.starts_with(expected), "said: {said}\nwant: {expected}");
        }
    }

    #[test]
    fn several_free_ports_are_no_repetition() {
        assert!(with("--listen", list(&["127.0.0.1:0", "127.0.0.1:0"])).is_ok());
    }
}

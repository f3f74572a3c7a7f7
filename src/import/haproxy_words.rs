//! What becomes of each keyword of HAProxy that has no key of ours, and why.

use super::haproxy_lines::Line;
use super::proxy::{Note, Weight};

use Weight::{Lost, Unneeded};

/// Why a section that ends TLS is none for us.
pub(super) const ENDS_TLS: &str =
    "ends TLS itself, while Mainstay passes it through to the apiserver";

const HTTP: &str = "is for HTTP; TLS passes through unread";
const PROBE: &str =
    "apiservers are asked `/readyz` over TLS (`probe`), which is 500 before they stop";
const TIMES: &str = "probes have times of their own, faster after a failure";
const LOG: &str =
    "the log goes to stderr, so to the journal; connections are in the ledger (`ledger`)";
const UNIT: &str = "belongs to the program; the systemd unit has its like";
const ADMIN: &str = "`mainstay status` and `/metrics` on `admin` have the counts";
const RULES: &str = "there are no rules; let the firewall of the host keep clients out";
const ALWAYS: &str = "the same is always so";
const RETRY: &str = "every other backend is tried when one fails";
const PROXY_PROTOCOL: &str = "the PROXY protocol is not spoken, and no apiserver understands it";
const SOURCE: &str = "connections to the masters come from the balancer's own address";
const BOUND: &str = "one backend has no limit of its own; `limits.max_connections` is for all";
const NO_OPTION: &str = "is no option of ours";
const UNKNOWN: &str = "is unknown here; see whether you need it";

type Table = [(&'static str, Weight, &'static str)];

/// Keywords of one or two words, in the order in which they are looked up. A `*` stands for any
/// rest.
const WORDS: &Table = &[
    ("balance leastconn", Unneeded, ALWAYS),
    ("balance*", Lost, "the backend with the fewest connections is always taken"),
    ("hash-type*", Lost, "the backend with the fewest connections is always taken"),
    ("option redispatch", Unneeded, RETRY),
    ("retries*", Unneeded, RETRY),
    ("retry-on*", Unneeded, RETRY),
    ("option httpchk*", Unneeded, PROBE),
    ("option ssl-hello-chk", Unneeded, PROBE),
    ("option tcp-check", Unneeded, PROBE),
    ("option log-health-checks", Unneeded, "changes of state are always logged"),
    ("http-check*", Unneeded, PROBE),
    ("tcp-check*", Unneeded, PROBE),
    ("timeout check*", Unneeded, TIMES),
    ("timeout queue*", Unneeded, "clients wait in the kernel's queue"),
    ("timeout http-*", Unneeded, HTTP),
    ("timeout tarpit*", Unneeded, HTTP),
    ("option tcpka", Unneeded, ALWAYS),
    ("option clitcpka", Unneeded, ALWAYS),
    ("option srvtcpka", Unneeded, ALWAYS),
    ("option tcp-smart-*", Unneeded, ALWAYS),
    ("option splice-*", Unneeded, "bulk data is always spliced"),
    ("option http*", Unneeded, HTTP),
    ("option forward*", Unneeded, HTTP),
    ("option dontlog*", Unneeded, LOG),
    ("option *log*", Lost, LOG),
    ("option allbackups", Lost, "there are no backups; every backend takes its share"),
    ("no option*", Unneeded, "is the default here, or has no meaning"),
    ("option*", Lost, NO_OPTION),
    ("log*", Lost, LOG),
    ("http-request*", Unneeded, HTTP),
    ("http-response*", Unneeded, HTTP),
    ("http-*", Unneeded, HTTP),
    ("errorfile*", Unneeded, HTTP),
    ("compression*", Unneeded, HTTP),
    ("cookie*", Unneeded, HTTP),
    ("monitor-uri*", Unneeded, "`/livez` and `/readyz` on `admin` say it"),
    ("monitor*", Unneeded, "`/livez` and `/readyz` on `admin` say it"),
    ("stats*", Unneeded, ADMIN),
    ("acl*", Lost, RULES),
    ("tcp-request*", Lost, RULES),
    ("tcp-response*", Lost, RULES),
    ("use_backend*", Lost, "nothing is chosen by conditions; all go to `default_backend`"),
    ("use-server*", Lost, "nothing is chosen by conditions"),
    ("stick*", Lost, "no client is tied to a backend"),
    ("rate-limit*", Lost, "is `limits.new_per_second`, for each backend"),
    ("server-template*", Lost, "backends are addresses; name each in `backends`"),
    ("source*", Lost, SOURCE),
    ("fullconn*", Unneeded, BOUND),
    ("id *", Unneeded, NO_OPTION),
    ("description*", Unneeded, NO_OPTION),
    ("enabled", Unneeded, ALWAYS),
    ("daemon", Unneeded, UNIT),
    ("user*", Unneeded, UNIT),
    ("group*", Unneeded, UNIT),
    ("chroot*", Unneeded, UNIT),
    ("pidfile*", Unneeded, UNIT),
    ("master-worker*", Unneeded, UNIT),
    ("nbproc*", Unneeded, "one process does it all; `workers` is the number of threads"),
    ("cpu-map*", Unneeded, UNIT),
    ("ulimit-n*", Unneeded, "the unit sets `LimitNOFILE`"),
    ("ssl-*", Unneeded, "TLS passes through unread"),
    ("ca-base*", Unneeded, "TLS passes through unread"),
    ("crt-base*", Unneeded, "TLS passes through unread"),
    ("tune.*", Unneeded, UNIT),
    ("hard-stop-after*", Lost, "is `stop.drain_timeout` (30s)"),
    ("grace*", Lost, "is `stop.lame_duck` (0s)"),
    ("spread-checks*", Unneeded, TIMES),
];

/// Options of `bind`.
const BIND: &Table = &[
    ("name", Unneeded, NO_OPTION),
    ("id", Unneeded, NO_OPTION),
    ("v4v6", Unneeded, "an address `[::]` takes IPv4 too"),
    ("v6only", Lost, "an address `[::]` takes IPv4 too"),
    ("accept-proxy", Lost, PROXY_PROTOCOL),
    ("maxconn", Lost, "is `limits.max_connections`"),
    ("backlog", Unneeded, "the longest queue that the kernel grants is asked for"),
    ("interface", Lost, "listen on the address of that interface"),
    ("transparent", Lost, "addresses that the host lacks need `net.ipv4.ip_nonlocal_bind`"),
    ("tcp-ut", Unneeded, "is always set (30 s)"),
    ("*", Lost, NO_OPTION),
];

/// Options of `server` and `default-server`.
const SERVER: &Table = &[
    ("check*", Unneeded, PROBE),
    ("verify", Unneeded, "give `cluster.ca` to verify the apiservers"),
    ("port", Lost, "probes go to the port that serves"),
    ("addr", Lost, "probes go to the address that serves"),
    ("inter", Unneeded, TIMES),
    ("fastinter", Unneeded, TIMES),
    ("downinter", Unneeded, TIMES),
    ("rise", Unneeded, TIMES),
    ("fall", Unneeded, TIMES),
    ("observe", Unneeded, "failed dials always count"),
    ("error-limit", Unneeded, "failed dials always count"),
    ("on-error", Unneeded, "failed dials always count"),
    ("on-marked-down", Unneeded, "sessions of a dead backend are always reset"),
    ("on-marked-up", Unneeded, "there are no backups"),
    ("slowstart", Unneeded, "a backend that returns gets its connections back in 30 s"),
    ("maxconn", Lost, BOUND),
    ("minconn", Lost, BOUND),
    ("maxqueue", Unneeded, "clients wait in the kernel's queue"),
    ("backup", Lost, "it takes its share like the others; `mainstay drain` holds it back"),
    ("send-proxy*", Lost, PROXY_PROTOCOL),
    ("source", Lost, SOURCE),
    ("init-addr", Unneeded, "backends are addresses, not names"),
    ("resolvers", Unneeded, "backends are addresses, not names"),
    ("resolve-*", Unneeded, "backends are addresses, not names"),
    ("id", Unneeded, NO_OPTION),
    ("cookie", Unneeded, HTTP),
    ("enabled", Unneeded, ALWAYS),
    ("*", Lost, NO_OPTION),
];

/// Options of `server` and `bind` that are followed by a value.
const VALUED: &[&str] = &[
    "addr",
    "port",
    "inter",
    "fastinter",
    "downinter",
    "rise",
    "fall",
    "weight",
    "maxconn",
    "minconn",
    "maxqueue",
    "slowstart",
    "verify",
    "verifyhost",
    "ca-file",
    "crl-file",
    "crt",
    "sni",
    "check-sni",
    "alpn",
    "check-alpn",
    "observe",
    "error-limit",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "source",
    "id",
    "cookie",
    "track",
    "resolvers",
    "resolve-prefer",
    "resolve-net",
    "resolve-opts",
    "init-addr",
    "namespace",
    "proto",
    "check-proto",
    "tcp-ut",
    "pool-purge-delay",
    "pool-max-conn",
    "name",
    "backlog",
    "interface",
    "level",
    "mode",
    "user",
    "group",
    "uid",
    "gid",
    "process",
    "thread",
    "ciphers",
    "ciphersuites",
    "ssl-min-ver",
    "ssl-max-ver",
];

/// The options of a line from a word on, each with its value.
pub(super) fn options(words: &[String]) -> Vec<(&str, Option<&str>)> {
    let mut found = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(option) = words.next() {
        let value = if VALUED.contains(&option) { words.next() } else { None };
        found.push((option, value));
    }
    found
}

fn find(said: &str, table: &Table) -> (Weight, &'static str) {
    let fits = |pattern: &str| match pattern.split_once('*') {
        Some((start, end)) => {
            let rest = said.strip_prefix(start);
            rest.is_some_and(|rest| rest.contains(end.trim_end_matches('*')))
        }
        None => said == pattern,
    };
    let found = table.iter().find(|(pattern, ..)| fits(pattern));
    found.map_or((Lost, UNKNOWN), |(_, weight, why)| (*weight, *why))
}

/// What becomes of a line.
pub(super) fn note(line: &Line) -> Note {
    let said = line.said();
    let (weight, why) = find(&said, WORDS);
    Note::new(line.number, &said, weight, why)
}

pub(super) fn bind_option(line: usize, option: &str, value: Option<&str>) -> Note {
    option_note(line, "bind", (option, value), BIND)
}

pub(super) fn server_option(line: usize, option: &str, value: Option<&str>) -> Note {
    option_note(line, "server", (option, value), SERVER)
}

fn option_note(line: usize, keyword: &str, option: (&str, Option<&str>), table: &Table) -> Note {
    let (weight, why) = find(option.0, table);
    let value = option.1.map_or_else(String::new, |value| format!(" {value}"));
    Note::new(line, &format!("{keyword} … {}{value}", option.0), weight, why)
}

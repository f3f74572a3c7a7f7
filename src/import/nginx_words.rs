//! What becomes of each directive of NGINX that has no key of ours, and why.

use super::nginx_blocks::Statement;
use super::proxy::{Note, Weight};

use Weight::{Lost, Unneeded};

/// Why a section that ends TLS is none for us.
pub(super) const ENDS_TLS: &str =
    "ends TLS itself, while Mainstay passes it through to the apiserver";

/// Directives that say how a backend is chosen.
pub(super) const METHODS: &[&str] = &["least_conn", "hash", "random", "least_time"];

const ALWAYS: &str = "the same is always so";
const UNIT: &str = "belongs to the program; the systemd unit has its like";
const PROBES: &str = "backends are probed, and left out as long as they fail";
const OTHER_METHOD: &str = "the backend with the fewest connections is always taken";
const LEDGER: &str = "there is a line for each connection in the ledger (`ledger`) instead";
const SOURCE: &str = "connections to the masters come from the balancer's own address";
const PROXY_PROTOCOL: &str = "the PROXY protocol is not spoken, and no apiserver understands it";
const TLS: &str = "TLS passes through unread";
const ACCESS: &str = "there are no access lists; let the firewall of the host do it";

/// Directives, in the order in which they are looked up. A `*` stands for any rest.
const WORDS: &[(&str, Weight, &str)] = &[
    ("least_conn", Unneeded, ALWAYS),
    ("zone", Unneeded, "connections are always counted over all threads"),
    ("hash", Lost, OTHER_METHOD),
    ("random", Lost, OTHER_METHOD),
    ("least_time", Lost, OTHER_METHOD),
    ("resolver*", Unneeded, "backends are addresses, not names"),
    (
        "http",
        Unneeded,
        "Mainstay balances TCP; for health checks there are `/livez` and `/readyz` on `admin`",
    ),
    ("mail", Unneeded, "Mainstay balances TCP"),
    (
        "events",
        Unneeded,
        "limits are derived from the limit of open files (`limits.max_connections`)",
    ),
    ("include", Lost, "is not followed; paste the file in, or import it by itself"),
    ("error_log", Unneeded, "the log goes to stderr, so to the journal (`log.level`)"),
    ("access_log", Lost, LEDGER),
    ("log_format", Lost, LEDGER),
    ("open_log_file_cache", Unneeded, LEDGER),
    ("user", Unneeded, UNIT),
    ("pid", Unneeded, UNIT),
    ("daemon", Unneeded, UNIT),
    ("master_process", Unneeded, UNIT),
    ("load_module", Unneeded, "there are no modules"),
    ("pcre_jit", Unneeded, "there are no expressions"),
    ("worker_rlimit_*", Unneeded, "the unit sets `LimitNOFILE`"),
    ("worker_shutdown_timeout", Lost, "is `stop.drain_timeout` (30s)"),
    ("worker_*", Unneeded, UNIT),
    ("env", Unneeded, UNIT),
    ("thread_pool", Unneeded, UNIT),
    ("tcp_nodelay", Unneeded, ALWAYS),
    ("proxy_socket_keepalive", Unneeded, ALWAYS),
    ("proxy_half_close", Unneeded, ALWAYS),
    ("proxy_buffer_size", Unneeded, "an idle connection holds no buffer, bulk data is spliced"),
    ("preread_buffer_size", Unneeded, TLS),
    ("preread_timeout", Lost, "is `timeouts.first_byte` (10s)"),
    ("proxy_next_upstream", Unneeded, "every other backend is tried when one fails"),
    ("proxy_next_upstream_*", Unneeded, "every backend is tried once, within `timeouts.dial`"),
    ("proxy_protocol", Lost, PROXY_PROTOCOL),
    ("proxy_protocol_timeout", Lost, PROXY_PROTOCOL),
    ("set_real_ip_from", Lost, PROXY_PROTOCOL),
    ("proxy_bind", Lost, SOURCE),
    ("proxy_upload_rate", Lost, "no rate is limited"),
    ("proxy_download_rate", Lost, "no rate is limited"),
    ("proxy_requests", Unneeded, "is for UDP"),
    ("proxy_responses", Unneeded, "is for UDP"),
    ("limit_conn_*", Unneeded, "set `limits.per_source` to limit each source address"),
    ("limit_conn", Lost, "set `limits.per_source` to limit each source address"),
    ("allow", Lost, ACCESS),
    ("deny", Lost, ACCESS),
    ("ssl_*", Unneeded, TLS),
    ("proxy_ssl_*", Unneeded, TLS),
    ("proxy_ssl", Unneeded, TLS),
    ("server_name", Lost, "nothing is chosen by name: TLS passes through unread"),
    ("map", Lost, "nothing is chosen by variables"),
    ("geo", Lost, "nothing is chosen by variables"),
    ("split_clients", Lost, "nothing is chosen by variables"),
    ("status_zone", Unneeded, "`/metrics` and `mainstay status` have the counts"),
    ("health_check*", Unneeded, "apiservers are always probed (`/readyz`)"),
    ("match", Unneeded, "apiservers are always probed (`/readyz`)"),
];

/// Options of `listen`.
const LISTEN: &[(&str, Weight, &str)] = &[
    ("so_keepalive", Unneeded, "keepalive is always on, 30 s in all"),
    ("reuseport", Unneeded, ALWAYS),
    ("backlog", Unneeded, "the longest queue that the kernel grants is asked for"),
    ("ipv6only", Unneeded, "an address `[::]` takes IPv4 too"),
    ("proxy_protocol", Lost, PROXY_PROTOCOL),
    ("default_server", Unneeded, "nothing is chosen by name"),
    ("bind", Unneeded, ALWAYS),
    ("*", Lost, "is no option of ours"),
];

/// Options of a `server` of an upstream.
const SERVER: &[(&str, Weight, &str)] = &[
    ("max_fails", Unneeded, PROBES),
    ("fail_timeout", Unneeded, PROBES),
    ("slow_start", Unneeded, "a backend that returns gets its connections back in 30 s"),
    ("weight", Lost, "all backends weigh the same"),
    ("backup", Lost, "it takes its share like the others; `mainstay drain` holds it back"),
    ("max_conns", Lost, "one backend has no limit of its own; `limits.max_connections` is for all"),
    ("*", Lost, "is no option of ours"),
];

fn find(name: &str, table: &[(&str, Weight, &'static str)]) -> Option<(Weight, &'static str)> {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    table.iter().find(|(pattern, ..)| fits(pattern)).map(|(_, weight, why)| (*weight, *why))
}

/// What becomes of a directive.
pub(super) fn note(statement: &Statement) -> Note {
    let (weight, why) =
        find(statement.name(), WORDS).unwrap_or((Lost, "is unknown here; see whether you need it"));
    let said = match &statement.block {
        Some(_) => format!("{} {{ … }}", statement.said()),
        None => statement.said(),
    };
    Note::new(statement.line, &said, weight, why)
}

pub(super) fn listen_option(line: usize, option: &str) -> Note {
    option_note(line, "listen", option, LISTEN)
}

pub(super) fn server_option(line: usize, option: &str) -> Note {
    option_note(line, "server", option, SERVER)
}

fn option_note(
    line: usize,
    directive: &str,
    option: &str,
    table: &[(&str, Weight, &'static str)],
) -> Note {
    let name = option.split('=').next().unwrap_or_default();
    let (weight, why) = find(name, table).unwrap_or((Lost, "is no option of ours"));
    Note::new(line, &format!("{directive} … {option}"), weight, why)
}

/// What becomes of an upstream that names no method.
pub(super) fn turns(line: usize, said: &str) -> Note {
    let why = "backends were taken in turn; now the one with the fewest connections is";
    Note::lost(line, said, why)
}

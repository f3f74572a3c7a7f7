//! Every configuration key, declared once: the file's parser, `mainstay check`, the hints for
//! misspelt keys and `docs/config.md` are all made from this table.
//!
//! To add a key: a line here, a field in [`super::Config`], and its use. A test compares the table
//! with `docs/config.md`.

mod reference;

pub use reference::{plain, reference, template};

/// The shape of a value in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// A list of strings.
    List,
    /// A whole number from 0.
    Number,
    /// `true` or `false`.
    Switch,
}

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// Dotted name, as in the file.
    pub name: &'static str,
    /// What the file may hold.
    pub shape: Shape,
    /// The default: elements of a list separated by spaces.
    pub default: &'static str,
    /// The flag of `mainstay serve` that overrides it; empty where there is none.
    pub flag: &'static str,
    /// Whether a reload may change it; the others need a restart.
    pub reload: bool,
    /// What it does, for `docs/config.md`.
    pub doc: &'static str,
}

const fn key(
    name: &'static str,
    shape: Shape,
    default: &'static str,
    flag: &'static str,
    reload: bool,
    doc: &'static str,
) -> Key {
    Key { name, shape, default, flag, reload, doc }
}

/// All keys, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    key(
        "listen",
        Shape::List,
        "[::]:6443",
        "--listen",
        false,
        "Addresses on which clients of the apiserver are accepted. `[::]:6443` takes IPv4 and IPv6.",
    ),
    key(
        "backends",
        Shape::List,
        "",
        "--backend",
        true,
        "The masters: `IP:PORT`, or `NAME=IP:PORT` to give one a name. Without a port, 6443. Empty: \
         the port stays closed, so that clients are refused at once.",
    ),
    key(
        "probe",
        Shape::Text,
        "https",
        "--probe",
        true,
        "How backends are questioned: `https` for apiservers, `tcp` for anything else.",
    ),
    key(
        "cluster.ca",
        Shape::Text,
        "",
        "--cluster-ca",
        true,
        "PEM file with the cluster's CA (`/etc/kubernetes/pki/ca.crt`). Probes then accept only \
         apiservers whose certificate chains to it and names the address; another one is DEAD. \
         Empty: any certificate, so probes tell health but no identity.",
    ),
    key(
        "cluster.ca_pin",
        Shape::Text,
        "",
        "",
        true,
        "`sha256:…` of the cluster's CA, as on a `kubeadm join` command or from `mainstay ca-hash`. The CA \
         itself is then taken from the cluster and kept in the state directory. Until it is found, \
         only the first master is admitted.",
    ),
    key(
        "cluster.client_certificate",
        Shape::Text,
        "",
        "",
        true,
        "PEM file with a client certificate for the probes, for apiservers that answer anonymous \
         requests with 401.",
    ),
    key(
        "cluster.client_key",
        Shape::Text,
        "",
        "",
        true,
        "PEM file with the key of that certificate.",
    ),
    key(
        "kubernetes.kubeconfig",
        Shape::Text,
        "",
        "",
        true,
        "Kubeconfig file by which `default/kubernetes` is watched, so that masters are found that \
         nobody listed; it needs get, list and watch on EndpointSlices or Endpoints of `default`. \
         Empty: the one that a registered master hands over, if any.",
    ),
    key(
        "rebalance",
        Shape::Text,
        "on",
        "",
        true,
        "`on`: after a master returned, quiet old sessions of the fullest backends are closed, few at \
         a time, so that their clients come back evenly. `off`: never.",
    ),
    key(
        "rebalance_after",
        Shape::Text,
        "2m",
        "",
        true,
        "How long the fullest backend must be more than 25 % and 3 connections above the mean \
         before sessions are closed for that; a rolling restart should fit in.",
    ),
    key(
        "rebalance_age",
        Shape::Text,
        "5m",
        "",
        true,
        "Only sessions that are older than this are closed to move load.",
    ),
    key(
        "listen_when_empty",
        Shape::Switch,
        "false",
        "--listen-when-empty",
        false,
        "Keep the port open while no backend serves; clients are then reset after they connect.",
    ),
    key(
        "admin",
        Shape::Text,
        "127.0.0.1:6446",
        "--admin",
        false,
        "Where `/livez`, `/readyz`, `/metrics` and `/v1/status` answer: `IP:PORT` or `unix:PATH`.",
    ),
    key(
        "join.listen",
        Shape::Text,
        "[::]:6445",
        "--join-listen",
        false,
        "Where masters register and join: `IP:PORT`, or `off` for no coordinator.",
    ),
    key(
        "join.endpoint",
        Shape::Text,
        "",
        "",
        true,
        "`HOST:PORT` that kubeadm shall know as the control plane's, if it is not the address at which \
         a master reaches this host: a name, or the address that moves between two balancers.",
    ),
    key(
        "join.allow",
        Shape::List,
        "",
        "",
        true,
        "Networks like `10.0.0.0/24` of which a master may name an address that it does not come from. \
         Empty: only its own.",
    ),
    key(
        "state_dir",
        Shape::Text,
        "/var/lib/mainstay",
        "--state-dir",
        false,
        "Directory for what must survive a restart.",
    ),
    key(
        "workers",
        Shape::Number,
        "0",
        "",
        false,
        "Threads that move bytes; 0 is one for each processor.",
    ),
    key(
        "limits.max_connections",
        Shape::Number,
        "50000",
        "",
        false,
        "Most client connections at once. The default is lowered to what the limit of open files \
         allows; a number you set is kept. At the limit further clients wait in the kernel's queue.",
    ),
    key(
        "limits.new_per_second",
        Shape::Number,
        "200",
        "",
        true,
        "Most new connections of each backend in a second, lasting; 0 is no limit. A connection waits \
         up to 5s for its place, is then given to another backend, and reset if none has one: so \
         the survivors of a crash are not flooded.",
    ),
    key(
        "limits.new_burst",
        Shape::Number,
        "400",
        "",
        true,
        "Most new connections of each backend at once, after a quiet time.",
    ),
    key(
        "limits.per_source",
        Shape::Number,
        "0",
        "",
        true,
        "Most connections of one source address at once; 0 is no limit.",
    ),
    key(
        "timeouts.connect",
        Shape::Text,
        "2s",
        "",
        true,
        "Longest wait for one backend to accept a connection. Holds one lost SYN (1 s).",
    ),
    key(
        "timeouts.dial",
        Shape::Text,
        "8s",
        "",
        true,
        "Longest search for a backend in all; client-go gives up a TLS handshake after 10 s.",
    ),
    key(
        "timeouts.first_byte",
        Shape::Text,
        "10s",
        "",
        true,
        "A client that says nothing for this long after it connected is reset, unless its backend \
         spoke first. While others wait for a place, it has 0.5 s.",
    ),
    key(
        "timeouts.idle",
        Shape::Text,
        "65m",
        "",
        true,
        "A session with no byte in either direction for this long is closed. The longest legal \
         watch is 60 minutes; dead peers are found much sooner, by keepalive.",
    ),
    key(
        "timeouts.half_close",
        Shape::Text,
        "10s",
        "",
        true,
        "After one side has ended its stream, longest silence of the other one.",
    ),
    key(
        "stop.lame_duck",
        Shape::Text,
        "0s",
        "",
        true,
        "On stop, how long `/readyz` fails while connections are still accepted. Set it to the \
         time in which the address moves to another balancer (keepalived, as we configure it: 4s).",
    ),
    key(
        "stop.drain_timeout",
        Shape::Text,
        "30s",
        "",
        true,
        "On stop, how long established sessions may go on after the port is closed.",
    ),
    key(
        "ledger",
        Shape::Text,
        "",
        "",
        false,
        "File with a line for each client connection that ended: who it was, and as whom the apiserver \
         saw it ([operations/ledger.md](operations/ledger.md)). Empty: none.",
    ),
    key(
        "log.format",
        Shape::Text,
        "auto",
        "--log-format",
        false,
        "`text`, `json`, or `auto`: text on a terminal, JSON otherwise.",
    ),
    key(
        "log.level",
        Shape::Text,
        "info",
        "--log-level",
        false,
        "`error`, `warn`, `info`, `debug` or `trace`.",
    ),
];

/// The key of this dotted name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether `name` is the table of some keys, as `timeouts` is of `timeouts.idle`.
#[must_use]
pub fn is_table(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// A hint for a key that does not exist: the nearest one, if any is near.
#[must_use]
pub fn hint(unknown: &str) -> String {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |key: &Key| {
        let whole = strsim::damerau_levenshtein(unknown, key.name);
        let leaf = strsim::damerau_levenshtein(&last(unknown), &last(key.name));
        // `listen` is nearer to `lsten` than `join.listen`, whose last part is as near.
        (whole.min(leaf), whole)
    };
    let nearest = KEYS.iter().map(|key| (distance(key), key.name)).min();
    match nearest {
        Some(((far, _), name)) if far <= 3 && far < unknown.len() => {
            format!("; did you mean `{name}`?")
        }
        _ => "; `mainstay check` prints all keys".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_nearest_key() {
        let table = [
            ("lsten", "listen"),
            ("backend", "backends"),
            ("timeouts.ilde", "timeouts.idle"),
            ("idle", "timeouts.idle"),
            ("drain_timeout", "stop.drain_timeout"),
        ];
        for (written, meant) in table {
            assert_eq!(hint(written), format!("; did you mean `{meant}`?"), "{written}");
        }
        assert!(hint("something.else.entirely").contains("mainstay check"));
    }

    #[test]
    fn the_packaged_file_is_this_table_and_says_nothing() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/deb/mainstay.toml");
        let made = template();
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(kept == made, "{path} differs from the keys; UPDATE_SNAPSHOTS=1 writes it anew");
        let defaults = crate::config::Layers::default();
        let path = std::path::Path::new(path);
        assert_eq!(crate::config::Layers::from_text(&made, path).unwrap(), defaults);
        // Without the marks it is the defaults, said.
        let said: String = made
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let said = crate::config::Layers::from_text(&said, path).unwrap();
        for ((key, said), (_, default)) in said.iter().zip(defaults.iter()) {
            assert_eq!(said.value, default.value, "{}", key.name);
            assert!(matches!(said.origin, crate::config::Origin::File { .. }), "{}", key.name);
        }
    }

    #[test]
    fn the_reference_in_the_docs_is_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page.contains(&reference()), "put this into docs/config.md:\n\n{}", reference());
    }
}

//! One section of the old file as both formats describe it: where clients come in, where they go,
//! what else was set, and what cannot be carried over.

use std::collections::HashSet;
use std::net::SocketAddr;

use common::config::address::APISERVER_PORT;

use super::ImportError;

/// What happens without what was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// The new balancer behaves otherwise.
    Lost,
    /// It does the same without being told, or has no use for it.
    Unneeded,
}

/// Something that was not carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Line of the old file, from 1.
    pub(crate) line: usize,
    /// What stands there.
    pub(crate) what: String,
    /// Why it was left behind, and what takes its place.
    pub(crate) why: String,
    pub(crate) weight: Weight,
}

impl Note {
    pub(super) fn new(line: usize, what: &str, weight: Weight, why: impl Into<String>) -> Self {
        Self { line, what: shown(what), why: why.into(), weight }
    }

    pub(super) fn lost(line: usize, what: &str, why: impl Into<String>) -> Self {
        Self::new(line, what, Weight::Lost, why)
    }
}

/// Most sections of a file; a balancer of apiservers has a handful.
pub(super) const SECTIONS_MAX: usize = 512;

/// Most servers of a section that are looked at; fewer fit into a configuration of ours.
const SERVERS_MAX: usize = 1024;

/// Most sections that one sentence names.
const SHOWN: usize = 8;

/// Most notes of a section: nobody reads more, and a section inherits those of the defaults.
const NOTES_MAX: usize = 500;

/// A piece of the old file for people: short and without control characters, which neither a
/// terminal nor a comment of TOML should get.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 100;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(LONGEST).map(clean).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

/// A setting that has a key of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) line: usize,
    pub(super) key: &'static str,
    /// As it stands in TOML.
    pub(super) value: String,
    /// As it stood there.
    pub(super) was: String,
    /// Whether it is in force; otherwise it is written as a comment.
    pub(super) active: bool,
}

/// A backend of the old file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) line: usize,
    pub(super) name: Option<String>,
    /// As it stood there.
    pub(super) was: String,
    /// Its address, or why it has none that we can use.
    pub(super) place: Result<SocketAddr, String>,
}

/// One section.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxy {
    pub(super) name: String,
    pub(super) line: usize,
    /// Address with the line where it stands.
    pub(super) listen: Vec<(usize, SocketAddr)>,
    pub(super) servers: Vec<Server>,
    pub(super) settings: Vec<Carried>,
    pub(super) notes: Vec<Note>,
    /// Why it is nothing for us, if so.
    pub(super) refused: Option<String>,
    /// Whether the old balancer asked its backends over HTTPS.
    pub(super) asks_https: bool,
}

/// What a file holds: its sections, and what was left behind outside of them.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) proxies: Vec<Proxy>,
    pub(super) notes: Vec<Note>,
}

impl Proxy {
    /// Whether an apiserver stands at either end.
    pub(super) fn looks_like_an_apiserver(&self) -> bool {
        self.listen.iter().any(|(_, addr)| addr.port() == APISERVER_PORT)
            || self.serves_apiservers()
    }

    /// Whether its backends are apiservers as far as one can tell.
    pub(super) fn serves_apiservers(&self) -> bool {
        let mut places = self.servers.iter().filter_map(|server| server.place.as_ref().ok());
        self.asks_https || places.any(|addr| addr.port() == APISERVER_PORT)
    }

    /// Notes what was left behind, once, up to a limit. The note is only made if there is room.
    pub(super) fn note(&mut self, note: impl FnOnce() -> Note) {
        if self.notes.len() < NOTES_MAX {
            let note = note();
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// Whether there is no room for a further backend; the section is refused then.
    pub(super) fn is_full(&mut self) -> bool {
        let full = self.servers.len() >= SERVERS_MAX;
        if full {
            self.refused = Some(format!("has more than {SERVERS_MAX} servers"));
        }
        full
    }

    /// Adds a setting; the last one of a key counts.
    pub(super) fn carry(&mut self, setting: Carried) {
        self.settings.retain(|other| other.key != setting.key);
        self.settings.push(setting);
    }

    /// The setting of a key, if it was carried over.
    pub(super) fn setting(&self, key: &str) -> Option<&Carried> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// Takes out what stands there twice: both would be refused in a configuration of ours.
    pub(super) fn tidy(&mut self) {
        let mut addrs = HashSet::new();
        self.listen.retain(|(_, addr)| addrs.insert(*addr));
        // One socket for [::] takes IPv4 too, and a second one would find the port taken.
        let all: HashSet<u16> = addrs
            .iter()
            .filter(|a| a.is_ipv6() && a.ip().is_unspecified())
            .map(SocketAddr::port)
            .collect();
        self.listen.retain(|(_, addr)| {
            addr.is_ipv6() || !addr.ip().is_unspecified() || !all.contains(&addr.port())
        });
        let (mut places, mut names) = (HashSet::new(), HashSet::new());
        let mut twice = Vec::new();
        self.servers.retain(|server| {
            let new = server.place.as_ref().map_or(true, |addr| places.insert(*addr));
            if !new {
                let why = "stands there already; to list a server twice gives it no more here";
                twice.push(Note::lost(server.line, &server.was, why));
            }
            new
        });
        for server in &mut self.servers {
            if server.name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
                server.name = None;
            }
        }
        self.notes.append(&mut twice);
    }

    fn described(&self) -> String {
        let listen: Vec<String> = self.listen.iter().map(|(_, addr)| addr.to_string()).collect();
        let listen = if listen.is_empty() { "nothing".to_owned() } else { listen.join(" and ") };
        let (name, line, servers) = (shown(&self.name), self.line, self.servers.len());
        format!("`{name}` (line {line}, listens on {listen}, {servers} servers)")
    }

    fn is_named(&self, wanted: &str) -> bool {
        self.name == wanted || self.listen.iter().any(|(_, addr)| addr.to_string() == wanted)
    }
}

/// The section that is meant: the named one, else the only one that looks like an apiserver, else
/// the only one.
pub(super) fn choose(proxies: Vec<Proxy>, wanted: Option<&str>) -> Result<Proxy, ImportError> {
    let all = list(&proxies);
    if let Some(wanted) = wanted {
        let mut named: Vec<Proxy> = proxies.into_iter().filter(|p| p.is_named(wanted)).collect();
        return match (named.pop(), named.is_empty()) {
            (None, _) => Err(ImportError::Unknown { wanted: shown(wanted), known: all }),
            (Some(proxy), true) => usable(proxy),
            (Some(proxy), false) => {
                named.push(proxy);
                Err(ImportError::Several(list(&named)))
            }
        };
    }
    let (fit, unfit): (Vec<Proxy>, Vec<Proxy>) =
        proxies.into_iter().partition(|proxy| proxy.refused.is_none());
    let apiservers: Vec<Proxy> =
        fit.iter().filter(|proxy| proxy.looks_like_an_apiserver()).cloned().collect();
    let mut left = if apiservers.is_empty() { fit } else { apiservers };
    match (left.pop(), left.is_empty()) {
        (Some(proxy), true) => Ok(proxy),
        (Some(proxy), false) => {
            left.push(proxy);
            Err(ImportError::Several(list(&left)))
        }
        (None, _) => Err(ImportError::NoProxy(none(&unfit))),
    }
}

fn usable(proxy: Proxy) -> Result<Proxy, ImportError> {
    match proxy.refused {
        Some(reason) => Err(ImportError::Unusable { section: shown(&proxy.name), reason }),
        None => Ok(proxy),
    }
}

fn none(unfit: &[Proxy]) -> String {
    let reason = |p: &Proxy| {
        format!(
            "`{}` (line {}) {}",
            shown(&p.name),
            p.line,
            p.refused.as_deref().unwrap_or_default()
        )
    };
    match unfit {
        [] => "it balances no TCP connections: no section listens and has servers".to_owned(),
        _ => unfit.iter().take(SHOWN).map(reason).collect::<Vec<_>>().join("; "),
    }
}

/// Sections for people.
fn list(proxies: &[Proxy]) -> String {
    let mut names: Vec<String> = proxies.iter().take(SHOWN).map(Proxy::described).collect();
    if proxies.len() > SHOWN {
        names.push(format!("and {} more", proxies.len() - SHOWN));
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

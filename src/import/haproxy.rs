//! What haproxy.cfg means: each `frontend` with its backend, and each `listen`, is a section.

use std::time::Duration;

use super::ImportError;
use super::address;
use super::haproxy_lines::{Line, Section, parse};
use super::haproxy_words as words;
use super::proxy::{Carried, Note, Proxy, Reading, SECTIONS_MAX, Server, shown};
use super::settings::{CONNECTIONS_MAX, WORKERS_MAX};
use super::time;

pub(super) use super::haproxy_lines::is_section;

/// Reads the file.
pub(super) fn read(text: &str) -> Result<Reading, ImportError> {
    let (sections, mut notes) = parse(text)?;
    let mut global = Proxy::default();
    for section in &sections {
        match section.kind.as_str() {
            "global" => section.lines.iter().for_each(|line| read_global(&mut global, line)),
            "defaults" | "frontend" | "backend" | "listen" => {}
            other => {
                let said = format!("{other} {}", section.name);
                notes.push(Note::new(
                    section.number,
                    said.trim_end(),
                    super::Weight::Unneeded,
                    "sections of this kind have no like here",
                ));
            }
        }
    }
    if sections.len() > SECTIONS_MAX {
        return Err(ImportError::NoProxy(format!("it has more than {SECTIONS_MAX} sections")));
    }
    let mut proxies = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        if matches!(section.kind.as_str(), "frontend" | "listen") {
            let mut proxy = Meaning::of(&sections, index).proxy();
            for setting in &global.settings {
                if proxy.setting(setting.key).is_none() {
                    proxy.carry(setting.clone());
                }
            }
            proxies.push(proxy);
        }
    }
    notes.append(&mut global.notes);
    Ok(Reading { proxies, notes })
}

fn read_global(global: &mut Proxy, line: &Line) {
    let said = line.said();
    match line.word(0) {
        "maxconn" => {
            global.carry_number(line.number, &said, "limits.max_connections", CONNECTIONS_MAX);
        }
        "nbthread" => global.carry_number(line.number, &said, "workers", WORKERS_MAX),
        _ => global.note(|| words::note(line)),
    }
}

/// A silence limit with where it stands.
type Wait = Option<(usize, String, Option<Duration>)>;

/// What the lines of one section and of its backend come to.
#[derive(Default)]
struct Meaning<'a> {
    proxy: Proxy,
    mode: &'a str,
    backend: Option<&'a Line>,
    servers: Vec<&'a Line>,
    default_options: Vec<(usize, &'a [String])>,
    /// The longer of both sides is what an idle session may last.
    client: Wait,
    server: Wait,
    tunnel: Wait,
    balance: bool,
    https: (bool, bool),
}

impl<'a> Meaning<'a> {
    /// Puts together the section at `index`, the defaults in force there, and its backend.
    fn of(sections: &'a [Section], index: usize) -> Self {
        let mut meaning = Self { mode: "tcp", ..Self::default() };
        let Some(section) = sections.get(index) else { return meaning };
        meaning.proxy.name.clone_from(&section.name);
        meaning.proxy.line = section.number;
        meaning.take(defaults_of(sections, index));
        meaning.take(Some(section));
        let mode = meaning.mode;
        if let Some(line) = meaning.backend {
            let named = |s: &Section| s.kind == "backend" && s.name == line.word(1);
            match sections.iter().position(named) {
                Some(at) => {
                    meaning.take(defaults_of(sections, at));
                    meaning.take(sections.get(at));
                }
                None => {
                    let reason =
                        format!("goes to `{}`, which is not in the file", shown(line.word(1)));
                    meaning.proxy.refused = Some(reason);
                }
            }
        }
        meaning.mode = mode;
        meaning
    }

    fn take(&mut self, section: Option<&'a Section>) {
        for line in section.into_iter().flat_map(|section| &section.lines) {
            self.apply(line);
        }
    }

    fn apply(&mut self, line: &'a Line) {
        let (number, said) = (line.number, line.said());
        match (line.word(0), line.word(1)) {
            ("mode", mode) => self.mode = mode,
            ("bind", _) => self.bind(line),
            ("default_backend", _) => self.backend = Some(line),
            ("use_backend", _) if line.words.len() == 2 => self.backend = Some(line),
            ("server", _) => self.servers.push(line),
            ("default-server", _) => {
                self.default_options.push((number, line.words.get(1..).unwrap_or_default()));
            }
            ("disabled", _) => self.proxy.refused = Some("is disabled".to_owned()),
            ("maxconn", _) => {
                self.proxy.carry_number(number, &said, "limits.max_connections", CONNECTIONS_MAX);
            }
            ("timeout", which) => self.wait(line, which),
            (keyword, option) => {
                self.balance |= keyword == "balance";
                self.https.0 |= option == "ssl-hello-chk";
                self.https.1 |= option == "httpchk";
                self.proxy.note(|| words::note(line));
            }
        }
    }

    fn wait(&mut self, line: &Line, which: &str) {
        let (number, said, wait) = (line.number, line.said(), time::haproxy(line.word(2)));
        match which {
            "connect" => self.proxy.carry_connect(number, &said, wait),
            "client" => self.client = Some((number, said, wait)),
            "server" => self.server = Some((number, said, wait)),
            "tunnel" => self.tunnel = Some((number, said, wait)),
            "client-fin" | "server-fin" => self.proxy.carry_half_close(number, &said, wait),
            _ => self.proxy.note(|| words::note(line)),
        }
    }

    fn bind(&mut self, line: &Line) {
        let rest = line.words.get(2..).unwrap_or_default();
        if rest.iter().any(|word| word == "ssl") {
            self.proxy.refused = Some(words::ENDS_TLS.to_owned());
            return;
        }
        for (option, value) in words::options(rest) {
            self.proxy.note(|| words::bind_option(line.number, option, value));
        }
        for text in line.word(1).split(',') {
            match address::haproxy_bind(text) {
                Ok(addr) => self.proxy.listen.push((line.number, addr)),
                Err(why) => self.proxy.note(|| Note::lost(line.number, &line.said(), why)),
            }
        }
    }

    fn proxy(mut self) -> Proxy {
        self.idle();
        self.backends();
        let proxy = &mut self.proxy;
        proxy.asks_https = self.https.0;
        if self.mode != "tcp" {
            let reason = format!("is in mode {}, not tcp", shown(self.mode));
            proxy.refused.get_or_insert(reason);
        }
        if proxy.listen.is_empty() {
            proxy.refused.get_or_insert_with(|| "listens on no address that we can use".to_owned());
        }
        if proxy.servers.is_empty() {
            proxy.refused.get_or_insert_with(|| "has no servers".to_owned());
        }
        self.proxy
    }

    /// A session is idle when the first of both sides thinks so, unless `tunnel` says otherwise.
    fn idle(&mut self) {
        let sides = [self.client.take(), self.server.take()];
        let shorter = sides.into_iter().flatten().min_by_key(|(_, _, wait)| *wait);
        if let Some((line, said, wait)) = self.tunnel.take().or(shorter) {
            self.proxy.carry_idle(line, &said, wait);
        }
    }

    fn backends(&mut self) {
        if !self.balance && !self.servers.is_empty() {
            let why = "backends were taken in turn; now the one with the fewest connections is";
            let (line, name) = (self.proxy.line, self.proxy.name.clone());
            self.proxy.note(|| Note::lost(line, &name, why));
        }
        let mut ports: Vec<u16> = self.proxy.listen.iter().map(|(_, addr)| addr.port()).collect();
        ports.dedup();
        let port = if ports.len() == 1 { ports.pop() } else { None };
        let mut common = Options::default();
        for (line, options) in std::mem::take(&mut self.default_options) {
            self.read_options(&mut common, line, options);
        }
        for line in std::mem::take(&mut self.servers) {
            if self.proxy.is_full() {
                return;
            }
            self.add_server(line, port, common.clone());
        }
    }

    fn add_server(&mut self, line: &Line, port: Option<u16>, mut options: Options) {
        self.read_options(&mut options, line.number, line.words.get(3..).unwrap_or_default());
        let mut place = address::haproxy_server(line.word(2), port);
        if options.down {
            place = Err("is marked down; put it back when the master is up".to_owned());
        }
        if let Err(why) = &place {
            self.proxy.note(|| Note::lost(line.number, &line.said(), why));
        }
        if let Some((at, ca)) = options.ca.filter(|_| options.verified) {
            let value = serde_json::Value::String(ca.clone()).to_string();
            let was = format!("ca-file {}", shown(&ca));
            self.proxy.carry(Carried { line: at, key: "cluster.ca", value, was, active: true });
        }
        self.https.0 |= self.https.1 && options.check_tls;
        self.proxy.servers.push(Server {
            line: line.number,
            name: Some(name_of(line.word(1))).filter(|name| !name.is_empty()),
            was: line.word(2).to_owned(),
            place,
        });
    }

    fn read_options(&mut self, found: &mut Options, line: usize, words: &[String]) {
        for (option, value) in words::options(words) {
            match (option, value) {
                ("disabled", _) | ("weight", Some("0")) => found.down = true,
                ("weight", Some("1" | "100")) => {}
                ("weight", _) => {
                    let said = format!("server … weight {}", value.unwrap_or_default());
                    self.proxy.note(|| Note::lost(line, &said, "all backends weigh the same"));
                }
                ("ssl", _) => self.proxy.refused = Some(words::ENDS_TLS.to_owned()),
                ("ca-file", Some(file)) => found.ca = Some((line, file.to_owned())),
                ("verify", Some("required")) => found.verified = true,
                ("check-ssl", _) => found.check_tls = true,
                _ => self.proxy.note(|| words::server_option(line, option, value)),
            }
        }
    }
}

/// What the options of a server come to.
#[derive(Clone, Default)]
struct Options {
    down: bool,
    ca: Option<(usize, String)>,
    verified: bool,
    check_tls: bool,
}

/// The defaults in force for the section at `index`: those it names, else the last ones before it.
fn defaults_of(sections: &[Section], index: usize) -> Option<&Section> {
    let mut before = sections.get(..index).unwrap_or_default().iter().rev();
    let from = sections.get(index).and_then(|section| section.from.as_deref());
    before.find(|s| s.kind == "defaults" && from.is_none_or(|from| s.name == from))
}

/// A name with the letters that names of backends have.
fn name_of(text: &str) -> String {
    const LONGEST: usize = 63;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    text.chars().take(LONGEST).map(|c| if fits(c) { c } else { '-' }).collect()
}

//! What nginx.conf means: each `server` of the `stream` block is a section, named after what it
//! passes to.

use std::collections::BTreeMap;

use super::ImportError;
use super::address;
use super::nginx_blocks::{Statement, parse};
use super::nginx_words as words;
use super::proxy::{Note, Proxy, Reading, SECTIONS_MAX, Server};
use super::settings::WORKERS_MAX;
use super::time;

/// Reads the file.
pub(super) fn read(text: &str) -> Result<Reading, ImportError> {
    let file = parse(text)?;
    // Without either block it is a piece that some nginx.conf includes inside of `stream`.
    let whole = file.iter().any(|statement| matches!(statement.name(), "stream" | "http"));
    let mut stream = Stream::default();
    let mut top = Proxy::default();
    for statement in &file {
        match statement.name() {
            "stream" => statement.inner().iter().for_each(|inner| stream.add(inner)),
            "worker_processes" if statement.word(1) != "auto" => {
                top.carry_number(statement.line, &statement.said(), "workers", WORKERS_MAX);
            }
            "worker_processes" => {}
            _ if whole => top.note(|| words::note(statement)),
            _ => stream.add(statement),
        }
    }
    if stream.servers.len() > SECTIONS_MAX {
        return Err(ImportError::NoProxy(format!("it has more than {SECTIONS_MAX} servers")));
    }
    stream.others.iter().for_each(|statement| top.note(|| words::note(statement)));
    let mut proxies: Vec<Proxy> =
        stream.servers.iter().map(|server| stream.proxy(server)).collect();
    for proxy in &mut proxies {
        top.settings.iter().for_each(|setting| proxy.carry(setting.clone()));
    }
    Ok(Reading { proxies, notes: top.notes })
}

/// What a server takes from the `stream` block and has a key of ours.
const INHERITED: &[&str] =
    &["proxy_connect_timeout", "proxy_timeout", "proxy_next_upstream_timeout", "proxy_ssl"];

/// The statements of the `stream` block by kind.
#[derive(Default)]
struct Stream<'a> {
    upstreams: BTreeMap<&'a str, &'a Statement>,
    servers: Vec<&'a Statement>,
    /// What each server inherits unless it says otherwise, by name.
    inherited: BTreeMap<&'a str, &'a Statement>,
    /// What has no key of ours.
    others: Vec<&'a Statement>,
}

impl<'a> Stream<'a> {
    fn add(&mut self, statement: &'a Statement) {
        match (statement.name(), &statement.block) {
            ("upstream", Some(_)) => {
                self.upstreams.insert(statement.word(1), statement);
            }
            ("server", Some(_)) => self.servers.push(statement),
            (name, None) if INHERITED.contains(&name) => {
                self.inherited.insert(name, statement);
            }
            _ => self.others.push(statement),
        }
    }

    fn proxy(&self, server: &Statement) -> Proxy {
        let mut proxy = Proxy { line: server.line, ..Proxy::default() };
        let own = |name: &str| server.inner().iter().any(|statement| statement.name() == name);
        let inherited = self.inherited.values().copied().filter(|outer| !own(outer.name()));
        for statement in inherited.chain(server.inner()) {
            self.apply(&mut proxy, statement);
        }
        if proxy.name.is_empty() {
            let reason = "passes to nothing: it has no `proxy_pass`";
            proxy.refused.get_or_insert_with(|| reason.to_owned());
        }
        if proxy.listen.is_empty() {
            proxy.refused.get_or_insert_with(|| "listens on no TCP address".to_owned());
        }
        proxy
    }

    fn apply(&self, proxy: &mut Proxy, statement: &Statement) {
        let (line, said) = (statement.line, statement.said());
        match statement.name() {
            "listen" => listen(proxy, statement),
            "proxy_pass" => self.pass(proxy, statement),
            "proxy_connect_timeout" => {
                proxy.carry_connect(line, &said, time::nginx(statement.word(1)));
            }
            "proxy_timeout" => proxy.carry_idle(line, &said, time::nginx(statement.word(1))),
            "proxy_next_upstream_timeout" if statement.word(1) != "0" => {
                proxy.carry_dial(line, &said, time::nginx(statement.word(1)));
            }
            "proxy_ssl" if statement.word(1) == "on" => {
                proxy.refused = Some(words::ENDS_TLS.to_owned());
            }
            _ => proxy.note(|| words::note(statement)),
        }
    }

    fn pass(&self, proxy: &mut Proxy, statement: &Statement) {
        let target = statement.word(1);
        target.clone_into(&mut proxy.name);
        match self.upstreams.get(target) {
            Some(upstream) => backends(proxy, upstream),
            None if target.starts_with('$') => {
                let reason = "passes to a variable; say with `upstream` where connections go";
                proxy.refused = Some(reason.to_owned());
            }
            None => proxy.servers.push(Server {
                line: statement.line,
                name: None,
                was: statement.said(),
                place: address::nginx_server(target),
            }),
        }
    }
}

fn listen(proxy: &mut Proxy, statement: &Statement) {
    let line = statement.line;
    for option in statement.words.iter().skip(2) {
        match option.split('=').next().unwrap_or_default() {
            "udp" => return proxy.refused = Some("is for UDP".to_owned()),
            "ssl" => return proxy.refused = Some(words::ENDS_TLS.to_owned()),
            _ => proxy.note(|| words::listen_option(line, option)),
        }
    }
    match address::nginx_listen(statement.word(1)) {
        Ok(addr) => proxy.listen.push((line, addr)),
        Err(why) => proxy.note(|| Note::lost(line, &statement.said(), why)),
    }
}

fn backends(proxy: &mut Proxy, upstream: &Statement) {
    let method = |s: &Statement| words::METHODS.contains(&s.name());
    if !upstream.inner().iter().any(method) {
        proxy.note(|| words::turns(upstream.line, &upstream.said()));
    }
    for statement in upstream.inner() {
        match statement.name() {
            "server" if proxy.is_full() => return,
            "server" => server(proxy, statement),
            _ => proxy.note(|| words::note(statement)),
        }
    }
}

fn server(proxy: &mut Proxy, statement: &Statement) {
    let line = statement.line;
    let mut place = address::nginx_server(statement.word(1));
    for option in statement.words.iter().skip(2) {
        if option == "down" {
            place = Err("is marked down; put it back when the master is up".to_owned());
        } else {
            proxy.note(|| words::server_option(line, option));
        }
    }
    if let Err(why) = &place {
        proxy.note(|| Note::lost(line, &statement.said(), why));
    }
    proxy.servers.push(Server { line, name: None, was: statement.word(1).to_owned(), place });
}

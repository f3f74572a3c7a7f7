//! Where masters are learnt from: the Kubernetes API, the state directory, and all sources together.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::fs::write;
use std::net::SocketAddr;
use std::time::Duration;

use bootstrap::identity::Identity;
use bootstrap::kubernetes::endpoints::{Api, Listing};
use bootstrap::registry::{Now, Registry, Saved};
use bootstrap::remembered::Remembered;
use bootstrap::sources::{Registered, Sources};
use common::member::MEMBERS_MAX;
use common::status::BackendState;
use common::{Member, Source};
use tempfile::TempDir;

use crate::words::Words;

/// An answer of the Kubernetes API, and events of its watch, a line each.
pub(crate) fn listing(input: &[u8]) {
    for api in Api::ALL {
        let lines = || input.split(|byte| *byte == b'\n');
        let whole = Listing::read(api, input).ok();
        let first = || lines().next().and_then(|line| Listing::read(api, line).ok());
        let Some(mut listing) = whole.or_else(first) else { continue };
        for line in lines().skip(1).take(100) {
            listing.apply(line).ok();
            assert!(listing.addrs().len() <= MEMBERS_MAX);
            let query = api.watch(listing.version(), 60);
            assert!(query.bytes().all(|byte| byte.is_ascii_graphic()), "{query}");
        }
    }
}

thread_local! {
    static DIRECTORY: LazyCell<TempDir> = LazyCell::new(|| TempDir::new().unwrap());
}

/// A file of the state directory: members, the coordinator's state, a master's identity. What is
/// read can be worked with.
pub(crate) fn state_files(input: &[u8]) {
    let remembered = DIRECTORY.with(|directory| {
        write(directory.path().join("members.json"), input).unwrap();
        Remembered::in_directory(directory.path()).load()
    });
    let mut sources = Sources::default();
    sources.remember(remembered.clone());
    assert!(sources.merged().len() <= remembered.len());
    assert!(remembered.iter().all(|member| member.addr.port() != 0));
    if let Ok(identity) = serde_json::from_slice::<Identity>(input) {
        // No key in a log.
        assert!(!format!("{identity:?}").contains("PRIVATE KEY"));
    }
    let Ok(saved) = serde_json::from_slice::<Saved>(input) else { return };
    let mut registry = Registry::restored(saved, 1);
    for second in [0, 100, 1_000, u64::MAX] {
        registry.tick(Now { unix: second, run: Duration::from_secs(second) });
        registry.take_events();
    }
    let text = serde_json::to_string(&registry.saved()).unwrap();
    assert_eq!(serde_json::from_str::<Saved>(&text).unwrap(), registry.saved());
}

/// What the sources say, one byte for which and how many, then a byte for each member.
pub(crate) fn merge(input: &[u8]) {
    let mut words = Words(input);
    let mut sources = Sources::default();
    while let Some(word) = words.next() {
        let mut hosts = Vec::new();
        for _ in 0..word / 8 % 8 {
            hosts.extend(words.below(12));
        }
        let before = sources.merged();
        say(&mut sources, word % 8, &hosts, word);
        let after = sources.merged();
        assert!(after.len() <= MEMBERS_MAX);
        let addrs: BTreeSet<_> = after.iter().map(|member| member.addr).collect();
        let names: BTreeSet<_> = after.iter().map(|member| &member.name).collect();
        assert_eq!((addrs.len(), names.len()), (after.len(), after.len()), "each is unique");
        assert!(after.is_sorted_by_key(|member| member.source), "by falling trust");
        let may_empty = matches!(word % 8, 0 | 4);
        assert!(before.is_empty() || !after.is_empty() || may_empty, "{word} emptied it");
        say(&mut sources, word % 8, &hosts, word);
        assert_eq!(after, sources.merged(), "saying it twice changes nothing");
    }
}

fn say(sources: &mut Sources, kind: u8, hosts: &[u8], number: u8) {
    let addr = |host: u8| SocketAddr::from(([10, 0, 0, host], 6443));
    let named = |name, host| Member { name, addr: addr(host), source: Source::Static };
    // A source names an address once; configuration and registry check that names are unique too.
    let hosts: BTreeSet<u8> = hosts.iter().copied().collect();
    let members = hosts.iter().map(|host| named(format!("m{host}"), *host));
    let remembered = hosts.iter().map(|host| named(format!("m{}", host % 5), *host));
    match kind {
        0 => sources.configure(members.collect()),
        1 => {
            let missing = number >= 128;
            let all = members.map(|member| Registered { member, missing });
            sources.registered(all.collect());
        }
        2 => sources.kubernetes(&hosts.iter().map(|host| addr(*host)).collect::<Vec<_>>()),
        3 => sources.remember(remembered.collect()),
        4 => hosts.iter().for_each(|host| sources.leave(addr(*host))),
        _ => {
            let state = BackendState::ALL[usize::from(number / 8) % BackendState::ALL.len()];
            let states: Vec<_> = hosts.iter().map(|host| (addr(*host), state)).collect();
            sources.health(&states);
        }
    }
}

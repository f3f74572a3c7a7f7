//! The rules one by one, and what must hold whatever the sources say.

use std::net::{IpAddr, Ipv4Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn addr(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), 6443)
}

fn addrs(hosts: &[u8]) -> Vec<SocketAddr> {
    hosts.iter().map(|host| addr(*host)).collect()
}

fn member(name: &str, host: u8) -> Member {
    Member { name: name.to_owned(), addr: addr(host), source: Source::Static }
}

fn unnamed(host: u8) -> Member {
    member(&addr(host).to_string(), host)
}

fn registered(name: &str, host: u8, missing: bool) -> Registered {
    Registered { member: member(name, host), missing }
}

/// The members as `name@last number:first letter of the source`.
fn shown(sources: &Sources) -> String {
    let members = sources.merged();
    let show = |member: &Member| {
        let IpAddr::V4(ip) = member.addr.ip() else { panic!("ours are IPv4") };
        let host = ip.octets()[3];
        let name = if member.name == member.addr.to_string() { "" } else { &member.name };
        format!("{name}@{host}:{}", &member.source.to_string()[..1])
    };
    members.iter().map(show).collect::<Vec<_>>().join(" ")
}

use BackendState::{Dead, Pending, Suspect, Up};

/// A step of a table.
enum Step {
    Configure(Vec<Member>),
    Registered(Vec<Registered>),
    Kubernetes(&'static [u8]),
    Remember(Vec<Member>),
    Leave(u8),
    Health(&'static [(u8, BackendState)]),
}

fn apply(sources: &mut Sources, step: Step) {
    match step {
        Step::Configure(members) => sources.configure(members),
        Step::Registered(members) => sources.registered(members),
        Step::Kubernetes(hosts) => sources.kubernetes(&addrs(hosts)),
        Step::Remember(members) => sources.remember(members),
        Step::Leave(host) => sources.leave(addr(host)),
        Step::Health(states) => {
            let states: Vec<_> = states.iter().map(|(host, state)| (addr(*host), *state)).collect();
            sources.health(&states);
        }
    }
}

/// Applies each step and compares the members after it.
fn play(steps: Vec<(Step, &str)>) {
    let mut sources = Sources::default();
    for (number, (step, expected)) in steps.into_iter().enumerate() {
        apply(&mut sources, step);
        assert_eq!(shown(&sources), expected, "after step {number}");
    }
}

#[test]
fn the_most_trusted_source_names_a_member() {
    play(vec![
        (Step::Remember(vec![member("old", 1), member("kept", 4)]), "old@1:r kept@4:r"),
        (Step::Kubernetes(&[1, 2]), "old@1:k @2:k"),
        (Step::Registered(vec![registered("b", 2, false)]), "b@2:r old@1:k"),
        (Step::Configure(vec![member("c", 2), unnamed(1)]), "c@2:s old@1:s"),
        (Step::Configure(vec![]), "b@2:r old@1:k"),
    ]);
}

/// The cluster lists all apiservers at the port of the one that wrote the list.
#[test]
fn a_machine_that_is_known_at_another_port_is_not_listed_twice() {
    let at = |host: u8, port: u16| SocketAddr::new(addr(host).ip(), port);
    let mut sources = Sources::default();
    let mut other = registered("b", 2, false);
    other.member.addr = at(2, 7443);
    sources.registered(vec![registered("a", 1, false), other]);
    sources.kubernetes(&addrs(&[1, 2, 3]));
    assert_eq!(shown(&sources), "a@1:r b@2:r @3:k");
    let members: Vec<SocketAddr> = sources.merged().iter().map(|member| member.addr).collect();
    assert_eq!(members, [addr(1), at(2, 7443), addr(3)]);
    // Where each is listed as it is, both are there.
    sources.kubernetes(&[addr(1), addr(2), at(2, 7443)]);
    assert_eq!(sources.merged().len(), 3, "{:?}", sources.merged());
}

#[test]
fn names_are_unique() {
    play(vec![
        (Step::Configure(vec![member("a", 1)]), "a@1:s"),
        (
            Step::Registered(vec![registered("a", 2, false), registered("b", 3, false)]),
            "a@1:s @2:r b@3:r",
        ),
    ]);
    let mut sources = Sources::default();
    sources.registered(vec![registered(&addr(2).to_string(), 1, false)]);
    sources.kubernetes(&addrs(&[2]));
    let names: Vec<String> = sources.merged().into_iter().map(|member| member.name).collect();
    assert_eq!(names, ["10.0.0.2:6443", "10.0.0.2:6443#2"]);
}

#[test]
fn an_empty_answer_says_nothing() {
    play(vec![
        (Step::Kubernetes(&[1]), "@1:k"),
        (Step::Kubernetes(&[]), "@1:k"),
        (Step::Registered(vec![registered("a", 1, false)]), "a@1:r"),
        (Step::Registered(vec![]), "a@1:r"),
        (Step::Configure(vec![]), "a@1:r"),
        (Step::Leave(1), ""),
    ]);
}

#[test]
fn the_operator_may_empty_what_the_operator_listed() {
    play(vec![(Step::Configure(vec![member("a", 1)]), "a@1:s"), (Step::Configure(vec![]), "")]);
}

#[test]
fn who_left_stays_out_while_kubernetes_still_lists_it() {
    play(vec![
        (
            Step::Registered(vec![registered("a", 1, false), registered("b", 2, false)]),
            "a@1:r b@2:r",
        ),
        (Step::Kubernetes(&[1, 2]), "a@1:r b@2:r"),
        (Step::Leave(2), "a@1:r"),
        (Step::Kubernetes(&[1, 2]), "a@1:r"),
        (Step::Kubernetes(&[1]), "a@1:r"),
        (Step::Kubernetes(&[1, 2]), "a@1:r @2:k"),
    ]);
}

#[test]
fn who_left_may_register_again() {
    play(vec![
        (Step::Kubernetes(&[1, 2]), "@1:k @2:k"),
        (Step::Leave(2), "@1:k"),
        (Step::Registered(vec![registered("b", 2, false)]), "b@2:r @1:k"),
    ]);
}

#[test]
fn a_configured_member_cannot_leave() {
    play(vec![(Step::Configure(vec![member("a", 1)]), "a@1:s"), (Step::Leave(1), "a@1:s")]);
}

#[test]
fn what_kubernetes_drops_stays_until_it_is_dead() {
    play(vec![
        (Step::Kubernetes(&[1, 2, 3]), "@1:k @2:k @3:k"),
        (Step::Health(&[(1, Up), (2, Up), (3, Pending)]), "@1:k @2:k @3:k"),
        (Step::Kubernetes(&[1]), "@1:k @2:k"),
        (Step::Health(&[(1, Up), (2, Suspect)]), "@1:k @2:k"),
        (Step::Health(&[(1, Up), (2, Dead)]), "@1:k"),
        (Step::Health(&[(1, Up)]), "@1:k"),
    ]);
}

#[test]
fn remembered_ones_are_tried_until_kubernetes_speaks() {
    play(vec![
        (Step::Remember(vec![unnamed(1), unnamed(2), unnamed(3)]), "@1:r @2:r @3:r"),
        (Step::Health(&[(1, Up), (2, Up), (3, Pending)]), "@1:r @2:r @3:r"),
        (Step::Kubernetes(&[]), "@1:r @2:r @3:r"),
        (Step::Kubernetes(&[1]), "@1:k @2:r"),
        (Step::Health(&[(1, Up), (2, Dead)]), "@1:k"),
    ]);
}

#[test]
fn missing_and_dead_is_out_until_it_is_heard() {
    let two = |missing| vec![registered("a", 1, false), registered("b", 2, missing)];
    play(vec![
        (Step::Registered(two(false)), "a@1:r b@2:r"),
        (Step::Health(&[(1, Up), (2, Dead)]), "a@1:r b@2:r"),
        (Step::Registered(two(true)), "a@1:r"),
        (Step::Health(&[(1, Up)]), "a@1:r"),
        (Step::Registered(two(false)), "a@1:r b@2:r"),
        (Step::Health(&[(1, Up), (2, Up)]), "a@1:r b@2:r"),
        (Step::Registered(two(true)), "a@1:r b@2:r"),
        (Step::Health(&[(1, Up), (2, Suspect)]), "a@1:r b@2:r"),
        (Step::Health(&[(1, Up), (2, Dead)]), "a@1:r"),
        (Step::Kubernetes(&[1, 2]), "a@1:r b@2:r"),
    ]);
}

/// A power failure: nobody is taken out, so that whoever comes back first is found.
#[test]
fn nobody_goes_while_nobody_serves() {
    let all = || vec![registered("a", 1, true), registered("b", 2, true)];
    play(vec![
        (Step::Registered(all()), "a@1:r b@2:r"),
        (Step::Kubernetes(&[1, 2, 3]), "a@1:r b@2:r @3:k"),
        (Step::Health(&[(1, Dead), (2, Dead), (3, Dead)]), "a@1:r b@2:r @3:k"),
        (Step::Kubernetes(&[1]), "a@1:r b@2:r @3:k"),
        (Step::Health(&[(1, Up), (2, Dead), (3, Dead)]), "a@1:r"),
        (Step::Health(&[(1, Dead)]), "a@1:r b@2:r"),
    ]);
}

#[test]
fn a_longer_list_than_fits_is_cut_at_the_end() {
    let mut sources = Sources::default();
    sources.configure(vec![member("a", 200)]);
    let many: Vec<SocketAddr> = (0..150).map(addr).collect();
    sources.kubernetes(&many);
    let members = sources.merged();
    assert_eq!((members.len(), members[0].name.as_str()), (MEMBERS_MAX, "a"));
}

/// A word of a source, for random histories.
#[derive(Clone, Debug)]
enum Word {
    Configure(Vec<u8>),
    Registered(Vec<(u8, u8, bool)>),
    Kubernetes(Vec<u8>),
    Remember(Vec<u8>),
    Leave(u8),
    Health(Vec<(u8, u8)>),
}

const STATES: [BackendState; 6] =
    [Pending, Up, BackendState::Drain, Suspect, BackendState::Frozen, Dead];

fn word() -> impl Strategy<Value = Word> {
    let hosts = || vec(0..6u8, 0..5);
    prop_oneof![
        hosts().prop_map(Word::Configure),
        vec((0..6u8, 0..6u8, any::<bool>()), 0..5).prop_map(Word::Registered),
        hosts().prop_map(Word::Kubernetes),
        hosts().prop_map(Word::Remember),
        (0..6u8).prop_map(Word::Leave),
        vec((0..6u8, 0..6u8), 0..6).prop_map(Word::Health),
    ]
}

fn distinct(mut hosts: Vec<u8>) -> Vec<u8> {
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

fn say(sources: &mut Sources, word: &Word) {
    match word.clone() {
        Word::Configure(hosts) => {
            let name = |host: &u8| {
                if host.is_multiple_of(2) {
                    unnamed(*host)
                } else {
                    member(&format!("m{host}"), *host)
                }
            };
            sources.configure(distinct(hosts).iter().map(name).collect());
        }
        Word::Registered(all) => {
            // Names collide with those of others on purpose.
            let one = |(host, name, missing)| registered(&format!("m{name}"), host, missing);
            sources.registered(all.into_iter().map(one).collect());
        }
        Word::Kubernetes(hosts) => sources.kubernetes(&addrs(&hosts)),
        Word::Remember(hosts) => {
            sources.remember(hosts.iter().map(|host| unnamed(*host)).collect());
        }
        Word::Leave(host) => sources.leave(addr(host)),
        Word::Health(states) => {
            let state = |(host, at): (u8, u8)| (addr(host), STATES[usize::from(at)]);
            sources.health(&states.into_iter().map(state).collect::<Vec<_>>());
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_said(words in vec(word(), 1..40)) {
        let mut sources = Sources::default();
        for word in &words {
            let before = sources.merged();
            say(&mut sources, word);
            let after = sources.merged();

            let unique: BTreeSet<_> = after.iter().map(|member| member.addr).collect();
            prop_assert_eq!(unique.len(), after.len(), "addresses are unique");
            let unique: BTreeSet<_> = after.iter().map(|member| &member.name).collect();
            prop_assert_eq!(unique.len(), after.len(), "names are unique");
            prop_assert!(after.is_sorted_by_key(|member| member.source), "by falling trust");

            let emptied = !before.is_empty() && after.is_empty();
            let may_empty = matches!(word, Word::Configure(hosts) if hosts.is_empty())
                || matches!(word, Word::Leave(_));
            prop_assert!(!emptied || may_empty, "{:?} emptied it", word);

            if let Word::Configure(hosts) = word {
                let all_static = hosts.iter().all(|host| {
                    let of = |member: &&Member| member.addr == addr(*host);
                    after.iter().find(of).is_some_and(|member| member.source == Source::Static)
                });
                prop_assert!(all_static, "the configuration is obeyed");
            }
            if let Word::Leave(host) = word {
                let gone = |member: &Member| member.addr != addr(*host) || member.source == Source::Static;
                prop_assert!(after.iter().all(gone), "who leaves is out");
            }
            if let Word::Health(_) = word {
                // Only dead ones go, and those that were withdrawn come back.
                let dead = |lost: &Member| sources.states.get(&lost.addr) == Some(&Dead);
                let lost = before.iter().filter(|old| !after.iter().any(|new| new.addr == old.addr));
                prop_assert!(lost.into_iter().all(dead), "a living one was taken out");
            }

            say(&mut sources, word);
            prop_assert_eq!(after, sources.merged(), "saying it twice changes nothing");
        }
    }
}

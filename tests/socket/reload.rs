//! SIGHUP: backends come and go under load, established sessions do not notice, and a wrong file
//! changes nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::status::BackendState;

use crate::support::balancer::CONFIG;
use crate::support::{Backend, Behaviour, Client, Refusing, Setup, make_fifo, until};

const ECHO: Behaviour = Behaviour::Echo;

/// A file with these backends.
pub(crate) fn file(backends: &[SocketAddr]) -> String {
    let names: Vec<String> = backends.iter().map(ToString::to_string).collect();
    format!("backends = {names:?}\n")
}

#[test]
fn a_reload_under_load_fails_no_connection_and_cuts_no_stream() {
    let first = Backend::new(ECHO);
    let others = [Backend::new(ECHO), Backend::new(ECHO)];
    let balancer = Setup::default().config(file(&[first.addr, others[0].addr])).start();
    let mut stream = Client::established(balancer.addr).unwrap();
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    Client::established(balancer.addr).unwrap();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // One stays each time: the new one gets nothing before its probes were good.
        for _ in 0..10 {
            balancer.reload(&file(&[others[0].addr, others[1].addr]), "applied");
            stream.echo(&[b'r'; 5_000]).unwrap();
            balancer.reload(&file(&[first.addr, others[0].addr]), "applied");
            stream.echo(&[b'a'; 5_000]).unwrap();
        }
        let before = served.load(Ordering::Relaxed);
        until("connections go on", || served.load(Ordering::Relaxed) > before + 100);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(balancer.metric("mainstay_membership_generation"), 21.0);
    let closed = balancer.status().connections.closed_total;
    assert_eq!(closed.keys().collect::<Vec<_>>(), ["client_ended"]);
}

#[test]
fn replacing_all_backends_in_one_reload_leaves_no_gap() {
    let (old, new) = (Backend::new(ECHO), Backend::new(ECHO));
    let balancer = Setup::default().config(file(&[old.addr])).start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    Client::established(balancer.addr).unwrap();
                }
            });
        }
        for _ in 0..10 {
            for addr in [new.addr, old.addr] {
                balancer.reload(&file(&[addr]), "applied");
                balancer.until_state(addr, BackendState::Up);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let closed = balancer.status().connections.closed_total;
    assert_eq!(closed.keys().collect::<Vec<_>>(), ["client_ended"]);
    let before = new.accepted();
    Client::established(balancer.addr).unwrap();
    assert_eq!(new.accepted(), before, "a replaced backend is not used");
}

#[test]
fn backends_that_are_replaced_by_dead_ones_get_nothing_more() {
    let (old, dead) = (Backend::new(ECHO), Refusing::new());
    let balancer = Setup::default().config(file(&[old.addr])).start();
    Client::established(balancer.addr).unwrap();
    balancer.reload(&file(&[dead.addr]), "applied");
    // Not asked by a connection: until the new one is known to be dead, the old one would serve it.
    until("the port closes", || !balancer.status().listening);
    until("the port is closed", || balancer.refuses());
    assert_eq!(old.accepted(), 1);
}

#[test]
fn a_removed_backend_keeps_its_sessions_and_is_shown_until_they_end() {
    let (old, new) = (Backend::new(ECHO), Backend::new(ECHO));
    let balancer = Setup::default().config(file(&[old.addr])).start();
    let mut stream = Client::established(balancer.addr).unwrap();
    balancer.reload(&file(&[new.addr]), "applied");
    until("the old one is shown as removed", || {
        balancer.row(old.addr).unwrap().state == BackendState::Removed
    });
    balancer.until_state(new.addr, BackendState::Up);
    for _ in 0..20 {
        Client::established(balancer.addr).unwrap();
    }
    assert_eq!((old.accepted(), new.accepted()), (1, 20));
    stream.echo(b"untouched").unwrap();
    assert_eq!(balancer.row(old.addr).unwrap().connections, 1);
    drop(stream);
    until("the old one is gone", || balancer.row(old.addr).is_none());
}

#[test]
fn a_reload_changes_the_limits_of_silence_of_established_sessions() {
    let backend = Backend::new(ECHO);
    let config = file(&[backend.addr]);
    let balancer = Setup::default().config(&config).start();
    let mut idle = Client::established(balancer.addr).unwrap();
    balancer.reload(&format!("{config}[timeouts]\nidle = '1s'\n"), "applied");
    idle.ending();
    until("the reason is counted", || balancer.closed("idle") == 1.0);
}

#[test]
fn a_wrong_file_is_refused_whole() {
    let (old, new) = (Backend::new(ECHO), Backend::new(ECHO));
    let balancer = Setup::default().config(file(&[old.addr])).start();
    let wrong = format!("{}[timeouts]\nidel = '1s'\n", file(&[new.addr]));
    balancer.reload(&wrong, "refused");
    until("the reason is logged", || {
        let log = balancer.log();
        log.contains(":3: unknown key `timeouts.idel`; did you mean `timeouts.idle`?")
    });
    Client::established(balancer.addr).unwrap();
    assert_eq!((old.accepted(), new.accepted()), (1, 0));
    assert_eq!(balancer.status().generation, 1);

    balancer.reload(&file(&[new.addr]), "applied");
    until("the corrected file is in force", || balancer.row(new.addr).is_some());
}

#[test]
fn a_key_that_needs_a_restart_refuses_the_reload() {
    let (old, new) = (Backend::new(ECHO), Backend::new(ECHO));
    let balancer = Setup::default().config(file(&[old.addr])).start();
    balancer.reload(&format!("{}workers = 7\n", file(&[new.addr])), "refused");
    until("the reason is logged", || {
        let log = balancer.log();
        log.contains("workers can only be changed by a restart")
    });
    assert!(balancer.row(new.addr).is_none());
}

#[test]
fn a_fifo_in_the_place_of_a_file_refuses_the_reload_and_holds_up_nothing() {
    let backend = Backend::new(ECHO);
    // It speaks no TLS, so over HTTPS it is never up; what counts is that the CA is read.
    let setup = Setup::default().https().down(&[backend.addr]);
    let balancer = setup.config(file(&[backend.addr])).start();
    let fifo = balancer.dir().join("fifo");
    make_fifo(&fifo);
    for name in [fifo.to_str().unwrap(), "/dev/zero"] {
        let text = format!("{}cluster.ca = '{name}'\n", file(&[backend.addr]));
        balancer.reload(&text, "refused");
        until("the reason is logged", || {
            balancer.log().contains(&format!("cannot read {name}: it is no regular file"))
        });
    }
    std::fs::remove_file(balancer.dir().join(CONFIG)).unwrap();
    make_fifo(&balancer.dir().join(CONFIG));
    balancer.signal(rustix::process::Signal::HUP);
    until("it is refused", || balancer.log().contains("mainstay.toml: it is no regular file"));
    assert_eq!(balancer.ask("GET", "/livez").status, 200);
}

//! The journal of decisions as clients of the admin endpoint read it, and readers that misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::events::{Event, EventKind};
use common::status::BackendState;
use rustix::process::Signal;

use crate::support::admin::AdminConnection;
use crate::support::command::{MAINSTAY, mainstay};
use crate::support::{Backend, Balancer, Behaviour, Client, DEADLINE, Setup, until};

/// A reader of the stream.
struct Reader(BufReader<UnixStream>);

impl Reader {
    fn open(socket: &Path, query: &str, last: &str) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let last =
            if last.is_empty() { String::new() } else { format!("last-event-id: {last}\r\n") };
        write!(stream, "GET /v1/events{query} HTTP/1.1\r\nhost: test\r\n{last}\r\n").unwrap();
        Self(BufReader::new(stream))
    }

    /// The next line that begins so, without that beginning.
    fn line(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended before {start}");
            if let Some(rest) = line.trim_end().strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    /// The next decision of this kind, with its mark.
    fn decision(&mut self, kind: EventKind) -> (String, Event) {
        loop {
            let mark = self.line("id: ");
            let event: Event = serde_json::from_str(&self.line("data: ")).unwrap();
            if event.kind == kind {
                return (mark, event);
            }
        }
    }
}

fn two() -> ([Backend; 2], Balancer) {
    let backends = [(); 2].map(|()| Backend::new(Behaviour::Echo));
    let balancer = Setup::backends(&backends.each_ref().map(|backend| backend.addr)).start();
    (backends, balancer)
}

fn drain(balancer: &Balancer, backend: &Backend, verb: &str) {
    let answer = balancer.ask("POST", &format!("/v1/members/{}/{verb}", backend.addr));
    assert_eq!(answer.status, 200);
}

#[test]
fn decisions_come_as_they_are_made_and_are_kept() {
    let (backends, balancer) = two();
    let mut reader = Reader::open(&balancer.admin, "", "");
    assert_eq!(reader.line("HTTP/1.1 "), "200 OK");
    reader.decision(EventKind::Started);
    let (_, event) = reader.decision(EventKind::BackendUp);
    assert!(event.about.is_some() && event.text.contains("to UP"), "{event:?}");
    drain(&balancer, &backends[1], "drain");
    let (mark, event) = reader.decision(EventKind::Drained);
    assert_eq!(event.about, Some(backends[1].addr.to_string()));
    drain(&balancer, &backends[1], "undrain");
    reader.decision(EventKind::Undrained);

    let mut again = Reader::open(&balancer.admin, "", &mark);
    again.line("id: ");
    let next: Event = serde_json::from_str(&again.line("data: ")).unwrap();
    assert_eq!((next.kind, next.id), (EventKind::Undrained, event.id + 1));
    let series = "mainstay_events_total{kind=\"drained\"}";
    assert_eq!(balancer.metric(series), 1.0);
}

#[test]
fn the_whole_life_of_a_balancer_is_told() {
    let backend = Backend::new(Behaviour::Echo);
    let config = |addrs: &str| format!("backends = [{addrs}]\n");
    let one = config(&format!("\"{}\"", backend.addr));
    let balancer = Setup::default().config(&one).start();
    let mut reader = Reader::open(&balancer.admin, "", "");
    reader.decision(EventKind::MembershipChanged);
    reader.decision(EventKind::PortOpened);
    balancer.reload("nonsense = 1", "refused");
    let (_, event) = reader.decision(EventKind::ReloadRefused);
    assert!(event.text.contains("nonsense"), "{event:?}");
    balancer.reload(&config(""), "applied");
    reader.decision(EventKind::Reloaded);
    let (_, event) = reader.decision(EventKind::MembershipChanged);
    assert!(event.text.ends_with(&format!("members: 0 -{}", backend.addr)), "{event:?}");
    reader.decision(EventKind::PortClosed);
    balancer.signal(Signal::TERM);
    reader.decision(EventKind::Stopping);
}

#[test]
fn the_status_comes_with_the_decisions_if_wanted() {
    let (_backends, balancer) = two();
    let mut reader = Reader::open(&balancer.admin, "?status=true", "");
    for _ in 0..2 {
        reader.line("event: status");
        let status: common::status::Status = serde_json::from_str(&reader.line("data: ")).unwrap();
        assert_eq!(status.pid, balancer.pid());
    }
    assert_eq!(balancer.ask("GET", "/v1/events?sometimes").status, 400);
}

#[test]
fn readers_are_bounded_and_their_places_come_back() {
    let (_backends, balancer) = two();
    let limit = balancer.metric("mainstay_event_followers_limit") as usize;
    let mut readers: Vec<Reader> =
        (0..limit).map(|_| Reader::open(&balancer.admin, "", "")).collect();
    readers.iter_mut().for_each(|reader| assert_eq!(reader.line("HTTP/1.1 "), "200 OK"));
    assert_eq!(balancer.ask("GET", "/v1/events").status, 503);
    assert_eq!(balancer.metric("mainstay_event_followers"), limit as f64);
    assert!(balancer.metric("mainstay_admin_denied_total") >= 1.0);
    drop(readers);
    until("the places come back", || balancer.metric("mainstay_event_followers") == 0.0);
}

#[test]
fn the_command_shows_and_follows() {
    let (backends, balancer) = two();
    let admin = format!("unix:{}", balancer.admin.display());
    let kept = mainstay(Path::new("/"), &["events", "--admin", &admin, "-o", "json"]);
    assert_eq!((kept.code, kept.err.as_str()), (Some(0), ""));
    let kept: Vec<Event> =
        kept.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept[0].kind, EventKind::Started);
    let last = mainstay(Path::new("/"), &["events", "--admin", &admin, "--last", "1"]);
    assert_eq!(last.out.lines().count(), 1, "{}", last.out);

    let mut command = Command::new(MAINSTAY);
    command.args(["events", "--admin", &admin, "--follow", "-n", "0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    drain(&balancer, &backends[0], "drain");
    // The drain may come before the list or after it; the next one is followed in any case.
    until("the command follows", || balancer.metric("mainstay_event_followers") == 1.0);
    drain(&balancer, &backends[0], "undrain");
    let line = lines.find(|line| line.as_ref().unwrap().contains("undrained")).unwrap().unwrap();
    assert!(line.contains(&backends[0].addr.to_string()), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_reader_that_takes_nothing_is_dropped_and_counted() {
    let (backends, balancer) = two();
    let _reader = Reader::open(&balancer.admin, "", "");
    until("it has a place", || balancer.metric("mainstay_event_followers") == 1.0);
    let begun = Instant::now();
    let mut connection = AdminConnection::open(&balancer.admin).unwrap();
    let path = format!("/v1/members/{}/", backends[1].addr);
    while balancer.metric("mainstay_event_followers") > 0.0 {
        assert!(begun.elapsed() < 3 * DEADLINE, "it still has its place");
        for verb in ["drain", "undrain"].repeat(50) {
            assert_eq!(connection.ask("POST", &format!("{path}{verb}")).unwrap().status, 200);
        }
    }
    let dropped = |name: &str| balancer.metric(name);
    let lost = dropped("mainstay_event_followers_lost_total");
    assert!(lost + dropped("mainstay_admin_stalled_total") >= 1.0);
}

#[test]
fn a_scraper_that_stalls_is_cut_off() {
    let (_backends, balancer) = two();
    let mut session = Client::established(balancer.addr).unwrap();
    let mut scraper = UnixStream::connect(&balancer.admin).unwrap();
    scraper.set_nonblocking(true).unwrap();
    let asks = "GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n".repeat(400);
    let sent = scraper.write(asks.as_bytes()).unwrap();
    assert!(sent > asks.len() / 4, "{sent}");
    until("it is cut off", || {
        session.echo(b"undisturbed").unwrap();
        balancer.metric("mainstay_admin_stalled_total") == 1.0
    });
    let mut rest = Vec::new();
    scraper.set_nonblocking(false).unwrap();
    // What was written before is still there, and then the end or a reset.
    scraper.read_to_end(&mut rest).ok();
    assert!(rest.starts_with(b"HTTP/1.1 200 OK"));
}

#[test]
fn a_flood_of_admin_requests_disturbs_nobody() {
    let (backends, balancer) = two();
    let mut session = Client::established(balancer.addr).unwrap();
    let begun = Instant::now();
    let flood = Duration::from_secs(4);
    let answered: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..32)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = AdminConnection::open(&balancer.admin).unwrap();
                    let mut answered = 0;
                    while begun.elapsed() < flood {
                        for path in ["/metrics", "/v1/status", "/v1/events?follow=false"] {
                            connection.ask("GET", path).unwrap();
                            answered += 1;
                        }
                    }
                    answered
                })
            })
            .collect();
        while begun.elapsed() < flood {
            session.echo(b"undisturbed").unwrap();
            Client::established(balancer.addr).unwrap().echo(b"new").unwrap();
            assert_eq!(balancer.ask("GET", "/readyz").status, 200);
        }
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    // 400 at once and 200 a second, and some that had begun already.
    let most = 400 + 200 * (begun.elapsed().as_secs() as usize + 2);
    assert!(answered > 100 && answered < most, "{answered}");
    for backend in &backends {
        assert_eq!(balancer.row(backend.addr).unwrap().state, BackendState::Up);
    }
    let down = balancer.metric("mainstay_events_total{kind=\"backend_down\"}");
    assert_eq!(down, 0.0, "health kept its time");
}

//! The admin endpoint: what it answers, and that nobody who asks it can disturb anybody.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::on_tcp::start_on_tcp;
use crate::support::{Backend, Balancer, Behaviour, Client, Setup, eventually, until};

fn started() -> (Backend, Balancer) {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).start();
    (backend, balancer)
}

#[test]
fn each_path_answers_what_it_is_for() {
    let (backend, balancer) = started();
    let _session = Client::established(balancer.addr).unwrap();
    for path in ["/livez", "/readyz"] {
        let answer = balancer.ask("GET", path);
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    }
    let status = balancer.status();
    assert_eq!(status.pid, balancer.pid());
    assert!(status.ready && status.listening);
    assert_eq!(status.listen, [balancer.addr.to_string()]);
    assert_eq!(status.connections.open, 1);
    let row = balancer.row(backend.addr).unwrap();
    assert_eq!((row.connections, row.connections_total), (1, 1));

    let page = balancer.ask("GET", "/metrics");
    assert!(page.head.contains("content-type: text/plain; version=0.0.4"));
    for metric in common::metric_names::ALL {
        let announced = page.body.contains(&format!("# TYPE {} ", metric.name));
        // A series without a label value yet, such as a close that never happened, may be missing, and
        // so may what is told of a cluster that nobody can watch here, or of a coordinator that does not run.
        // (`tests/join` looks at the latter.)
        let of_a_cluster = [
            "mainstay_kubernetes_",
            "mainstay_cluster_",
            "mainstay_registered",
            "mainstay_join",
            "mainstay_revocations",
            "mainstay_tickets",
        ];
        let may_be_missing = !metric.labels.is_empty()
            || of_a_cluster.iter().any(|prefix| metric.name.starts_with(prefix));
        assert!(announced || may_be_missing, "{}", metric.name);
    }
    let series = format!("mainstay_backend_connections{{backend=\"{}\"}}", backend.addr);
    assert_eq!(balancer.metric(&series), 1.0);
    assert_eq!(balancer.metric("mainstay_ready"), 1.0);
}

#[test]
fn other_paths_and_methods_are_refused() {
    let (_backend, balancer) = started();
    let unknown = balancer.ask("GET", "/v1/secrets");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("/v1/status"), "{}", unknown.body);
    let post = balancer.ask("POST", "/v1/status");
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: get, head\r\n"), "{}", post.head);
}

#[test]
fn a_client_that_says_nothing_blocks_nobody() {
    let (_backend, balancer) = started();
    let _silent = UnixStream::connect(&balancer.admin).unwrap();
    assert_eq!(balancer.ask("GET", "/livez").status, 200);
}

#[test]
fn two_hundred_silent_admin_clients_do_not_disturb_sessions() {
    let (_backend, balancer) = started();
    let mut session = Client::established(balancer.addr).unwrap();
    let connect = |_| UnixStream::connect(&balancer.admin).unwrap();
    let silent: Vec<UnixStream> = (0..200).map(connect).collect();
    for _ in 0..200 {
        session.echo(b"undisturbed").unwrap();
        Client::established(balancer.addr).unwrap();
    }
    drop(silent);
    until("the endpoint answers again", || balancer.ask("GET", "/livez").status == 200);
}

#[test]
fn two_hundred_admin_clients_at_once_are_all_answered() {
    let (_backend, balancer) = started();
    let mut session = Client::established(balancer.addr).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| assert_eq!(balancer.ask("GET", "/metrics").status, 200));
        }
        for _ in 0..200 {
            session.echo(b"undisturbed").unwrap();
        }
    });
}

/// Far below the 5 s that each of the holders would have, also on a machine that does much else.
const SOON: Duration = Duration::from_secs(3);

/// Asks as a program does that looks whether the balancer lives.
fn lives<S: Read + Write>(stream: io::Result<S>) -> io::Result<bool> {
    let mut stream = stream?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200 "))
}

/// Holds connections, each with a part of a request, and opens each anew when it is closed.
fn hold<S: Read + Write>(
    count: usize,
    held: &AtomicBool,
    stop: &AtomicBool,
    connect: impl Fn() -> io::Result<S>,
) {
    let open = || {
        let mut stream = connect().unwrap();
        // It may be closed already; then it is opened anew.
        stream.write_all(b"GET /livez").ok();
        stream
    };
    let mut streams: Vec<S> = (0..count).map(|_| open()).collect();
    held.store(true, Ordering::Relaxed);
    while !stop.load(Ordering::Relaxed) {
        for stream in &mut streams {
            let waits = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
            if !stream.read(&mut [0; 16]).is_err_and(waits) {
                *stream = open();
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks again and again while two hundred hold connections.
fn asked_beside_holders<S: Read + Write>(
    connect: impl Fn() -> io::Result<S> + Sync,
    lives: impl Fn() -> io::Result<bool>,
) {
    let (held, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let slowest = std::thread::scope(|scope| {
        scope.spawn(|| hold(200, &held, &stop, &connect));
        until("all are held", || held.load(Ordering::Relaxed));
        let asked = (0..20).map(|_| {
            let began = Instant::now();
            (lives().is_ok_and(|lives| lives), began.elapsed())
        });
        let answers: Vec<(bool, Duration)> = asked.collect();
        stop.store(true, Ordering::Relaxed);
        assert!(answers.iter().all(|(lives, _)| *lives), "{answers:?}");
        answers.into_iter().map(|(_, took)| took).max().unwrap()
    });
    assert!(slowest < SOON, "{slowest:?}");
}

#[test]
fn two_hundred_half_sent_requests_delay_no_question_on_the_unix_socket() {
    let (_backend, balancer) = started();
    let connect = || {
        let stream = UnixStream::connect(&balancer.admin)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    asked_beside_holders(connect, || lives(UnixStream::connect(&balancer.admin)));
}

#[test]
fn two_hundred_half_sent_requests_delay_no_question_on_a_port() {
    let dir = tempfile::tempdir().unwrap();
    let (_balancer, admin) = start_on_tcp(dir.path());
    eventually("the endpoint answers", || lives(TcpStream::connect(&admin)).ok());
    let connect = || {
        let stream = TcpStream::connect(&admin)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    asked_beside_holders(connect, || lives(TcpStream::connect(&admin)));
}

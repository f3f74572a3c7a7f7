//! Backends that freeze, close or are slow, as the client's first bytes meet them.

use std::sync::Arc;

use common::{Member, Source};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;
use crate::backend::Backend;
use crate::dial::DialLimits;
use crate::health::Rank;
use crate::pool::{BackendSet, Entry};
use crate::storm::StormLimits;

const LIMITS: DialLimits = DialLimits {
    connect: Duration::from_secs(2),
    total: Duration::from_secs(8),
    storm: StormLimits { per_second: 0, burst: 0 },
};

/// A whole ClientHello as far as this module looks: an empty one.
const HELLO: &[u8] = &[TLS_HANDSHAKE, 3, 1, 0, 4, CLIENT_HELLO, 0, 0, 0];

/// Backends in the order in which they are chosen: each holds more connections than the one before.
async fn backends(count: u32) -> (Vec<TcpListener>, BackendSet) {
    let (mut listeners, mut entries) = (Vec::new(), Vec::new());
    for number in 0..count {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let member = Member { name: number.to_string(), addr, source: Source::Static };
        let backend = Arc::new(Backend::new(member, Millis(0)));
        (0..number).for_each(|_| std::mem::forget(backend.reserve_anyway()));
        entries.push(Entry { backend, rank: Rank::Usual, slow_start: None });
        listeners.push(listener);
    }
    (listeners, BackendSet { generation: 1, entries })
}

async fn client() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (outer, accepted) = tokio::join!(connect, listener.accept());
    (outer.unwrap(), accepted.unwrap().0)
}

async fn find(set: &BackendSet, inner: &mut TcpStream) -> Result<Found, CloseReason> {
    let clock = Clock::default();
    let dialer = Dialer::new(set, &clock, LIMITS);
    Hold::new(inner, dialer, &clock, Duration::from_millis(300), &Crowd::default()).find().await
}

/// Backends, and a client that has said these bytes: its own end and ours.
async fn told(count: u32, bytes: &[u8]) -> (Vec<TcpListener>, BackendSet, TcpStream, TcpStream) {
    let (listeners, set) = backends(count).await;
    let (mut outer, inner) = client().await;
    outer.write_all(bytes).await.unwrap();
    (listeners, set, outer, inner)
}

/// Nothing is held against any backend.
fn assert_trusted(set: &BackendSet) {
    assert!(set.entries.iter().all(|entry| entry.backend.refusals().in_a_row() == 0));
}

async fn accept_hello(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut hello = vec![0; HELLO.len()];
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(hello, HELLO);
    stream
}

#[tokio::test]
async fn a_frozen_backend_costs_one_wait_and_no_client() {
    let (listeners, set, _outer, mut inner) = told(2, HELLO).await;
    // The first backend listens, and nobody accepts; the second answers.
    let second = async {
        let mut stream = accept_hello(&listeners[1]).await;
        stream.write_all(b"ServerHello").await.unwrap();
        stream
    };
    let (found, _stream) = tokio::join!(find(&set, &mut inner), second);
    let found = found.unwrap();
    assert_eq!(found.guard.backend().member.name, "1");
    assert_eq!((found.replays, found.flight.len()), (1, HELLO.len()));
    assert!(set.entries[0].backend.refusals().in_a_row() > 0, "it is passed over from now on");
    assert_eq!(set.entries[0].backend.load(), 0);
}

#[tokio::test]
async fn a_late_answer_of_the_first_still_wins() {
    let (listeners, set, _outer, mut inner) = told(2, HELLO).await;
    let first = async {
        let mut stream = accept_hello(&listeners[0]).await;
        // Until the other one has been asked too.
        let second = accept_hello(&listeners[1]).await;
        stream.write_all(b"ServerHello").await.unwrap();
        (stream, second)
    };
    let (found, _streams) = tokio::join!(find(&set, &mut inner), first);
    assert_eq!(found.unwrap().guard.backend().member.name, "0");
}

#[tokio::test]
async fn a_backend_that_closes_before_it_answers_is_replaced_at_once() {
    let (listeners, set, _outer, mut inner) = told(2, HELLO).await;
    let peers = async {
        drop(accept_hello(&listeners[0]).await);
        let mut second = accept_hello(&listeners[1]).await;
        second.write_all(b"ServerHello").await.unwrap();
        second
    };
    let (found, _second) = tokio::join!(find(&set, &mut inner), peers);
    assert_eq!(found.unwrap().guard.backend().member.name, "1");
    assert_eq!(set.entries[0].backend.refusals().in_a_row(), 1, "the other one answered the same");
}

#[tokio::test]
async fn what_is_no_handshake_is_never_replayed() {
    let (listeners, set, _outer, mut inner) = told(2, b"POST / HTTP/1.1\r\n\r\n").await;
    let (found, accepted) = tokio::join!(find(&set, &mut inner), listeners[0].accept());
    let found = found.unwrap();
    assert_eq!((found.guard.backend().member.name.as_str(), found.replays), ("0", 0));
    drop(accepted);
}

#[tokio::test]
async fn slow_masters_keep_their_client() {
    let (_listeners, set, _outer, mut inner) = told(1, HELLO).await;
    let found = find(&set, &mut inner).await.unwrap();
    assert_eq!(found.replays, 0, "there is nobody else to ask");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_given_up() {
    let (_listeners, set) = backends(1).await;
    let (_outer, mut inner) = client().await;
    assert_eq!(find(&set, &mut inner).await.err(), Some(CloseReason::ClientSilent));
    assert_eq!(set.entries[0].backend.load(), 0);
}

#[tokio::test]
async fn a_silent_client_goes_sooner_when_others_wait() {
    let (_listeners, set) = backends(1).await;
    let (_outer, mut inner) = client().await;
    let (clock, crowd) = (Clock::default(), Crowd::default());
    let dialer = Dialer::new(&set, &clock, LIMITS);
    let mut hold = Hold::new(&mut inner, dialer, &clock, HURRIED * 5 / 2, &crowd);
    for _ in 0..2 {
        assert!(matches!(hold.client_silent(), Ok(Step::Wait)), "nobody waits");
    }
    assert_eq!(hold.look_at, hold.speak_until, "the last look is the end");
    hold.look_at -= HURRIED;
    let waits = crowd.enter();
    assert_eq!(hold.client_silent().err(), Some(CloseReason::ClientSilent));
    drop(waits);
    assert!(hold.client_silent().is_ok());
}

#[tokio::test]
async fn a_part_of_a_hello_makes_no_backend_look_silent() {
    let (_listeners, set, _outer, mut inner) = told(2, &HELLO[..7]).await;
    assert_eq!(find(&set, &mut inner).await.err(), Some(CloseReason::ClientSilent));
    assert_trusted(&set);
}

#[tokio::test]
async fn what_nobody_answers_is_held_against_nobody() {
    let (listeners, set, _outer, mut inner) = told(2, HELLO).await;
    let peers = async {
        drop(accept_hello(&listeners[0]).await);
        drop(accept_hello(&listeners[1]).await);
    };
    let (found, ()) = tokio::join!(find(&set, &mut inner), peers);
    assert_eq!(found.err(), Some(CloseReason::NoBackend));
    assert_trusted(&set);
}

#[tokio::test]
async fn a_record_without_a_message_is_no_hello() {
    let (_listeners, set, _outer, mut inner) =
        told(2, &[TLS_HANDSHAKE, 3, 1, 0, 0, CLIENT_HELLO, 0, 0, 0]).await;
    assert_eq!(find(&set, &mut inner).await.err(), Some(CloseReason::ClientSilent));
    assert_trusted(&set);
}

#[tokio::test]
async fn a_backend_that_speaks_first_is_heard() {
    let (listeners, set) = backends(1).await;
    let (_outer, mut inner) = client().await;
    let greeting = async {
        let (mut stream, _) = listeners[0].accept().await.unwrap();
        stream.write_all(b"220 ready").await.unwrap();
        stream
    };
    let (found, _stream) = tokio::join!(find(&set, &mut inner), greeting);
    assert_eq!(found.unwrap().flight.len(), 0);
}

#[tokio::test]
async fn with_nobody_to_serve_the_reason_is_said() {
    let (listeners, set) = backends(2).await;
    drop(listeners);
    let (_outer, mut inner) = client().await;
    assert_eq!(find(&set, &mut inner).await.err(), Some(CloseReason::NoBackend));
    let failed = |entry: &Entry| entry.backend.refusals().in_a_row() == 1;
    assert!(set.entries.iter().all(failed), "each was tried");
}

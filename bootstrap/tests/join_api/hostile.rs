//! What strangers try.

use std::time::{Duration, Instant};

use bootstrap::client::{JoinClient, Trust};
use bootstrap::protocol::{Heartbeat, Intent, Registration};
use bootstrap::registry::tickets::Terms;
use common::status::BackendState::Up;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::{Lab, Machine, TOKEN};

async fn refused(lab: &Lab, token: Option<&str>, wish: &Registration) -> (StatusCode, String) {
    let token = token.map(|token| token.parse().unwrap());
    let error = lab.stranger().register(token.as_ref(), wish).await.unwrap_err();
    (error.status().unwrap(), error.to_string())
}

#[tokio::test]
async fn wrong_expired_and_used_up_tickets_look_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::start(dir.path()).await;
    let wish = Machine::new("master-0", 7000).wish(Intent::Register);
    let unknown = refused(&lab, Some(TOKEN), &wish).await;
    assert_eq!(unknown.0, StatusCode::UNAUTHORIZED);
    lab.ticket(Terms { ttl_seconds: Some(0), ..Terms::default() }).await;
    assert_eq!(refused(&lab, Some(TOKEN), &wish).await, unknown);
    lab.ticket(Terms { uses: Some(1), ..Terms::default() }).await;
    assert_eq!(refused(&lab, Some("abcdef.0123456789abcdee"), &wish).await, unknown);
    lab.register(&Machine::new("master-1", 7001), Intent::Register).await.unwrap();
    assert_eq!(refused(&lab, Some(TOKEN), &wish).await, unknown, "used up");
    assert_eq!(refused(&lab, None, &wish).await.0, StatusCode::UNAUTHORIZED);
    let counted: u64 = lab.api.counts().rejections().map(|(_, count)| count).sum();
    assert_eq!(counted, 4);
}

#[tokio::test]
async fn nobody_takes_a_name_or_an_address_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    lab.register(&Machine::new("master-0", 7000), Intent::Init).await.unwrap();
    let thief = Machine::new("master-0", 7001);
    let (status, said) = refused(&lab, Some(TOKEN), &thief.wish(Intent::Join)).await;
    assert!(status == StatusCode::CONFLICT && said.contains("another key"), "{said}");
    let same_place = Machine::new("master-1", 7000);
    let (status, said) = refused(&lab, Some(TOKEN), &same_place.wish(Intent::Join)).await;
    assert!(status == StatusCode::CONFLICT && said.contains("registered by master-0"), "{said}");
    let mut other_name = Machine::new("master-1", 7001).wish(Intent::Join);
    other_name.csr = thief.key.request("master-2").unwrap();
    let (status, said) = refused(&lab, Some(TOKEN), &other_name).await;
    assert!(status == StatusCode::FORBIDDEN && said.contains("another name"), "{said}");
    let mut elsewhere = Machine::new("master-1", 7001).wish(Intent::Join);
    elsewhere.address = Some("10.0.0.9".parse().unwrap());
    let (status, said) = refused(&lab, Some(TOKEN), &elsewhere).await;
    assert!(status == StatusCode::FORBIDDEN && said.contains("join.allow"), "{said}");
    lab.allow("10.0.0.0/24");
    let token = TOKEN.parse().unwrap();
    let allowed = lab.stranger().register(Some(&token), &elsewhere).await.unwrap();
    assert_eq!(allowed.address.to_string(), "10.0.0.9:7001");
    let balancer = Machine::new("master-2", 6443).wish(Intent::Join);
    let (status, said) = refused(&lab, Some(TOKEN), &balancer).await;
    assert!(status == StatusCode::BAD_REQUEST && said.contains("the balancer itself"), "{said}");
    let second_first = Machine::new("master-3", 7003).wish(Intent::Init);
    let (status, said) = refused(&lab, Some(TOKEN), &second_first).await;
    assert!(status == StatusCode::CONFLICT && said.contains("cannot be the first"), "{said}");
}

#[tokio::test]
async fn a_thousand_wrong_tickets_of_one_source_do_not_slow_another() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    let wish = Machine::new("master-0", 7000).wish(Intent::Register);
    let mut limited = 0;
    for number in 0..60 {
        let token = format!("abcdef.{number:016}");
        let (status, said) = refused(&lab, Some(&token), &wish).await;
        limited += u32::from(status == StatusCode::TOO_MANY_REQUESTS);
        assert!(status != StatusCode::OK && !said.contains(&format!("{number:016}")));
    }
    assert!(limited >= 40, "{limited}");
    // 127.0.0.1 is the guesser; another source on loopback is 127.0.0.2.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let begun = Instant::now();
    let stream = socket.connect(lab.addr).await.unwrap();
    let answer = raw(&lab, stream, &post("/v1/members", TOKEN, &wish)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn without_a_certificate_nothing_but_registering_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    let stranger = lab.stranger();
    let denied = stranger.heartbeat(&Heartbeat::default()).await.unwrap_err();
    assert_eq!(denied.status(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(stranger.leave().await.unwrap_err().status(), Some(StatusCode::UNAUTHORIZED));
    let denied = stranger.cluster().await.err().unwrap();
    assert_eq!(denied.status(), Some(StatusCode::UNAUTHORIZED));
    // A certificate of another coordinator is no certificate.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Lab::with_ticket(elsewhere.path()).await;
    let machine = Machine::new("master-0", 7000);
    let registered = other.register(&machine, Intent::Init).await.unwrap();
    let member = bootstrap::client::MemberCertificate {
        certificate: &registered.certificate,
        key: machine.key.pem(),
    };
    let addr = lab.addr.to_string().parse().unwrap();
    let forged = JoinClient::new(addr, Trust::Pins(&[lab.pin()]), Some(member)).unwrap();
    assert!(forged.heartbeat(&Heartbeat::default()).await.is_err());
}

#[tokio::test]
async fn bodies_that_are_none_are_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    let head = |length: usize| {
        format!(
            "POST /v1/members HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n"
        )
    };
    let table: Vec<(String, &str)> = vec![
        (head(0), "400"),
        (format!("{}{{}}", head(2)), "400"),
        (format!("{}not json", head(8)), "400"),
        (head(1 << 30), "413"),
        ("GET /v1/members HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), "401"),
        ("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), "200"),
    ];
    for (request, status) in table {
        let stream = TcpStream::connect(lab.addr).await.unwrap();
        let answer = raw(&lab, stream, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert!(!answer.contains("0123456789abcdef"), "no secret comes back");
    }
}

#[tokio::test]
async fn silence_and_garbage_leave_room_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    let mut held = Vec::new();
    for number in 0..50u8 {
        let mut stream = TcpStream::connect(lab.addr).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&[number; 64]).await.unwrap();
        }
        held.push(stream);
    }
    let machine = Machine::new("master-0", 7000);
    let begun = Instant::now();
    lab.register(&machine, Intent::Register).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    lab.backends(&[(7000, Up)]);
}

#[tokio::test]
async fn connections_that_ask_nothing_give_way() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::with_ticket(dir.path()).await;
    let mut held = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(lab.addr).await.unwrap();
        if number % 2 == 0 {
            // The beginning of a TLS record.
            stream.write_all(&[0x16, 3, 1, 2]).await.unwrap();
        }
        held.push(stream);
    }
    let machine = Machine::new("master-0", 7000);
    let begun = Instant::now();
    lab.register(&machine, Intent::Register).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

fn post(path: &str, token: &str, body: &Registration) -> String {
    let body = serde_json::to_string(body).unwrap();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// One exchange over TLS with text of one's own.
async fn raw(lab: &Lab, stream: TcpStream, request: &str) -> String {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    let pem = lab.api.authority().pem();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = bootstrap::protocol::COORDINATOR_NAME.try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    // A server that refuses a huge body closes without reading it.
    drop(read.expect("an answer in time"));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn an_older_tls_is_refused() {
    use rustls::pki_types::pem::PemObject;
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::start(dir.path()).await;
    let mut roots = rustls::RootCertStore::empty();
    let pem = lab.api.authority().pem();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = bootstrap::protocol::COORDINATOR_NAME.try_into().unwrap();
    let stream = TcpStream::connect(lab.addr).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    assert!(connector.connect(name, stream).await.is_err());
}

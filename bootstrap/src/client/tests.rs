//! The client against a coordinator that behaves as badly as the test wants.

use std::sync::Arc;

use http::StatusCode;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::kubeadm::CaPin;
use crate::protocol::{COORDINATOR_NAME, Heartbeat, Intent, Registration};
use crate::ticket::CoordinatorAddr;

/// A CA that signs serving certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new() -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "mainstay coordinator");
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn pin(&self) -> CaPin {
        CaPin::of_certificate(self.certificate.der()).unwrap()
    }

    /// A serving configuration of this CA for a name and purpose.
    fn serving(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![leaf.der().clone(), self.certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    fn usual(&self) -> Arc<ServerConfig> {
        self.serving(COORDINATOR_NAME, ExtendedKeyUsagePurpose::ServerAuth)
    }
}

/// Answers every request with the same bytes; tells the head and body of the last one.
struct StandIn {
    addr: CoordinatorAddr,
    _running: JoinSet<()>,
    asked: tokio::sync::watch::Receiver<String>,
}

async fn stand_in(tls: Option<Arc<ServerConfig>>, answer: Vec<u8>) -> StandIn {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string().parse().unwrap();
    let (tell, asked) = tokio::sync::watch::channel(String::new());
    let mut running = JoinSet::new();
    running.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(tls) = &tls else {
                // Not even TLS.
                stream.write_all(&answer).await.ok();
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                continue;
            };
            let Ok(mut stream) = TlsAcceptor::from(Arc::clone(tls)).accept(stream).await else {
                continue;
            };
            let mut head = vec![0; 64 * 1024];
            let count = stream.read(&mut head).await.unwrap_or(0);
            tell.send_replace(String::from_utf8_lossy(&head[..count]).into_owned());
            stream.write_all(&answer).await.ok();
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            stream.shutdown().await.ok();
        }
    });
    StandIn { addr, _running: running, asked }
}

fn http(status: &str, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{more}\r\n{body}").into_bytes()
}

const ALIVE: &str = r#"{"state":"UP","why":"ready","something_new":1}"#;

async fn heartbeat(at: &StandIn, pins: &[CaPin]) -> Result<String, ClientError> {
    let client = JoinClient::new(at.addr.clone(), Trust::Pins(pins), None).unwrap();
    client.heartbeat(&Heartbeat::default()).await.map(|answer| answer.state)
}

#[tokio::test]
async fn a_pinned_coordinator_is_believed_and_an_unpinned_one_is_not() {
    let (ours, other) = (Authority::new(), Authority::new());
    let at = stand_in(Some(ours.usual()), http("200 OK", "", ALIVE)).await;
    let found = heartbeat(&at, &[other.pin(), ours.pin()]).await;
    assert_eq!(found.unwrap(), "UP");

    let error = heartbeat(&at, &[other.pin()]).await.unwrap_err();
    assert_eq!(error.failure, Failure::WrongPin { offered: vec![ours.pin()] });
    assert!(!error.may_work_later() && error.is_denied());
    let said = error.to_string();
    assert!(said.contains(&ours.pin().to_string()) && said.contains("in between"), "{said}");
}

#[tokio::test]
async fn the_known_ca_counts_later() {
    let (ours, other) = (Authority::new(), Authority::new());
    let at = stand_in(Some(ours.usual()), http("200 OK", "", ALIVE)).await;
    for (authority, works) in [(&ours, true), (&other, false)] {
        let pem = authority.certificate.pem();
        let client = JoinClient::new(at.addr.clone(), Trust::Ca(&pem), None).unwrap();
        assert_eq!(client.heartbeat(&Heartbeat::default()).await.is_ok(), works);
    }
}

/// A member has a certificate of the same CA; that must not make it a coordinator.
#[tokio::test]
async fn a_member_cannot_pose_as_the_coordinator() {
    let ours = Authority::new();
    for (name, purpose) in [
        (COORDINATOR_NAME, ExtendedKeyUsagePurpose::ClientAuth),
        ("master1", ExtendedKeyUsagePurpose::ServerAuth),
    ] {
        let at = stand_in(Some(ours.serving(name, purpose)), http("200 OK", "", ALIVE)).await;
        let error = heartbeat(&at, &[ours.pin()]).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Certificate { .. }), "{error}");
    }
}

/// The pin of a leaf, or of a CA that did not sign, proves nothing.
#[tokio::test]
async fn the_pinned_ca_must_have_signed() {
    let (ours, other) = (Authority::new(), Authority::new());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([COORDINATOR_NAME.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = params.signed_by(&key, &other.issuer).unwrap();
    let leaf_pin = CaPin::of_certificate(leaf.der()).unwrap();
    let chain = vec![leaf.der().clone(), ours.certificate.der().clone(), leaf.der().clone()];
    let builder =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let at = stand_in(Some(tls), http("200 OK", "", ALIVE)).await;
    let failure = heartbeat(&at, &[ours.pin()]).await.unwrap_err().failure;
    assert!(matches!(failure, Failure::Certificate { .. }), "{failure}");
    let failure = heartbeat(&at, &[leaf_pin]).await.unwrap_err().failure;
    assert!(matches!(failure, Failure::WrongPin { .. }), "{failure}");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let ours = Authority::new();
    let cases = [
        ("401 Unauthorized", "", "", "mainstay ticket create", false, None),
        (
            "403 Forbidden",
            "",
            r#"{"error":"master4 is not in join.allow"}"#,
            "join.allow",
            false,
            None,
        ),
        ("404 Not Found", "", "", "an older version", false, None),
        ("409 Conflict", "", r#"{"error":"a\u001b[31m\nb"}"#, "a [31m b", false, None),
        ("429 Too Many Requests", "retry-after: 7\r\n", "", "wait", true, Some(7)),
        ("503 Service Unavailable", "", "<html>", "see its log", true, None),
    ];
    for (status, more, body, said, later, seconds) in cases {
        let at = stand_in(Some(ours.usual()), http(status, more, body)).await;
        let error = heartbeat(&at, &[ours.pin()]).await.unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.contains(said), "{status}: {sentence}");
        assert!(sentence.starts_with(&at.addr.to_string()), "{sentence}");
        assert_eq!(error.may_work_later(), later, "{status}");
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), seconds, "{status}");
        assert_eq!(error.is_unknown_to_it(), status.starts_with("401"));
        assert_eq!(error.status().map(|code| code.as_u16()), status[..3].parse().ok());
    }
}

#[tokio::test]
async fn a_bad_answer_is_no_answer() {
    let ours = Authority::new();
    let huge = "x".repeat(crate::protocol::BODY_BYTES_MAX + 1);
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"state\":".to_vec();
    for (answer, said, later) in [
        (http("200 OK", "", &huge), "longer than 128 KiB", true),
        (http("200 OK", "", "[1, \"secret\"]"), "cannot be read", false),
        (cut, "connection ended", true),
        (b"\x00\x01\x02 no HTTP at all\r\n\r\n".to_vec(), "connection ended", true),
    ] {
        let at = stand_in(Some(ours.usual()), answer).await;
        let error = heartbeat(&at, &[ours.pin()]).await.unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.contains(said) && !sentence.contains("secret"), "{sentence}");
        assert_eq!(error.may_work_later(), later, "{sentence}");
    }
}

/// Time is paused: when nothing moves, the limits come at once.
#[tokio::test(start_paused = true)]
async fn silence_has_a_limit() {
    let ours = Authority::new();
    for tls in [None, Some(ours.usual())] {
        let at = stand_in(tls, Vec::new()).await;
        let error = heartbeat(&at, &[ours.pin()]).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Silent { .. }), "{error}");
        assert!(error.may_work_later());
    }
}

#[tokio::test]
async fn nobody_and_strangers_are_told_apart() {
    let pins = [Authority::new().pin()];
    let at = |text: &str| text.parse::<CoordinatorAddr>().unwrap();
    let ask = async |addr| {
        let client = JoinClient::new(addr, Trust::Pins(&pins), None).unwrap();
        client.heartbeat(&Heartbeat::default()).await.unwrap_err().failure
    };
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(ask(at(&closed.to_string())).await, Failure::NobodyListens);
    let failure = ask(at("no-such-host.invalid:6445")).await;
    assert!(matches!(failure, Failure::Name { .. }), "{failure}");
    let plain = stand_in(None, http("400 Bad Request", "", "")).await;
    let failure = ask(plain.addr).await;
    assert!(failure.to_string().contains("does not speak TLS"), "{failure}");
}

#[tokio::test]
async fn the_token_travels_as_bearer_and_nowhere_else() {
    let ours = Authority::new();
    let answer = http("401 Unauthorized", "", "");
    let at = stand_in(Some(ours.usual()), answer).await;
    let pins = [ours.pin()];
    let client = JoinClient::new(at.addr.clone(), Trust::Pins(&pins), None).unwrap();
    let registration = Registration {
        name: "master1".to_owned(),
        address: None,
        port: 6443,
        csr: "request".to_owned(),
        cluster_ca: None,
        intent: Intent::Init,
        force: false,
    };
    let token = "abcdef.0123456789abcdef".parse().unwrap();
    let error = client.register(Some(&token), &registration).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
    let asked = at.asked.borrow().clone();
    assert!(asked.starts_with("POST /v1/members HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: Bearer abcdef.0123456789abcdef\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: {COORDINATOR_NAME}\r\n")), "{asked}");
    assert_eq!(asked.matches("0123456789abcdef").count(), 1, "{asked}");
    client.register(None, &registration).await.unwrap_err();
    assert!(!at.asked.borrow().contains("authorization"));
}

#[test]
fn a_broken_identity_is_told_without_the_key() {
    let addr: CoordinatorAddr = "127.0.0.1".parse().unwrap();
    let new = |ca: &str, certificate: &str, key: &str| {
        let member = Some(MemberCertificate { certificate, key });
        let error = JoinClient::new(addr.clone(), Trust::Ca(ca), member).err().unwrap();
        assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
        error.to_string()
    };
    let authority = Authority::new();
    let pem = authority.certificate.pem();
    assert!(new("", &pem, "").contains("the coordinator's CA"));
    assert!(new(&pem, "nonsense", "").contains("the certificate of this member"));
    let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0!\n-----END PRIVATE KEY-----\n";
    assert!(new(&pem, &pem, key).contains("the private key"));
}

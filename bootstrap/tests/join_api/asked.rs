//! Asks the running API for everything in its table, with the bodies that the document names.

use bootstrap::api::table::{Call, MemberCall, ROUTES};
use bootstrap::identity::MemberKey;
use bootstrap::protocol::{COORDINATOR_NAME, Intent};
use bootstrap::sealing::SealingKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::{Lab, Machine, TOKEN};
use crate::openapi::bodies;
use crate::schema::Document;

/// A good body for each schema.
fn good(machine: &Machine, name: &str) -> Value {
    match name {
        "Registration" => serde_json::to_value(machine.wish(Intent::Register)).unwrap(),
        "Renewal" => json!({"csr": machine.key.request(&machine.name).unwrap()}),
        "JoinRequest" => json!({"sealing_key": SealingKey::generate().unwrap().public()}),
        "JoinOutcome" => json!({"joined": false, "reason": "it was asked to"}),
        "WorkResult" => json!({"id": 1, "result": "revoked"}),
        "Heartbeat" | "Leave" | "ClusterFacts" => json!({}),
        other => panic!("no body for {other}"),
    }
}

/// Status and body of one exchange, as this member.
async fn ask(
    lab: &Lab,
    (certificate, key): (&str, &MemberKey),
    line: &str,
    body: &str,
) -> (u16, Value) {
    let mut roots = rustls::RootCertStore::empty();
    let ca = lab.api.authority().pem();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.pem().as_bytes()).unwrap())
        .unwrap();
    let stream = TcpStream::connect(lab.addr).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let mut stream = connector.connect(COORDINATOR_NAME.try_into().unwrap(), stream).await.unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
}

#[tokio::test]
async fn everything_is_answered_as_documented() {
    let document = Document::read();
    let refusal = document.schema("Refusal");
    for route in ROUTES {
        let dir = tempfile::tempdir().unwrap();
        let lab = Lab::with_ticket(dir.path()).await;
        let machine = Machine::new("master-0", 7000);
        let registered = lab.register(&machine, Intent::Register).await.unwrap();
        let caller = (registered.certificate.as_str(), &machine.key);
        let line = format!("{} {}", route.method, route.path);
        let (body, answer) = bodies(route.call);
        if let Some(name) = body {
            let (status, said) = ask(&lab, caller, &line, r#"{"nothing": "known"}"#).await;
            assert_eq!(status, 400, "{line}: {said}");
            assert_eq!(document.faults(refusal, &said), [""; 0], "{line}");
            let good = good(&machine, name);
            assert_eq!(document.faults(document.schema(name), &good), [""; 0], "{line}");
        }
        let sent = body.map_or(String::new(), |name| good(&machine, name).to_string());
        let (status, said) = ask(&lab, caller, &line, &sent).await;
        // It was never in rotation.
        let refused = route.call == Call::Member(MemberCall::Work);
        assert_eq!(status, if refused { 403 } else { 200 }, "{line}: {said}");
        let schema = if refused { refusal } else { document.schema(answer) };
        assert_eq!(document.faults(schema, &said), [""; 0], "{line}");
        let elsewhere = format!("DELETE {}", route.path);
        let (status, said) = ask(&lab, caller, &elsewhere, "").await;
        let gone = matches!(route.call, Call::Member(MemberCall::Leave));
        assert_eq!(status, if gone { 401 } else { 404 }, "{elsewhere}: {said}");
    }
}

//! The observer's credentials: what is written into the cluster, and what is signed.

use std::path::{Path, PathBuf};
use std::process::Command;

use bootstrap::cluster::{
    Access, Cluster, OBSERVER, ObserverError, observer_kubeconfig, observer_role,
    observer_role_binding,
};
use bootstrap::kubeadm::{CaPin, IssueError, PkiDirectory};
use http::{Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tower_test::mock;
use x509_parser::prelude::{FromDer, X509Certificate};

type Handle = mock::Handle<Request<Body>, Response<Body>>;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
const SERVER: &str = "https://lb.example.com:6443";

fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures")).join(name)
}

fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

/// Takes a request, checks what it is, and answers.
async fn expect(handle: &mut Handle, call: &str, code: u16, answer: Value) -> Value {
    let (request, send) = handle.next_request().await.unwrap();
    assert_eq!(format!("{} {}", request.method(), request.uri()), call);
    let sent = request.into_body().collect_bytes().await.unwrap();
    let body = Body::from(answer.to_string().into_bytes());
    send.send_response(Response::builder().status(code).body(body).unwrap());
    serde_json::from_slice(&sent).unwrap()
}

/// Issues credentials against an apiserver that has the Role already.
async fn issued(pki: &Path) -> Result<String, ObserverError> {
    let (service, mut handle) = mock::pair();
    let cluster = Cluster::with_client(Client::new(service, "default"), SERVER.to_owned());
    let pki = PkiDirectory::stacked(pki);
    let apiserver = async {
        let exists = json!({"code": 409, "reason": "AlreadyExists", "message": "it is there"});
        let role = expect(&mut handle, &format!("POST {RBAC}/roles"), 409, exists).await;
        assert_eq!(role, serde_json::to_value(observer_role()).unwrap());
        expect(&mut handle, &format!("PUT {RBAC}/roles/{OBSERVER}"), 200, json!({})).await;
        let binding =
            expect(&mut handle, &format!("POST {RBAC}/rolebindings"), 201, json!({})).await;
        assert_eq!(binding, serde_json::to_value(observer_role_binding()).unwrap());
    };
    let issue = observer_kubeconfig(&cluster, &pki, SERVER, now());
    tokio::select! {
        // Whoever fails before the first call leaves the apiserver waiting.
        issued = async { tokio::join!(issue, apiserver).0 } => issued.map(|text| text.to_string()),
        () = tokio::time::sleep(std::time::Duration::from_secs(20)) => panic!("no answer within 20 s"),
    }
}

/// The error of an attempt that makes no call.
async fn refused(pki: &Path) -> ObserverError {
    let (service, _handle): (_, Handle) = mock::pair();
    let cluster = Cluster::with_client(Client::new(service, "default"), SERVER.to_owned());
    observer_kubeconfig(&cluster, &PkiDirectory::stacked(pki), SERVER, now()).await.unwrap_err()
}

/// A directory with this CA.
fn pki(certificate: &str, key: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(fixture(certificate), directory.path().join("ca.crt")).unwrap();
    std::fs::copy(fixture(key), directory.path().join("ca.key")).unwrap();
    directory
}

#[test]
fn the_rights_are_the_least_that_do() {
    let role = serde_json::to_value(observer_role()).unwrap();
    let verbs = json!(["get", "list", "watch"]);
    assert_eq!(
        role["rules"],
        json!([
            {"apiGroups": [""], "resources": ["endpoints"], "verbs": verbs},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs},
        ])
    );
    let binding = serde_json::to_value(observer_role_binding()).unwrap();
    assert_eq!(binding["metadata"], json!({"name": OBSERVER, "namespace": "default"}));
    assert_eq!(binding["roleRef"]["kind"], "Role");
    assert_eq!(binding["subjects"][0]["kind"], "User");
    assert_eq!(binding["subjects"][0]["name"], OBSERVER);
}

/// RSA keys in PKCS#1 and EC keys in SEC1 and PKCS#8, as kubeadm and people write them.
#[tokio::test]
async fn every_kind_of_ca_signs() {
    let table = [
        ("kubeadm-1.20/pki-master0/ca.crt", "kubeadm-1.20/pki-master0/ca.key"),
        ("kubeadm-1.36/pki-master0/ca.crt", "kubeadm-1.36/pki-master0/ca.key"),
        ("vectors/ca-rsa.crt", "vectors/ca-rsa.key"),
        ("vectors/ca-ec.crt", "vectors/ca-ec.key"),
        ("keys/secp384r1.crt", "keys/secp384r1.sec1.key"),
        ("keys/secp384r1.crt", "keys/secp384r1.pkcs8.key"),
        ("keys/secp384r1.crt", "keys/secp384r1.bare.key"),
    ];
    for (certificate, key) in table {
        let directory = pki(certificate, key);
        let text = issued(directory.path()).await.unwrap_or_else(|error| panic!("{key}: {error}"));
        let ca = std::fs::read(fixture(certificate)).unwrap();
        check(&text, &ca, key);
    }
}

/// The kubeconfig can be handed over, and its certificate is good for the user and nothing else.
fn check(text: &str, ca: &[u8], key: &str) {
    let access = Access::handed(text).unwrap_or_else(|error| panic!("{key}: {error}"));
    assert_eq!(access.server(), SERVER);
    assert_eq!(access.pins().unwrap(), CaPin::of_bundle(ca).unwrap());
    Cluster::connect(access).unwrap_or_else(|error| panic!("{key}: {error}"));

    let config: Value = serde_json::from_str(text).unwrap();
    let data = config["users"][0]["user"]["client-certificate-data"].as_str().unwrap();
    let pem = data_encoding::BASE64.decode(data.as_bytes()).unwrap();
    let der = CertificateDer::from_pem_slice(&pem).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(certificate.subject().to_string(), format!("CN={OBSERVER}"), "no group");
    let ca_der = CertificateDer::from_pem_slice(ca).unwrap();
    let (_, authority) = X509Certificate::from_der(&ca_der).unwrap();
    // Go looks the issuer up by the bytes of its name.
    assert_eq!(certificate.issuer().as_raw(), authority.subject().as_raw(), "{key}");
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert!(!certificate.is_ca());
    let lasts = certificate.validity().not_after.timestamp() - now().as_second();
    assert_eq!(lasts, 30 * 24 * 3600);
    assert!(certificate.validity().not_before.timestamp() < now().as_second());

    let mut roots = RootCertStore::empty();
    roots.add(ca_der.clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    let seconds = u64::try_from(now().as_second()).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    verifier.verify_client_cert(&der, &[], now).unwrap_or_else(|error| panic!("{key}: {error}"));
    openssl_agrees(&pem, ca, seconds, key);
}

/// The judgement of another implementation, where there is one.
fn openssl_agrees(pem: &[u8], ca: &[u8], seconds: u64, key: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (leaf, root) = (directory.path().join("leaf.pem"), directory.path().join("root.pem"));
    std::fs::write(&leaf, pem).unwrap();
    std::fs::write(&root, ca).unwrap();
    let output = Command::new("openssl")
        .args(["verify", "-purpose", "sslclient", "-attime", &seconds.to_string(), "-CAfile"])
        .arg(&root)
        .arg(&leaf)
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{key}: {output:?}"),
        Err(_) => println!("SKIPPED: there is no openssl"),
    }
}

#[tokio::test]
async fn says_why_there_is_none() {
    let directory = pki("vectors/ca-ec.crt", "vectors/ca-ec.key");
    std::fs::remove_file(directory.path().join("ca.key")).unwrap();
    let error = refused(directory.path()).await;
    assert!(matches!(error, ObserverError::ExternalCa));
    assert!(error.to_string().contains("kubernetes.kubeconfig"), "{error}");
    let directory = pki("vectors/ca-ec.crt", "vectors/ca-rsa.key");
    let error = refused(directory.path()).await;
    assert!(matches!(error, ObserverError::Issue(IssueError::OtherKey)), "{error}");
    let directory = pki("keys/secp521r1.crt", "keys/secp521r1.pkcs8.key");
    let error = refused(directory.path()).await;
    assert!(matches!(error, ObserverError::Issue(IssueError::Kind)), "{error}");
}

/// Who makes the credentials by hand follows the page.
#[test]
fn the_page_grants_what_a_master_grants() {
    let page = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/discovery.md"));
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(block).unwrap();
    let ours = [
        serde_json::to_value(observer_role()).unwrap(),
        serde_json::to_value(observer_role_binding()).unwrap(),
    ];
    assert_eq!(documents, ours);
}

//! The way to a cluster; an apiserver that does not answer, and one that stops half-way.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail like the test itself"
)]

use std::time::Duration;

use bootstrap::cluster::{
    ApiError, Cluster, UploadError, create_token, list_tokens, upload_certs, uploaded_certs,
};
use bootstrap::kubeadm::{
    CertSet, CertificateKey, Expiration, OsRandom, PkiDirectory, TokenSecret,
};
use http::{Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use tower_test::mock;

mod kubeconfig;

type Handle = mock::Handle<Request<Body>, Response<Body>>;

fn cluster() -> (Cluster, Handle) {
    let (service, handle) = mock::pair();
    let client = Client::new(service, "default");
    (Cluster::with_client(client, "https://lb:6443".to_owned()), handle)
}

fn certs() -> CertSet {
    let pki = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/kubeadm-1.36/pki-master0");
    PkiDirectory::stacked(pki).read().unwrap()
}

fn timeout() -> ApiError {
    ApiError::Timeout { server: "https://lb:6443".to_owned(), limit: Duration::from_secs(10) }
}

/// Takes a request, checks what it is, and answers.
async fn expect(handle: &mut Handle, call: &str, code: u16, body: &str) -> serde_json::Value {
    let (request, send) = handle.next_request().await.unwrap();
    assert_eq!(format!("{} {}", request.method(), request.uri()), call);
    let sent = request.into_body().collect_bytes().await.unwrap();
    let answer = Response::builder().status(code);
    send.send_response(answer.body(Body::from(body.as_bytes().to_vec())).unwrap());
    serde_json::from_slice(&sent).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn no_answer_within_ten_seconds() {
    let (cluster, mut handle) = cluster();
    let begun = tokio::time::Instant::now();
    let (answer, _kept) = tokio::join!(uploaded_certs(&cluster), handle.next_request());
    assert_eq!(answer, Err(timeout()));
    assert_eq!(begun.elapsed().as_secs(), 10);
    let error = timeout();
    assert!(error.may_work_later() && !error.is_denied());
    assert_eq!(
        error.to_string(),
        "the apiserver at https://lb:6443 did not answer within 10s; try again"
    );
}

/// Whether a Secret whose POST got no answer was stored is not known; without its owner it is
/// collected in either case.
#[tokio::test(start_paused = true)]
async fn silence_after_the_owner_token_takes_it_back() {
    let expected = UploadError::Store {
        step: "Secret kubeadm-certs",
        source: timeout(),
        left_behind: String::new(),
    };
    assert_eq!(silent_upload(std::future::pending()).await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_takes_the_owner_token_back() {
    let expected = UploadError::Interrupted { left_behind: String::new() };
    let stop = tokio::time::sleep(Duration::from_secs(1));
    assert_eq!(silent_upload(stop).await, expected);
}

/// An upload whose second call gets no answer.
async fn silent_upload(stop: impl Future<Output = ()>) -> UploadError {
    const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
    let (cluster, mut handle) = cluster();
    let key = CertificateKey::generate(&mut OsRandom).unwrap();
    let (certs, end) = (certs(), Expiration::utc(Timestamp::now()));
    let mut random = OsRandom;
    let upload = upload_certs(&cluster, &certs, &key, end, &mut random, stop);
    let apiserver = async {
        let owner = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"bootstrap-token-abcdef","uid":"u-1"}}"#;
        expect(&mut handle, &format!("POST {SECRETS}"), 201, owner).await;
        let (silent, kept) = handle.next_request().await.unwrap();
        assert_eq!(silent.uri(), SECRETS);
        let rollback = format!("DELETE {SECRETS}/bootstrap-token-abcdef");
        let options = expect(&mut handle, &rollback, 200, "{}").await;
        assert_eq!(options["preconditions"]["uid"], "u-1");
        drop(kept);
    };
    let (uploaded, ()) = tokio::join!(upload, apiserver);
    uploaded.unwrap_err()
}

/// A POST whose answer is lost may have stored the token; it is taken back if it is ours.
#[tokio::test(start_paused = true)]
async fn a_token_whose_answer_was_lost_is_taken_back() {
    let (cluster, mut handle) = cluster();
    let apiserver = async {
        let mut stored = lost_answer(&mut handle).await;
        stored["metadata"]["uid"] = "u-7".into();
        // The balancer is not there again yet.
        drop(handle.next_request().await.unwrap());
        expect(&mut handle, &format!("GET {ABCDEF}"), 200, &stored.to_string()).await;
        drop(handle.next_request().await.unwrap());
        expect(&mut handle, &format!("GET {ABCDEF}"), 200, &stored.to_string()).await;
        let options = expect(&mut handle, &format!("DELETE {ABCDEF}"), 200, "{}").await;
        assert_eq!(options["preconditions"]["uid"], "u-7");
    };
    let token = token();
    let (created, ()) = tokio::join!(create_token(&cluster, &token), apiserver);
    let error = created.unwrap_err();
    assert!(error.to_string().starts_with("cannot reach the apiserver"), "{error}");
}

/// What was never stored, and what somebody else has stored under the name.
#[tokio::test(start_paused = true)]
async fn a_token_of_somebody_else_is_left_alone() {
    let theirs = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"bootstrap-token-abcdef"},
        "data":{"token-secret":"YWFhYWFhYWFhYWFhYWFhYQ=="}}"#;
    let gone = r#"{"kind":"Status","reason":"NotFound","code":404}"#;
    for (code, answer) in [(200, theirs), (404, gone)] {
        let (cluster, mut handle) = cluster();
        let apiserver = async {
            lost_answer(&mut handle).await;
            expect(&mut handle, &format!("GET {ABCDEF}"), code, answer).await;
        };
        let token = token();
        let (created, ()) = tokio::join!(create_token(&cluster, &token), apiserver);
        assert!(created.is_err());
        drop(cluster);
        assert!(handle.next_request().await.is_none(), "a further call after {code}");
    }
}

const ABCDEF: &str = "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef";

fn token() -> TokenSecret {
    TokenSecret::new("abcdef.0123456789abcdef".parse().unwrap(), None)
}

/// Takes a POST and drops the connection; what was sent.
async fn lost_answer(handle: &mut Handle) -> serde_json::Value {
    let (request, answer) = handle.next_request().await.unwrap();
    assert_eq!(request.method(), "POST");
    let sent = request.into_body().collect_bytes().await.unwrap();
    drop(answer);
    serde_json::from_slice(&sent).unwrap()
}

/// A service in between that answers without a `Status`, and with control characters.
#[tokio::test]
async fn answers_that_are_no_status() {
    let (cluster, mut handle) = cluster();
    let call = "GET /api/v1/namespaces/kube-system/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";
    let (answer, _) = tokio::join!(
        list_tokens(&cluster),
        expect(&mut handle, call, 502, "<html>\u{1b}[2Jbad gateway</html>")
    );
    let error = answer.unwrap_err();
    assert!(error.may_work_later());
    assert_eq!(
        error.to_string(),
        "the answer was 502 Bad Gateway (502 from https://lb:6443); try again"
    );
    let (answer, _) = tokio::join!(
        list_tokens(&cluster),
        expect(&mut handle, call, 403, r#"{"message":"no\u001b[2J way","reason":"Forbidden"}"#)
    );
    let error = answer.unwrap_err();
    assert!(error.is_denied() && !error.to_string().contains('\u{1b}'));
}

//! The watch of the apiservers.

use std::sync::Arc;
use std::time::Duration;

use bootstrap::MembershipWriter;
use bootstrap::kubernetes::{Credentials, KubernetesSource, Pace, SourceStatus};
use common::status::BackendState;
use common::{MemberState, MembershipFeed, Tasks};
use serde_json::{Value, json};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::stand_in::{Act, Piece, StandIn};

const V1: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const V1BETA1: &str = "/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";

/// A source at work.
struct Lab {
    feed: MembershipFeed,
    status: watch::Receiver<SourceStatus>,
    credentials: watch::Sender<Option<Credentials>>,
    health: watch::Sender<Arc<Vec<MemberState>>>,
    tasks: Tasks,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Lab {
    fn of(server: &StandIn) -> Self {
        Self::serving(server, vec![state(BackendState::Up)])
    }

    fn serving(server: &StandIn, states: Vec<MemberState>) -> Self {
        let writer = Arc::new(MembershipWriter::new(Vec::new()));
        let feed = writer.feed();
        let (health, health_feed) = watch::channel(Arc::new(states));
        let (status, status_feed) = watch::channel(SourceStatus::default());
        let (credentials, credentials_feed) = watch::channel(handed(server, "first"));
        let pace = Pace {
            watch_seconds: 2,
            grace: Duration::from_secs(1),
            debounce: Duration::from_millis(100),
        };
        let source = KubernetesSource {
            listen: vec![server.addr],
            credentials: credentials_feed,
            health: health_feed,
            writer,
            pace,
            status,
        };
        let tasks = Tasks::new();
        tasks.spawn_until_stopped("source", source.run());
        Self { feed, status: status_feed, credentials, health, tasks }
    }

    /// Waits until the members are these; the numbers are the last of their addresses.
    async fn members(&mut self, hosts: &[u8]) {
        let expected = addresses(hosts);
        let same = |shown: &Vec<String>| *shown == expected;
        let shown = |feed: &MembershipFeed| -> Vec<String> {
            feed.borrow().members.iter().map(|member| member.addr.to_string()).collect()
        };
        let wait = async {
            while !same(&shown(&self.feed)) {
                self.feed.changed().await.unwrap();
            }
        };
        let arrived = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(arrived.is_ok(), "{:?} instead of {expected:?}", shown(&self.feed));
    }

    /// Waits for a status.
    async fn status(&mut self, what: impl FnMut(&SourceStatus) -> bool) -> SourceStatus {
        let wait = self.status.wait_for(what);
        let status = tokio::time::timeout(Duration::from_secs(20), wait).await;
        status.expect("no such status within 20 s").unwrap().clone()
    }
}

fn handed(server: &StandIn, token: &str) -> Option<Credentials> {
    Some(Credentials::Handed(Arc::new(Zeroizing::new(server.kubeconfig(token)))))
}

fn state(state: BackendState) -> MemberState {
    MemberState {
        name: "a".to_owned(),
        addr: "10.0.0.9:6443".parse().unwrap(),
        state,
        since: std::time::Instant::now(),
        why: String::new(),
    }
}

fn addresses(hosts: &[u8]) -> Vec<String> {
    hosts.iter().map(|host| format!("10.0.0.{host}:6443")).collect()
}

fn slice(hosts: &[u8], version: u32) -> Value {
    let endpoints: Vec<Value> = hosts
        .iter()
        .map(|host| json!({"addresses": [format!("10.0.0.{host}")], "conditions": {"ready": true}}))
        .collect();
    json!({
        "metadata": {"name": "kubernetes", "resourceVersion": version.to_string()},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "https", "port": 6443}],
    })
}

fn list(hosts: &[u8], version: u32) -> Act {
    let items = if hosts.is_empty() { vec![] } else { vec![slice(hosts, version)] };
    let list = json!({"metadata": {"resourceVersion": version.to_string()}, "items": items});
    Act::Answer(200, list.to_string())
}

fn event(kind: &str, hosts: &[u8], version: u32) -> Piece {
    Piece::Line(json!({"type": kind, "object": slice(hosts, version)}).to_string())
}

fn failure(code: u16, reason: &str) -> String {
    json!({"kind": "Status", "code": code, "reason": reason, "message": "no"}).to_string()
}

/// Waits until the stand-in was called this often, and shows the calls without their constant parts.
async fn calls(server: &StandIn, count: usize) -> Vec<String> {
    let wait = async {
        while server.calls().len() < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let called = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(called.is_ok(), "{:?}", server.calls());
    let short = |call: &String| {
        let (path, query) = call.split_once('?').unwrap();
        let version = query.split_once("resourceVersion=").map(|(_, rest)| {
            let (version, rest) = rest.split_once('&').unwrap();
            assert!(query.contains("&watch=true&allowWatchBookmarks=true&"), "{query}");
            assert_eq!(rest, "timeoutSeconds=2");
            version
        });
        match version {
            Some(version) => format!("watch {path} {version}"),
            None => format!("list {path}"),
        }
    };
    server.calls().iter().take(count).map(short).collect()
}

#[tokio::test]
async fn lists_watches_and_goes_on_where_a_watch_ended() {
    let server = StandIn::start(|_, before| match before {
        0 => list(&[1, 2], 10),
        1 => Act::Watch(vec![
            event("MODIFIED", &[1, 2, 3], 11),
            Piece::Pause(Duration::from_millis(300)),
            event("BOOKMARK", &[], 15),
        ]),
        2 => Act::Watch(vec![event("MODIFIED", &[2, 3], 16), Piece::Stall]),
        _ => list(&[2, 3], 17),
    })
    .await;
    let mut lab = Lab::of(&server);
    lab.members(&[1, 2]).await;
    lab.members(&[1, 2, 3]).await;
    // It never was UP, so nothing speaks for keeping it.
    lab.members(&[2, 3]).await;
    let seen = calls(&server, 3).await;
    let expected = [
        format!("list first: {V1}"),
        format!("watch first: {V1} 10"),
        format!("watch first: {V1} 15"),
    ];
    assert_eq!(seen, expected);
    let status = lab.status(|status| status.listed.len() == 2).await;
    assert_eq!((status.api, status.error), (Some("discovery.k8s.io/v1"), None));
    assert!(status.on && status.answered.is_some() && status.since.is_some());
}

/// 1.17 serves slices that nothing fills.
#[tokio::test]
async fn an_empty_list_of_slices_hides_no_endpoints() {
    let server = StandIn::start(|call, _| match call {
        _ if call.contains("/v1/namespaces/default/endpointslices") => {
            Act::Answer(404, "404 page not found".to_owned())
        }
        _ if call.contains("/v1beta1/") => list(&[], 3),
        _ if call.contains("watch=true") => Act::Watch(vec![Piece::Stall]),
        _ => {
            let subset = json!({"addresses": [{"ip": "10.0.0.7"}], "ports": [{"port": 6443}]});
            let object = json!({"metadata": {"name": "kubernetes"}, "subsets": [subset]});
            let list = json!({"metadata": {"resourceVersion": "3"}, "items": [object]});
            Act::Answer(200, list.to_string())
        }
    })
    .await;
    let mut lab = Lab::of(&server);
    lab.members(&[7]).await;
    assert_eq!(lab.status(|status| status.api.is_some()).await.api, Some("v1 Endpoints"));
}

#[tokio::test]
async fn takes_the_api_that_is_there() {
    let server = StandIn::start(|call, _| match call {
        _ if call.contains("/v1/namespaces/default/endpointslices") => {
            Act::Answer(404, "404 page not found".to_owned())
        }
        _ if call.contains("/v1beta1/") => Act::Answer(403, failure(403, "Forbidden")),
        _ if call.contains("watch=true") => Act::Watch(vec![Piece::Stall]),
        _ => {
            let subset = json!({"addresses": [{"ip": "10.0.0.7"}], "ports": [{"port": 6443}]});
            let object = json!({"metadata": {"name": "kubernetes"}, "subsets": [subset]});
            let list = json!({"metadata": {"resourceVersion": "3"}, "items": [object]});
            Act::Answer(200, list.to_string())
        }
    })
    .await;
    let mut lab = Lab::of(&server);
    lab.members(&[7]).await;
    let seen = calls(&server, 4).await;
    let expected = [
        format!("list first: {V1}"),
        format!("list first: {V1BETA1}"),
        format!("list first: {ENDPOINTS}"),
        format!("watch first: {ENDPOINTS} 3"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(lab.status(|status| status.api.is_some()).await.api, Some("v1 Endpoints"));
}

#[tokio::test]
async fn lists_again_when_its_version_is_too_old() {
    let gone = Piece::Line(format!(r#"{{"type":"ERROR","object":{}}}"#, failure(410, "Expired")));
    let server = StandIn::start(move |_, before| match before {
        0 => list(&[1], 10),
        1 => Act::Watch(vec![gone.clone()]),
        2 => list(&[1, 2], 20),
        3 => Act::Answer(410, failure(410, "Expired")),
        4 => list(&[1, 2, 3], 30),
        _ => Act::Watch(vec![Piece::Stall]),
    })
    .await;
    let mut lab = Lab::of(&server);
    lab.members(&[1, 2, 3]).await;
    let seen = calls(&server, 6).await;
    assert_eq!(seen[4], format!("list first: {V1}"));
    assert_eq!(seen[5], format!("watch first: {V1} 30"));
    assert_eq!(lab.status(|_| true).await.failures, 0, "it is no failure");
}

#[tokio::test]
async fn a_silent_watch_is_given_up() {
    let server = StandIn::start(|_, before| match before {
        0 => list(&[1], 10),
        1 => Act::Watch(vec![Piece::Half(r#"{"type":"#.to_owned()), Piece::Stall]),
        2 => list(&[1, 2], 20),
        _ => Act::Watch(vec![Piece::Stall]),
    })
    .await;
    let mut lab = Lab::of(&server);
    lab.members(&[1]).await;
    let status = lab.status(|status| status.error.is_some()).await;
    let said = "the watch was silent for 3s; the connection is given up";
    assert_eq!(status.error.as_deref(), Some(said));
    lab.members(&[1, 2]).await;
    assert_eq!(lab.status(|status| status.error.is_none()).await.failures, 1);
}

#[tokio::test]
async fn broken_connections_and_nonsense_take_nobody_out() {
    let server = StandIn::start(|_, before| match before {
        0 => list(&[1, 2], 10),
        1 => Act::Watch(vec![event("MODIFIED", &[1, 2, 3], 11), Piece::Break]),
        2 => Act::Answer(200, "<html>a proxy's greeting</html>".to_owned()),
        3 => Act::Answer(503, failure(503, "ServiceUnavailable")),
        4 => list(&[], 12),
        5 | 6 => Act::Answer(404, "404 page not found".to_owned()),
        7 => Act::Watch(vec![event("DELETED", &[], 13), event("ADDED", &[1, 4], 14)]),
        _ => Act::Watch(vec![Piece::Stall]),
    })
    .await;
    let mut lab = Lab::of(&server);
    lab.members(&[1, 2]).await;
    lab.members(&[1, 2, 3]).await;
    lab.members(&[1, 4]).await;
    assert!(lab.status(|status| status.error.is_none()).await.failures >= 2);
    let sizes = lab.feed.borrow().generation;
    assert_eq!(sizes, 4, "no step in between");
}

#[tokio::test]
async fn nobody_is_asked_while_nobody_serves() {
    let server = StandIn::start(|_, before| match before {
        0 => list(&[1], 10),
        _ => Act::Watch(vec![Piece::Stall]),
    })
    .await;
    let mut lab = Lab::serving(&server, vec![state(BackendState::Pending)]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.calls(), [] as [String; 0]);
    lab.health.send_replace(Arc::new(vec![state(BackendState::Up)]));
    lab.members(&[1]).await;
}

#[tokio::test]
async fn new_credentials_are_used_at_once() {
    let server = StandIn::start(|call, _| match call {
        _ if call.starts_with("first") => Act::Answer(401, failure(401, "Unauthorized")),
        _ if call.contains("watch=true") => Act::Watch(vec![Piece::Stall]),
        _ => list(&[1], 10),
    })
    .await;
    let mut lab = Lab::of(&server);
    let status = lab.status(|status| status.error.is_some()).await;
    assert!(status.error.unwrap().contains("the credentials are not accepted"));
    lab.credentials.send_replace(handed(&server, "second"));
    lab.members(&[1]).await;
    lab.credentials.send_replace(None);
    lab.status(|status| !status.on).await;
    lab.members(&[1]).await;
}

#[tokio::test]
async fn another_cluster_at_our_own_door_is_not_believed() {
    let ours = StandIn::start(|_, _| list(&[1], 10)).await;
    let theirs = StandIn::start(|_, _| list(&[2], 10)).await;
    let mut lab = Lab::of(&theirs);
    lab.credentials.send_replace(handed(&ours, "first"));
    let status = lab.status(|it| it.error.as_ref().is_some_and(|it| it.contains("trusted"))).await;
    assert!(status.error.unwrap().contains("https://lb.example.com:6443"));
}

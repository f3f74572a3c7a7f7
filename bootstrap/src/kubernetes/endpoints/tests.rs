//! The objects and watches that were captured from real clusters, and what no cluster should send.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn captured(name: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");
    std::fs::read_to_string(format!("{root}/{name}")).unwrap()
}

/// A captured object as the only one of a list.
fn list_of(name: &str) -> Vec<u8> {
    let object: Value = serde_json::from_str(&captured(name)).unwrap();
    let list = json!({"metadata": {"resourceVersion": "7"}, "items": [object]});
    list.to_string().into_bytes()
}

fn masters(hosts: &[u8]) -> Vec<SocketAddr> {
    hosts.iter().map(|host| format!("10.77.0.{host}:6443").parse().unwrap()).collect()
}

#[test]
fn captured_objects() {
    let table = [
        (Api::Endpoints, "kubeadm-1.20/kubernetes.endpoints.json", masters(&[11, 12])),
        (Api::Endpoints, "kubeadm-1.20/kubernetes.endpoints.3.json", masters(&[11, 12, 13])),
        (
            Api::SlicesV1Beta1,
            "kubeadm-1.20/kubernetes.endpointslice.v1beta1.json",
            masters(&[11, 12]),
        ),
        (Api::Endpoints, "kubeadm-1.36/kubernetes.endpoints.json", masters(&[11, 12, 13])),
        (Api::SlicesV1, "kubeadm-1.36/kubernetes.endpointslice.v1.json", masters(&[11, 12, 13])),
    ];
    for (api, name, expected) in table {
        let listing = Listing::read(api, &list_of(name)).unwrap();
        assert_eq!(listing.addrs(), expected, "{name}");
        assert_eq!(listing.version(), "7");
    }
}

#[test]
fn captured_watches() {
    let play = |api, name: &str| {
        let mut listing = Listing::read(api, br#"{"metadata":{},"items":[]}"#).unwrap();
        let lines = captured(name);
        let after = |line: &str| {
            assert_eq!(listing.apply(line.as_bytes()), Ok(Seen::Changed));
            (listing.addrs(), listing.version().to_owned())
        };
        lines.lines().filter(|line| !line.is_empty()).map(after).collect::<Vec<_>>()
    };
    let seen = |hosts: &[u8], version: &str| (masters(hosts), version.to_owned());
    assert_eq!(
        play(Api::Endpoints, "kubeadm-1.20/kubernetes.endpoints.watch.jsonl"),
        [
            seen(&[11, 13], "3334"),
            seen(&[11, 12, 13], "3399"),
            seen(&[11, 13], "3603"),
            seen(&[11, 12, 13], "3731")
        ]
    );
    assert_eq!(
        play(Api::SlicesV1, "kubeadm-1.36/kubernetes.endpointslice.watch.jsonl"),
        [seen(&[11, 12, 13], "410"), seen(&[11, 13], "637")]
    );
}

fn slice(name: &str, endpoints: Value, ports: Value) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "9"}, "endpoints": endpoints, "ports": ports})
}

fn event(kind: &str, object: &Value) -> Vec<u8> {
    json!({"type": kind, "object": object}).to_string().into_bytes()
}

fn empty() -> Listing {
    Listing::read(Api::SlicesV1, br#"{"metadata":{"resourceVersion":"1"},"items":[]}"#).unwrap()
}

#[test]
fn several_slices_families_ports_and_readiness() {
    let https = json!([{"name": "metrics", "port": 9}, {"name": "https", "port": 6443}]);
    let four = json!([
        {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true}},
        {"addresses": ["10.0.0.3"], "conditions": {}},
        {"addresses": ["10.0.0.4"]},
        {"addresses": null},
        {"addresses": ["0.0.0.0", "224.0.0.1", "master.example"]},
    ]);
    let six = json!([{"addresses": ["fd00::1"], "conditions": {"ready": true}}]);
    let mut listing = empty();
    assert_eq!(listing.apply(&event("ADDED", &slice("a", four, https))), Ok(Seen::Changed));
    let other_port = json!([{"name": null, "port": 7443}]);
    assert_eq!(listing.apply(&event("ADDED", &slice("b", six, other_port))), Ok(Seen::Changed));
    let shown: Vec<String> = listing.addrs().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.1:6443", "10.0.0.3:6443", "10.0.0.4:6443", "[fd00::1]:7443"]);
    let gone = slice("a", Value::Null, Value::Null);
    assert_eq!(listing.apply(&event("DELETED", &gone)), Ok(Seen::Changed));
    assert_eq!(listing.addrs().len(), 1);
    let no_port = slice("b", json!([{"addresses": ["fd00::1"]}]), Value::Null);
    assert_eq!(listing.apply(&event("MODIFIED", &no_port)), Ok(Seen::Changed));
    assert_eq!(listing.addrs(), []);
}

#[test]
fn endpoints_that_are_not_ready() {
    let object = json!({"metadata": {"name": "kubernetes"}, "subsets": [
        {"addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
         "ports": [{"name": "https", "port": 6443}]},
        {"addresses": [{"ip": "fd00::1"}], "ports": [{"name": "https", "port": 6444}]},
        {"notReadyAddresses": [{"ip": "10.0.0.3"}]},
    ]});
    let list = json!({"metadata": {}, "items": [object]}).to_string();
    let listing = Listing::read(Api::Endpoints, list.as_bytes()).unwrap();
    let shown: Vec<String> = listing.addrs().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.1:6443", "[fd00::1]:6444"]);
}

#[test]
fn bookmarks_and_failures() {
    let mut listing = empty();
    let bookmark = json!({"kind": "EndpointSlice", "metadata": {"resourceVersion": "12"}});
    assert_eq!(listing.apply(&event("BOOKMARK", &bookmark)), Ok(Seen::Unchanged));
    assert_eq!(listing.version(), "12");
    let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
    assert_eq!(listing.apply(&event("ERROR", &gone)), Ok(Seen::Expired));
    let broken = json!({"kind": "Status", "code": 500, "message": "et\u{1b}cd"});
    let said = "the watch failed with 500: etcd".to_owned();
    assert_eq!(listing.apply(&event("ERROR", &broken)), Ok(Seen::Failure(said)));
    for wrong in ["", "{}", "<html>", r#"{"type":"ADDED"}"#, r#"{"type":"X","object":{}}"#] {
        assert_eq!(listing.apply(wrong.as_bytes()), Err(Unreadable), "{wrong}");
    }
    assert_eq!(Listing::read(Api::SlicesV1, br#"{"kind":"Status"}"#), Err(Unreadable));
}

#[test]
fn the_requests() {
    assert_eq!(
        Api::SlicesV1Beta1.watch("12&x=/..", 55),
        "/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices?labelSelector=\
         kubernetes.io%2Fservice-name%3Dkubernetes&watch=true&allowWatchBookmarks=true\
         &resourceVersion=12x..&timeoutSeconds=55"
    );
    assert_eq!(
        Api::Endpoints.list(),
        "/api/v1/namespaces/default/endpoints?fieldSelector=metadata.name%3Dkubernetes"
    );
}

proptest! {
    #[test]
    fn no_bytes_panic_and_the_bounds_hold(lines in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let mut listing = empty();
        for line in lines {
            listing.apply(&line).ok();
            Listing::read(Api::Endpoints, &line).ok();
        }
        prop_assert!(listing.addrs().is_empty());
    }

    #[test]
    fn many_slices_are_bounded(count in 0..200usize) {
        let mut listing = empty();
        for number in 0..count {
            let address = format!("10.1.{}.{}", number / 250, number % 250 + 1);
            let endpoints = json!([{"addresses": [address]}]);
            let ports = json!([{"name": "https", "port": 6443}]);
            listing.apply(&event("ADDED", &slice(&format!("s{number}"), endpoints, ports))).unwrap();
        }
        prop_assert_eq!(listing.addrs().len(), count.min(SLICES_MAX));
    }
}

//! The search for the cluster's CA by its pin.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bootstrap::kubeadm::CaPin;
use bootstrap::kubernetes::{CaFinder, ClusterCa};
use common::status::BackendState;
use common::{Member, MemberState, Membership, Source, Tasks};
use data_encoding::BASE64;
use serde_json::json;
use tokio::sync::watch;

use crate::stand_in::{Act, StandIn, tls};

/// The answer of an apiserver whose cluster has this CA.
fn cluster_info(ca: &str) -> Act {
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: '', cluster: {{server: 'https://lb:6443', \
         certificate-authority-data: {}}}}}]\n",
        BASE64.encode(ca.as_bytes())
    );
    let map = json!({"kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": "cluster-info"}, "data": {"kubeconfig": kubeconfig}});
    Act::Answer(200, map.to_string())
}

fn pin(ca: &str) -> CaPin {
    CaPin::of_bundle(ca.as_bytes()).unwrap()[0]
}

fn health(server: &StandIn, state: BackendState) -> Arc<Vec<MemberState>> {
    let (since, why) = (std::time::Instant::now(), String::new());
    Arc::new(vec![MemberState { name: "a".to_owned(), addr: server.addr, state, since, why }])
}

/// A search at work.
struct Search {
    pin: watch::Sender<Option<CaPin>>,
    health: watch::Sender<Arc<Vec<MemberState>>>,
    _members: watch::Sender<Arc<Membership>>,
    found: watch::Receiver<Option<Arc<ClusterCa>>>,
    tasks: Tasks,
}

impl Drop for Search {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Search {
    fn among(servers: &[&StandIn], wanted: CaPin, directory: Option<&Path>) -> Self {
        let member = |server: &&StandIn| Member {
            name: server.addr.to_string(),
            addr: server.addr,
            source: Source::Static,
        };
        let members = servers.iter().map(member).collect();
        let (pin, pin_feed) = watch::channel(Some(wanted));
        let (member_sender, members) =
            watch::channel(Arc::new(Membership { generation: 1, members }));
        let (health, health_feed) = watch::channel(Arc::default());
        let (found_sender, found) = watch::channel(None);
        let finder = CaFinder {
            pin: pin_feed,
            members,
            health: health_feed,
            directory: directory.map(Path::to_owned),
            found: found_sender,
        };
        let tasks = Tasks::new();
        tasks.spawn_until_stopped("finder", finder.run());
        Self { pin, health, _members: member_sender, found, tasks }
    }

    async fn found(&mut self, wanted: CaPin) -> ClusterCa {
        let wait = self.found.wait_for(|found| found.as_ref().is_some_and(|ca| ca.pin == wanted));
        let found = tokio::time::timeout(Duration::from_secs(20), wait).await;
        let found = found.expect("not found within 20 s").unwrap().clone();
        found.unwrap().as_ref().clone()
    }
}

#[tokio::test]
async fn the_whole_bundle_is_trusted_and_kept() {
    let (ca, config) = tls("kubernetes");
    let (next, _) = tls("kubernetes-next");
    let bundle = format!("{next}{ca}");
    let answer = cluster_info(&bundle);
    let server = StandIn::with(ca.clone(), config, move |_, _| answer.clone()).await;
    let directory = tempfile::tempdir().unwrap();
    let wanted = pin(&ca);
    let mut search = Search::among(&[&server], wanted, Some(directory.path()));
    let found = search.found(wanted).await;
    assert_eq!(found.pem, bundle.as_bytes());
    let path = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    assert_eq!(server.calls(), [path, path], "asked twice, without credentials");
    assert_eq!(ClusterCa::kept(directory.path(), wanted), Some(found));
    assert_eq!(ClusterCa::kept(directory.path(), pin(&tls("other").0)), None);
}

/// A stranger between us and the master knows the CA, which is public, and adds its own.
#[tokio::test]
async fn a_strangers_ca_is_not_taken_along() {
    let (ca, _) = tls("kubernetes");
    let (evil, config) = tls("evil");
    let answer = cluster_info(&format!("{ca}{evil}"));
    let server = StandIn::with(evil.clone(), config, move |_, _| answer.clone()).await;
    let wanted = pin(&ca);
    let mut search = Search::among(&[&server], wanted, None);
    let found = search.found(wanted).await;
    assert_eq!(CaPin::of_bundle(&found.pem).unwrap(), [wanted]);
}

#[tokio::test]
async fn another_member_is_asked_and_a_later_time_is_good_too() {
    let (ca, config) = tls("kubernetes");
    let answer = cluster_info(&ca);
    let silent = StandIn::start(|_, _| Act::Answer(403, "{}".to_owned())).await;
    let starting = StandIn::with(ca.clone(), config, move |_, before| match before {
        0 => Act::Answer(404, r#"{"code":404,"reason":"NotFound","message":"no"}"#.to_owned()),
        _ => answer.clone(),
    })
    .await;
    let wanted = pin(&ca);
    let mut search = Search::among(&[&silent, &starting], wanted, None);
    assert_eq!(search.found(wanted).await.pem, ca.as_bytes());
    assert!(starting.calls().len() >= 3 && !silent.calls().is_empty());
}

#[tokio::test]
async fn another_clusters_ca_is_not_found_until_the_pin_is_right() {
    let (ca, config) = tls("kubernetes");
    let answer = cluster_info(&ca);
    let server = StandIn::with(ca.clone(), config, move |_, _| answer.clone()).await;
    let wrong = pin(&tls("other").0);
    let mut search = Search::among(&[&server], wrong, None);
    while server.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A change of health is a reason to ask again at once.
    search.health.send_replace(health(&server, BackendState::Up));
    while server.calls().len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(*search.found.borrow(), None);
    let wanted = pin(&ca);
    search.pin.send_replace(Some(wanted));
    search.found(wanted).await;
    search.pin.send_replace(None);
    let gone = search.found.wait_for(Option::is_none);
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap().unwrap();
}

/// The new CA comes beside the old one; the first master with a certificate of it is given up.
#[tokio::test]
async fn a_member_that_is_given_up_may_be_of_a_new_ca() {
    let (ca, config) = tls("kubernetes");
    let (next, _) = tls("kubernetes-next");
    let bundle = format!("{ca}{next}");
    let (before, after) = (cluster_info(&ca), cluster_info(&bundle));
    let server = StandIn::with(ca.clone(), config, move |_, calls| match calls {
        0..2 => before.clone(),
        2..4 => after.clone(),
        _ => before.clone(),
    })
    .await;
    let wanted = pin(&ca);
    let mut search = Search::among(&[&server], wanted, None);
    assert_eq!(search.found(wanted).await.pem, ca.as_bytes());
    search.health.send_replace(health(&server, BackendState::Dead));
    let both =
        search.found.wait_for(|found| found.as_ref().is_some_and(|ca| ca.pem == bundle.as_bytes()));
    tokio::time::timeout(Duration::from_secs(20), both).await.unwrap().unwrap();
    search.health.send_replace(health(&server, BackendState::Up));
    tokio::time::sleep(Duration::from_millis(50)).await;
    search.health.send_replace(health(&server, BackendState::Dead));
    while server.calls().len() < 6 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        search.found(wanted).await.pem,
        bundle.as_bytes(),
        "an older answer takes nothing back"
    );
}

//! Masters that the cluster itself names, and a cluster that is known by the pin of its CA.

use std::net::SocketAddr;
use std::path::Path;

use common::Source;
use common::status::BackendState;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::cluster_api;
use crate::giver::hand_over;
use crate::master::Master;
use crate::pki::Pki;
use crate::support::command::{MAINSTAY, run};
use crate::support::{Balancer, Setup, until};

fn addrs(masters: &[Master]) -> Vec<SocketAddr> {
    masters.iter().map(|master| master.addr).collect()
}

/// The pin of a cluster's CA, computed without the code under test.
fn pin(pki: &Pki) -> String {
    let der = CertificateDer::from_pem_file(pki.ca()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let sum = digest(&SHA256, certificate.public_key().raw);
    format!("sha256:{}", HEXLOWER.encode(sum.as_ref()))
}

/// A configuration that names one master and how to ask the cluster.
fn watching(pki: &Pki, master: &Master) -> String {
    format!(
        "backends = [\"{}\"]\n[kubernetes]\nkubeconfig = \"{}\"\n",
        master.addr,
        cluster_api::kubeconfig(pki.dir()).display()
    )
}

fn source(balancer: &Balancer, master: &Master) -> Option<Source> {
    balancer.row(master.addr).map(|row| row.source)
}

#[test]
fn masters_are_found_in_the_cluster_and_remembered() {
    let pki = Pki::new();
    let mut masters = [(); 3].map(|()| Master::new(&pki));
    cluster_api::list(pki.dir(), &addrs(&masters[..2]));
    let state = tempfile::tempdir().unwrap();
    let config = watching(&pki, &masters[0]);
    let setup = |config: &str| {
        Setup::default().cluster_ca(&pki.ca()).state_dir(state.path()).config(config)
    };
    let balancer = setup(&config).start();
    balancer.until_state(masters[1].addr, BackendState::Up);
    assert_eq!(source(&balancer, &masters[0]), Some(Source::Static));
    assert_eq!(source(&balancer, &masters[1]), Some(Source::Kubernetes));

    cluster_api::list(pki.dir(), &addrs(&masters));
    balancer.until_state(masters[2].addr, BackendState::Up);
    until("its metrics tell", || balancer.metric("mainstay_kubernetes_listed") > 2.9);

    // Dropped by the cluster while it serves: it stays. Dead as well: it goes.
    cluster_api::list(pki.dir(), &addrs(&masters[..2]));
    until("the cluster drops it", || balancer.metric("mainstay_kubernetes_listed") < 2.1);
    assert_eq!(balancer.row(masters[2].addr).unwrap().state, BackendState::Up);
    masters[2].crash();
    until("who is dead and not listed goes", || balancer.row(masters[2].addr).is_none());

    // A cluster that forgot itself takes nobody out.
    cluster_api::list(pki.dir(), &[]);
    until("it lists nobody", || balancer.metric("mainstay_kubernetes_listed") < 0.5);
    assert_eq!(balancer.row(masters[1].addr).unwrap().state, BackendState::Up);
    let file = state.path().join("members.json");
    let remembered = |master: &Master| {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains(&master.addr.to_string()))
    };
    until("one of them is remembered", || remembered(&masters[1]) && !remembered(&masters[2]));
    drop(balancer);

    // Everything is down, and nothing is configured any more.
    masters[1].crash();
    let balancer = setup("").down(&[masters[1].addr]).start();
    assert_eq!(source(&balancer, &masters[1]), Some(Source::Remembered));
    assert!(source(&balancer, &masters[0]).is_none(), "the configuration is its memory");
    masters[1].start(&pki);
    balancer.until_state(masters[1].addr, BackendState::Up);
}

/// The disk keeps nothing and the cluster does not answer: the old process knows them.
#[test]
fn masters_of_the_cluster_go_over_to_a_new_process() {
    let pki = Pki::new();
    let masters = [(); 2].map(|()| Master::new(&pki));
    cluster_api::list(pki.dir(), &addrs(&masters));
    let state = tempfile::tempdir().unwrap();
    let setup = Setup::default().cluster_ca(&pki.ca()).state_dir(state.path());
    let balancer = setup.config(watching(&pki, &masters[0])).start();
    balancer.until_state(masters[1].addr, BackendState::Up);
    std::fs::write(pki.dir().join("apiservers.json"), "no list").unwrap();
    until("the cluster does not answer", || balancer.status().kubernetes.error.is_some());
    let file = state.path().join("members.json");
    until("they are saved", || file.exists());
    std::fs::write(&file, "lost").unwrap();

    hand_over(&balancer);
    let (first, second) = (source(&balancer, &masters[0]), source(&balancer, &masters[1]));
    assert_eq!((first, second), (Some(Source::Static), Some(Source::Remembered)));
    assert_eq!(balancer.row(masters[1].addr).unwrap().state, BackendState::Up);
}

/// What `mainstay status` and the status page say of the cluster's own list.
fn screens(balancer: &Balancer) -> [String; 2] {
    let mut command = std::process::Command::new(MAINSTAY);
    command.args(["status", "--admin", &format!("unix:{}", balancer.admin.display())]);
    let table = run(command).out;
    let line = table.lines().find_map(|line| line.strip_prefix("kubernetes "));
    let page = balancer.ask("GET", "/").body;
    let drawn = page.split("<dd id=\"kubernetes\" class=\"small\">").nth(1).unwrap();
    [line.unwrap_or_default(), drawn.split("</dd>").next().unwrap()].map(str::to_owned)
}

#[test]
fn the_clusters_list_is_seen_on_every_screen() {
    let pki = Pki::new();
    let masters = [(); 2].map(|()| Master::new(&pki));
    cluster_api::list(pki.dir(), &addrs(&masters));
    let setup = Setup::default().cluster_ca(&pki.ca());
    let balancer = setup.config(watching(&pki, &masters[0])).start();
    let known = || balancer.status().kubernetes;
    let mut listed: Vec<String> = addrs(&masters).iter().map(ToString::to_string).collect();
    listed.sort();
    until("it is connected", || known().connected);
    let first = known();
    assert!(first.on && first.since_seconds.is_some() && first.answered_seconds_ago.is_some());
    assert_eq!((first.api.as_deref(), &first.listed), (Some("discovery.k8s.io/v1"), &listed));
    let all = format!("lists {}", listed.join(" "));
    let connected = |text: &String| text.starts_with("connected for ") && text.ends_with(&all);
    until("the screens say so", || screens(&balancer).iter().all(connected));

    // It begins to speak nonsense, and recovers.
    std::fs::write(pki.dir().join("apiservers.json"), "no list").unwrap();
    until("it fails", || known().error.is_some_and(|error| error.contains("answer")));
    let failing = known();
    assert!(!failing.connected && failing.failures_total > 0);
    assert_eq!(failing.listed, listed, "what it listed stays");
    let broken = |text: &String| text.starts_with("not connected for ") && text.contains(": ");
    until("the screens say that", || screens(&balancer).iter().all(broken));
    cluster_api::list(pki.dir(), &addrs(&masters));
    until("it is connected again", || known().connected && known().error.is_none());

    // Without credentials it is off, and `mainstay status` has no line.
    balancer.reload(&format!("backends = [\"{}\"]\n", masters[0].addr), "applied");
    until("it is off", || !known().on);
    assert_eq!(screens(&balancer), ["", "off: no credentials"]);
}

#[test]
fn a_damaged_memory_does_not_keep_it_from_starting() {
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("members.json"), "{\"version\":1,").unwrap();
    let balancer = Setup::default().state_dir(state.path()).start();
    assert!(balancer.status().backends.is_empty());
    assert!(balancer.log().contains("members.json is damaged at line 1"), "{}", balancer.log());
    assert!(state.path().join("members.json.damaged").exists());
}

fn pinned(masters: &[Master], pin: &str) -> String {
    let backends: Vec<String> = addrs(masters).iter().map(ToString::to_string).collect();
    format!("backends = {backends:?}\n[cluster]\nca_pin = \"{pin}\"\n")
}

#[test]
fn a_pin_is_enough_to_tell_masters_from_strangers() {
    let (pki, other) = (Pki::new(), Pki::new());
    let masters = [Master::new(&pki), Master::new(&pki), Master::new(&other)];
    let state = tempfile::tempdir().unwrap();
    let config = pinned(&masters, &pin(&pki));
    let setup = || Setup::default().https().state_dir(state.path()).config(&config);
    let balancer = setup().down(&addrs(&masters)).start();
    balancer.until_state(masters[0].addr, BackendState::Up);
    balancer.until_state(masters[1].addr, BackendState::Up);
    balancer.until_state(masters[2].addr, BackendState::Dead);
    assert!(balancer.metric("mainstay_cluster_identified") > 0.5);
    let kept = std::fs::read(state.path().join("cluster-ca.crt")).unwrap();
    let kept = CertificateDer::from_pem_slice(&kept).unwrap();
    assert_eq!(kept, CertificateDer::from_pem_file(pki.ca()).unwrap());
    drop(balancer);
    // The next run knows it before it has asked anybody.
    let balancer = setup().down(&addrs(&masters)).start();
    assert!(balancer.metric("mainstay_cluster_identified") > 0.5);
    balancer.until_state(masters[2].addr, BackendState::Dead);
    balancer.until_state(masters[1].addr, BackendState::Up);
}

#[test]
fn with_a_wrong_pin_only_a_first_master_is_let_in() {
    let (pki, other) = (Pki::new(), Pki::new());
    let masters = [Master::new(&pki), Master::new(&pki)];
    let (right, wrong) = (pin(&pki), pin(&other));
    let setup = Setup::default().https().config(pinned(&masters, &wrong));
    let balancer = setup.down(&addrs(&masters)).start();
    let up = || {
        let rows = balancer.status().backends.into_iter();
        rows.filter(|row| row.state == BackendState::Up).count()
    };
    until("the first one is let in", || up() == 1);
    let said = format!("has the CA {right}, but the pin is {wrong}");
    until("both pins are told", || balancer.log().contains(&said));
    assert_eq!(up(), 1);
    assert!(balancer.metric("mainstay_cluster_identified") < 0.5);
    let pending = balancer.status().backends.into_iter().find(|row| row.state != BackendState::Up);
    let pending = pending.unwrap();
    assert_eq!(pending.state, BackendState::Pending);
    assert_eq!(pending.why, "it answered, but the cluster's CA is not known yet");

    balancer.reload(&pinned(&masters, &right), "applied");
    until("the right pin lets both in", || up() == 2);
    assert!(balancer.metric("mainstay_cluster_identified") > 0.5);
    balancer.reload(&pinned(&masters, "sha256:12"), "refused");
}

#[test]
fn a_pin_and_a_ca_must_fit() {
    let (pki, other) = (Pki::new(), Pki::new());
    let master = [Master::new(&pki)];
    let balancer = Setup::default().cluster_ca(&pki.ca()).config(pinned(&master, &pin(&pki)));
    let balancer = balancer.start();
    balancer.reload(&pinned(&master, &pin(&other)), "refused");
    let said = format!("cluster.ca_pin: is {}, but cluster.ca has {}", pin(&other), pin(&pki));
    assert!(balancer.log().contains(&said), "{}", balancer.log());
    assert!(!Path::new("/var/lib/mainstay/cluster-ca.crt").exists());
}

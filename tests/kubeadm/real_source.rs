//! The watch of the apiservers, against a real one: what it lists becomes members of the running
//! balancer, read with the credentials of the observer and nothing more.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bootstrap::cluster::{Access, Cluster, observer_kubeconfig};
use bootstrap::kubeadm::PkiDirectory;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::lab::mainstay;
use crate::real_apiserver::{RealApiserver, Running};

/// Longest wait for something that the balancer should learn.
const LIMIT: Duration = Duration::from_secs(40);

/// Addresses for documentation, where there are no masters.
const MASTERS: [(&str, &str); 2] = [("first", "192.0.2.1"), ("second", "192.0.2.2")];

pub(crate) fn the_cluster_names_its_masters(server: &RealApiserver) {
    if server.kubectl("version --client").is_none() {
        println!("skipped: no kubectl, so nobody lists masters");
        return;
    }
    server.lab.file("observer.conf", observer(server));
    for (name, address) in MASTERS {
        list(server, name, address);
    }
    let (_balancer, admin) = balancer(server);
    let [first, second] = MASTERS.map(|(_, address)| format!("{address}:6443"));
    until(&admin, "both are members", |status| {
        is_member(status, &first) && is_member(status, &second)
    });
    until(&admin, "the screen says so", |status| {
        let listed = status["kubernetes"]["listed"].as_array().unwrap();
        status["kubernetes"]["connected"] == true && listed.contains(&json!(first))
    });
    server.kubectl("delete endpointslice second -n default");
    until(&admin, "who is not listed and never served goes", |status| {
        is_member(status, &first) && !is_member(status, &second)
    });
    // The observer may look at this and at nothing else.
    let ran = server.mainstay_as("observer.conf", "certs show").run();
    assert_eq!(ran.code, 77, "{ran:?}");
    server.kubectl("delete endpointslice first -n default");
}

/// The observer's kubeconfig, as a master makes it.
fn observer(server: &RealApiserver) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pki = server.lab.path("observer-pki");
    std::fs::create_dir(&pki).unwrap();
    for file in ["ca.crt", "ca.key"] {
        std::fs::copy(server.lab.path(file), pki.join(file)).unwrap();
    }
    runtime.block_on(async {
        let access = Access::load(&[server.lab.path("admin.conf")]).unwrap();
        let url = access.server().to_owned();
        let cluster = Cluster::connect(access).unwrap();
        let pki = PkiDirectory::stacked(pki);
        // Twice, since an agent does it again and again.
        observer_kubeconfig(&cluster, &pki, &url, Timestamp::now()).await.unwrap();
        observer_kubeconfig(&cluster, &pki, &url, Timestamp::now()).await.unwrap().to_string()
    })
}

/// A running balancer in front of the apiserver, and where it answers.
fn balancer(server: &RealApiserver) -> (Running, String) {
    let lab = &server.lab;
    let config = format!(
        "listen = [\"127.0.0.1:0\"]\nbackends = [\"{}\"]\n[cluster]\nca = {:?}\n\
         [kubernetes]\nkubeconfig = {:?}\n[join]\nlisten = \"off\"\n",
        server.address(),
        lab.path("ca.crt"),
        lab.path("observer.conf"),
    );
    let config = lab.file("mainstay.toml", config);
    let admin = format!("unix:{}", lab.path("admin.sock").display());
    let child = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(["serve", "--admin", &admin, "--config"])
        .arg(config)
        .arg("--state-dir")
        .arg(lab.path("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(lab.path("balancer.log")).unwrap())
        .spawn();
    (Running(child.unwrap()), admin)
}

fn until(admin: &str, what: &str, holds: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let said = mainstay(["status", "-o", "json", "--admin", admin]).run().stdout;
        if serde_json::from_str(&said).is_ok_and(|status: Value| holds(&status)) {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "not in time: {what}: {said}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn is_member(status: &Value, address: &str) -> bool {
    status["backends"].as_array().unwrap().iter().any(|row| row["addr"] == address)
}

/// Lists one more master.
fn list(server: &RealApiserver, name: &str, address: &str) {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    });
    let file = server.lab.file(&format!("{name}.json"), slice.to_string());
    server.kubectl(&format!("apply -f {}", file.display()));
}

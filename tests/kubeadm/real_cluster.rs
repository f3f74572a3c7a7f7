//! The whole story against a real kube-apiserver; says that it was skipped where there is none.

use std::time::{Duration, Instant};

use bootstrap::kubeadm::{List, Role, Secret, TokenSecret};
use serde_json::{Value, json};

use crate::lab::{CLUSTERS, Ran, TRANSFERRED, fixture, mainstay};
use crate::real_apiserver::{RealApiserver, assets};
use crate::real_source;

/// One cluster for all, since a start takes seconds.
#[test]
fn a_real_apiserver_takes_what_we_write() {
    let Some(assets) = assets() else { return };
    let server = RealApiserver::start(&assets);
    nobody_may_read(&server);
    nothing_is_there(&server);
    let first = upload(&server);
    comes_back_the_same(&server);
    kubectl_reads_it(&server);
    joiners_may_read(&server);
    a_second_upload_replaces(&server, &first);
    tokens_come_and_go(&server);
    one_command_for_a_master(&server);
    real_source::the_cluster_names_its_masters(&server);
    an_upload_ends(&server, &assets);
}

/// Runs until it ends well; what the apiserver knows from a watch comes a moment later.
fn eventually(limit: Duration, run: impl Fn() -> Ran, good: impl Fn(&Ran) -> bool) -> Ran {
    let begun = Instant::now();
    loop {
        let ran = run();
        if good(&ran) {
            return ran;
        }
        assert!(begun.elapsed() < limit, "{ran:?}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn nobody_may_read(server: &RealApiserver) {
    let ran = server.mainstay_as("anonymous.conf", "certs show").run();
    assert_eq!((ran.code, ran.stdout.as_str()), (77, ""), "{ran:?}");
    assert!(ran.stderr.contains("User \"system:anonymous\" cannot get resource"), "{ran:?}");
}

fn nothing_is_there(server: &RealApiserver) {
    let ran = server.mainstay("certs show").run();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("\"kubeadm-certs\" was not found"), "{ran:?}");
    assert_eq!(server.mainstay("token list").output(), "");
}

/// Uploads a captured master's files and gives the key.
fn upload(server: &RealApiserver) -> String {
    let ran = server
        .mainstay("certs upload --print-key --certificate-dir")
        .arg(server.lab.pki(CLUSTERS[1]))
        .run();
    assert_eq!(ran.code, 0, "{ran:?}");
    server.lab.file("certs.key", &ran.stdout);
    ran.stdout
}

fn comes_back_the_same(server: &RealApiserver) {
    let show = server
        .mainstay("certs show --certificate-key-file")
        .arg(server.lab.path("certs.key"))
        .output();
    assert_eq!(show.matches("  good\n").count(), 8, "{show}");
    assert!(show.contains(": lives until 20"), "{show}");
    let ran = server
        .mainstay("certs download --force --certificate-key-file")
        .arg(server.lab.path("certs.key"))
        .arg("--certificate-dir")
        .arg(server.lab.path("new"))
        .run();
    assert_eq!(ran.code, 0, "{ran:?}");
    for file in TRANSFERRED {
        let theirs = fixture(CLUSTERS[1]).join("pki-master0").join(file);
        let ours = std::fs::read(server.lab.path("new").join(file)).unwrap();
        assert!(ours == std::fs::read(theirs).unwrap(), "{file}");
    }
}

fn kubectl_reads_it(server: &RealApiserver) {
    let read = |what: &str| server.kubectl(&format!("get {what} -n kube-system -o json"));
    let Some(secret) = read("secret kubeadm-certs") else {
        println!("no kubectl, so it was not asked");
        return;
    };
    let secret: Value = serde_json::from_str(&secret).unwrap();
    assert_eq!(secret["type"], "Opaque");
    let owner = &secret["metadata"]["ownerReferences"][0];
    let name = owner["name"].as_str().unwrap();
    let token = read(&format!("secret {name}")).unwrap();
    let token: Value = serde_json::from_str(&token).unwrap();
    assert_eq!(owner["uid"], token["metadata"]["uid"]);
    assert_eq!(token["type"], "bootstrap.kubernetes.io/token");
    let role = read("role kubeadm:kubeadm-certs").unwrap();
    let role: Role = serde_json::from_str(&role).unwrap();
    assert_eq!(role.rules[0].resource_names, ["kubeadm-certs"]);
    // What kubectl saves, we read.
    let saved = server.lab.file(
        "saved.yaml",
        server.kubectl("get secret kubeadm-certs -n kube-system -o yaml").unwrap(),
    );
    let shown = mainstay(["certs", "show", "--certificate-key-file"])
        .arg(server.lab.path("certs.key"))
        .arg("--secret-file")
        .arg(saved)
        .output();
    assert_eq!(shown.matches("  good\n").count(), 8, "{shown}");
}

/// A token of ours logs in, and the rule of the upload lets it read the Secret and nothing else.
fn joiners_may_read(server: &RealApiserver) {
    let token = server.mainstay("token create --ttl 10m").output();
    let text = std::fs::read_to_string(server.lab.path("anonymous.conf")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim_end()});
    server.lab.file("joiner.conf", config.to_string());
    let show = || {
        server
            .mainstay_as("joiner.conf", "certs show --certificate-key-file")
            .arg(server.lab.path("certs.key"))
            .run()
    };
    let show = eventually(Duration::from_secs(20), show, |ran| ran.code == 0).stdout;
    assert!(show.contains(": not known (no right to look at it)"), "{show}");
    assert_eq!(server.mainstay_as("joiner.conf", "token list").run().code, 77);
    let id = &token[..6];
    let gone = server.mainstay(&format!("token delete {id}")).output();
    assert_eq!(gone, format!("bootstrap token \"{id}\" deleted\n"));
}

fn a_second_upload_replaces(server: &RealApiserver, first: &str) {
    assert_ne!(upload(server), first);
    comes_back_the_same(server);
    let old = server.lab.file("old.key", first);
    let ran = server.mainstay("certs show --certificate-key-file").arg(old).run();
    assert!(ran.stderr.contains("the certificate key does not open the Secret"), "{ran:?}");
}

fn tokens_come_and_go(server: &RealApiserver) {
    let created =
        server.mainstay("token create abcdef.0123456789abcdef --description mine").output();
    assert_eq!(created, "abcdef.0123456789abcdef\n");
    let again = server.mainstay("token create abcdef.0123456789abcdef").run();
    assert!(again.stderr.contains("a token with id \"abcdef\" already exists"), "{again:?}");
    let list = server.mainstay("token list").output();
    let row = list.lines().find(|row| row.starts_with("abcdef.")).unwrap();
    assert_eq!(row[26..29], *"23h");
    // Two uploads left two owner tokens, as kubeadm leaves them.
    assert_eq!(list.matches("Proxy for managing TTL for the kubeadm-certs secret").count(), 2);
    let gone = server.mainstay("token delete abcdef").output();
    assert_eq!(gone, "bootstrap token \"abcdef\" deleted\n");
    server.mainstay("token delete abcdef").run().refused(
        1,
        "failed to delete bootstrap token \"abcdef\": secrets \"bootstrap-token-abcdef\" not found",
    );
}

fn one_command_for_a_master(server: &RealApiserver) {
    if let Some(text) = server.kubectl("get secrets -n kube-system -o json") {
        let list: List<Secret> = List::parse(&text).unwrap();
        let tokens = list.items.iter().filter(|secret| TokenSecret::from_secret(secret).is_ok());
        assert_eq!(tokens.count(), 2);
    }
    let ran = server
        .mainstay("token create --print-join-command --control-plane --certificate-dir")
        .arg(server.lab.path("pki"))
        .run();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains(" --control-plane --certificate-key "), "{ran:?}");
}

/// With a controller manager the owner token is deleted at its end, and the Secret after it.
fn an_upload_ends(server: &RealApiserver, assets: &std::path::Path) {
    let Some(_manager) = server.controller_manager(assets) else {
        println!("skipped: no kube-controller-manager, so nothing is collected");
        return;
    };
    let ran = server
        .mainstay("certs upload --print-key --ttl 5s --certificate-dir")
        .arg(server.lab.path("pki"))
        .run();
    assert_eq!(ran.code, 0, "{ran:?}");
    let show = || server.mainstay("certs show").run();
    let gone = |ran: &Ran| ran.stderr.contains("\"kubeadm-certs\" was not found");
    eventually(Duration::from_secs(120), show, gone);
}

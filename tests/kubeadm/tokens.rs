//! `token create`, `list` and `delete`.

use bootstrap::kubeadm::{JoinCommand, JoinRole, Secret, TokenSecret};
use serde_json::{Value, json};

use crate::apiserver::{Apiserver, captured};
use crate::lab::{CLUSTERS, Lab, Ran, fixture_text};
use crate::store::failure;

const TOKEN: &str = "abcdef.0123456789abcdef";

fn run(server: &Apiserver, arguments: &str) -> Ran {
    server.mainstay(&Lab::new(), arguments).run()
}

/// The token of a call that created one.
fn created(server: &Apiserver, call: usize) -> TokenSecret {
    TokenSecret::from_secret(&Secret::parse(&server.body(call).to_string()).unwrap()).unwrap()
}

fn tokens(server: &Apiserver) -> Vec<String> {
    let names = server.secrets().into_keys();
    names.filter(|name| name.starts_with("bootstrap-token-")).collect()
}

#[test]
fn a_new_token_with_kubeadms_defaults() {
    let server = Apiserver::bare(CLUSTERS[0]);
    let ran = run(&server, "token create");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(server.calls(), ["POST ~"]);
    let token = created(&server, 0);
    assert_eq!(ran.stdout, format!("{}\n", *token.token.to_text()));

    // The same names and values as a token of kubeadm's.
    let list: Value =
        serde_json::from_str(&fixture_text("kubeadm-1.20/bootstrap-tokens.secretlist.json"))
            .unwrap();
    let mut theirs = list["items"][0].clone();
    let ours = server.body(0);
    for entry in ["expiration", "token-id", "token-secret"] {
        theirs["data"][entry] = ours["data"][entry].clone();
    }
    theirs["metadata"] = ours["metadata"].clone();
    assert_eq!(ours, theirs);
    let left = token.expiration.unwrap().at().duration_since(jiff::Timestamp::now());
    assert!((86_390..=86_400).contains(&left.as_secs()));
}

#[test]
fn a_token_as_wanted() {
    let server = Apiserver::bare(CLUSTERS[0]);
    let ran =
        run(&server, &format!("token create {TOKEN} --ttl 0 --usages signing --description mine"));
    assert_eq!(ran.stdout, format!("{TOKEN}\n"));
    let token = created(&server, 0);
    assert_eq!((token.expiration, token.description.as_str()), (None, "mine"));
    assert!(token.groups.is_empty(), "groups are for logging in");
    assert_eq!(token.usages.len(), 1);
    let ran = run(&server, "token create --groups system:bootstrappers:a,system:bootstrappers:b");
    assert_eq!(ran.code, 0);
    assert_eq!(created(&server, 1).groups, ["system:bootstrappers:a", "system:bootstrappers:b"]);
}

#[test]
fn a_token_from_standard_input() {
    let server = Apiserver::bare(CLUSTERS[0]);
    let lab = Lab::new();
    let ran = server.mainstay(&lab, "token create -").stdin(format!("{TOKEN}\n")).run();
    assert_eq!(ran.stdout, format!("{TOKEN}\n"));
}

#[test]
fn wrong_tokens_make_no_call() {
    let server = Apiserver::bare(CLUSTERS[0]);
    let table = [
        (
            "abcdef0123456789abcdef",
            "the token has no dot; it is 6 characters, a dot and 16 characters of a-z and 0-9",
        ),
        ("abcdef.0123456789abcde", "the secret of the token has 15 characters instead of 16"),
        (
            "abcdeF.0123456789abcdef",
            "the id of the token has a character other than a-z and 0-9 after its first 5",
        ),
        (
            "--usages signing --groups system:bootstrappers:a",
            "a token has groups only with the usage authentication",
        ),
        (
            "--groups admins",
            "group \"admins\" is not system:bootstrappers: followed by characters of a-z, 0-9, ':' and '-', the last of them a letter or digit",
        ),
        (
            "--certificate-dir /tmp",
            "--certificate-key-file and --certificate-dir are for --control-plane, which uploads the certificates; add it together with --print-join-command",
        ),
    ];
    for (arguments, sentence) in table {
        run(&server, &format!("token create {arguments}")).refused(64, sentence);
    }
    assert_eq!(run(&server, "token create --usages dancing").code, 64);
    assert_eq!(run(&server, "token create --control-plane").code, 64);
    assert_eq!(run(&server, "token create --ttl -1h").code, 64);
    assert!(server.calls().is_empty());
}

#[test]
fn a_token_that_exists() {
    let server = Apiserver::bare(CLUSTERS[0]);
    run(&server, &format!("token create {TOKEN}"));
    let ran = run(&server, &format!("token create {TOKEN}"));
    ran.refused(
        1,
        "a token with id \"abcdef\" already exists; delete it with `mainstay token delete abcdef` \
         or leave the token out to get a new one",
    );
    assert_eq!(server.calls(), ["POST ~", "POST ~"]);
}

#[test]
fn join_commands_like_kubeadms() {
    for (cluster, blanks) in [(CLUSTERS[0], "     "), (CLUSTERS[1], " ")] {
        let server = Apiserver::bare(cluster);
        let ran = run(&server, &format!("token create {TOKEN} --print-join-command"));
        let lab = Lab::new();
        let ca = lab.file("ca.crt", &server.ca_pem);
        let pin = crate::lab::mainstay(["ca-hash", "--ca"]).arg(ca).output();
        let expected = format!(
            "kubeadm join {} --token {TOKEN}{blanks}--discovery-token-ca-cert-hash {} \n",
            server.address(),
            pin.trim_end()
        );
        assert_eq!(ran.stdout, expected);
        assert_eq!(server.calls(), ["GET /version", "POST ~"]);
        // The same words as in the captured one.
        let words = |line: &str| {
            line.split_whitespace()
                .filter(|word| !word.contains([':', '.']))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let theirs = fixture_text(&format!("{cluster}/print-join-command.txt"));
        assert_eq!(words(&ran.stdout), words(&theirs));
    }
}

fn control_plane(server: &Apiserver, lab: &Lab) -> Ran {
    server
        .mainstay(lab, "token create --print-join-command --control-plane --certificate-dir")
        .arg(lab.pki(CLUSTERS[0]))
        .run()
}

#[test]
fn one_command_for_a_further_master() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    let ran = control_plane(&server, &lab);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        server.calls(),
        [
            "GET /version",
            "GET /api/v1/namespaces/kube-system/configmaps/kubeadm-config",
            "POST ~",
            "POST ~",
            "POST ~",
            "POST rbac/roles",
            "POST rbac/rolebindings",
        ]
    );
    let words: Vec<_> = ran.stdout.split_whitespace().collect();
    assert_eq!(words[7], "--control-plane", "{words:?}");
    assert_eq!(words[8], "--certificate-key");
    let key = words[9].parse().unwrap();
    assert!(!ran.stderr.contains(words[9]));
    let sealed = Secret::parse(&server.secrets()["kubeadm-certs"].to_string()).unwrap();
    let sealed = bootstrap::kubeadm::SealedCerts::from_secret(&sealed).unwrap();
    assert!(sealed.open(&key).is_ok());
    // Byte for byte what the library prints for this version.
    let token = created(&server, 2).token;
    let command = JoinCommand {
        address: &server.address(),
        token: &token,
        pins: &[words[6].parse().unwrap()],
        role: JoinRole::ControlPlane(&key),
    };
    let line = command.render(&"v1.20.2".parse().unwrap());
    assert_eq!(ran.stdout, format!("{}\n", *line));
}

#[test]
fn a_failed_upload_takes_the_token_back() {
    for call in 3..=6 {
        let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
        server.fail(call, captured("kubeadm-1.20/secret-anonymous-403.http"));
        let ran = control_plane(&server, &lab);
        assert_eq!((ran.code, ran.stdout.as_str()), (77, ""), "{ran:?}");
        assert_eq!(tokens(&server), Vec::<String>::new());
        assert_eq!(server.calls().last().unwrap(), "DELETE ~/bootstrap-token-ID");
    }
}

#[test]
fn no_endpoint_no_further_master() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    let config = "apiVersion: kubeadm.k8s.io/v1beta2\nkubernetesVersion: v1.20.2\n";
    server.put(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubeadm-config", "namespace": "kube-system"},
        "data": {"ClusterConfiguration": config},
    }));
    control_plane(&server, &lab).refused(
        1,
        "the cluster has no controlPlaneEndpoint, so no further master can join; set it in \
         kubeadm-config to the address of the balancer",
    );
    assert_eq!(server.calls().len(), 2);
}

/// A table without the cells of the TTL, which depend on the clock.
fn without_ttl(table: &str) -> Vec<String> {
    let cut = |line: &str| format!("{}{}", &line[..26], &line[38..]);
    table.lines().map(cut).collect()
}

#[test]
fn the_list_is_kubeadms() {
    for cluster in CLUSTERS {
        let server = Apiserver::bare(cluster);
        server.put_fixture(&format!("{cluster}/bootstrap-tokens.secretlist.json"));
        let ran = run(&server, "token list");
        let theirs = fixture_text(&format!("{cluster}/token-list.txt"));
        assert_eq!(without_ttl(&ran.stdout), without_ttl(&theirs));
        assert_eq!(server.calls(), ["GET ~?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken"]);
    }
    assert_eq!(run(&Apiserver::bare(CLUSTERS[0]), "token list").stdout, "");
}

#[test]
fn the_list_for_machines() {
    let server = Apiserver::bare(CLUSTERS[0]);
    server.put_fixture("kubeadm-1.20/bootstrap-tokens.secretlist.json");
    let expected = "\
{
    \"kind\": \"BootstrapToken\",
    \"apiVersion\": \"output.kubeadm.k8s.io/v1alpha3\",
    \"token\": \"s6vmfx.bhw0jtu0stx5sen5\",
    \"expires\": \"2026-11-23T21:11:17Z\",
    \"usages\": [
        \"authentication\",
        \"signing\"
    ],
    \"groups\": [
        \"system:bootstrappers:kubeadm:default-node-token\"
    ]
}
{
    \"kind\": \"BootstrapToken\",
    \"apiVersion\": \"output.kubeadm.k8s.io/v1alpha3\",
    \"token\": \"x10gwq.bwycqbnrbcxczhj7\",
    \"description\": \"Proxy for managing TTL for the kubeadm-certs secret\",
    \"expires\": \"2026-11-22T23:11:17Z\"
}
";
    assert_eq!(run(&server, "token list -o json").stdout, expected);
}

#[test]
fn a_broken_token_is_left_out() {
    let server = Apiserver::bare(CLUSTERS[0]);
    server.put_fixture("kubeadm-1.20/bootstrap-tokens.secretlist.json");
    server.put(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "bootstrap-token-broken", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {"token-id": "YnJva2Vu"},
    }));
    let ran = run(&server, "token list");
    assert_eq!(ran.stdout.lines().count(), 3);
    assert_eq!(
        ran.stderr,
        "mainstay: warning: left out: Secret \"bootstrap-token-broken\" has no entry \
         \"token-secret\"\n"
    );
}

#[test]
fn delete_by_id_and_by_token() {
    let server = Apiserver::bare(CLUSTERS[0]);
    server.put_fixture("kubeadm-1.20/bootstrap-tokens.secretlist.json");
    let ran = run(&server, "token delete s6vmfx x10gwq.0000000000000000");
    assert_eq!(
        ran.stdout,
        "bootstrap token \"s6vmfx\" deleted\nbootstrap token \"x10gwq\" deleted\n"
    );
    assert_eq!(server.calls(), ["DELETE ~/bootstrap-token-ID"; 2]);
    assert!(tokens(&server).is_empty());
}

#[test]
fn delete_stops_at_the_first_failure_in_kubeadms_words() {
    let server = Apiserver::bare(CLUSTERS[0]);
    let ran = run(&server, "token delete s6vmfx zzzzzz");
    let theirs = fixture_text("kubeadm-1.20/token-delete-missing.txt");
    ran.refused(1, theirs.lines().next().unwrap());
    assert_eq!(server.calls().len(), 1);
    server.fail(1, failure(503, "ServiceUnavailable", "not now"));
    assert_eq!(run(&server, "token delete s6vmfx").code, 75);
}

#[test]
fn delete_takes_no_other_text_and_does_not_show_it() {
    let server = Apiserver::bare(CLUSTERS[0]);
    for text in ["abcdef.0123456789abcdeF", "abc", "abcdef/../kubeadm-certs"] {
        let ran = run(&server, &format!("token delete {TOKEN} {text}"));
        ran.refused(
            64,
            r#"given token didn't match pattern "\A([a-z0-9]{6})\z" or "\A([a-z0-9]{6})\.([a-z0-9]{16})\z""#,
        );
    }
    assert_eq!(run(&server, "token delete").code, 64);
    assert!(server.calls().is_empty());
}

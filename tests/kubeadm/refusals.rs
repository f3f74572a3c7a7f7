//! Kubeconfigs that cannot be used, and apiservers that do not want to.

use serde_json::{Value, json};

use crate::apiserver::{Apiserver, captured};
use crate::lab::{CLUSTERS, Lab, Program, fixture_text, mainstay};
use crate::store::failure;

fn list(lab: &Lab, kubeconfig: &str) -> Program {
    let file = lab.file("some.conf", kubeconfig);
    mainstay(["token", "list", "--kubeconfig"]).arg(file)
}

/// The kubeconfig of an apiserver, changed.
fn changed(server: &Apiserver, lab: &Lab, change: impl Fn(&mut Value)) -> String {
    let text = std::fs::read_to_string(server.kubeconfig(lab)).unwrap();
    let mut config = serde_json::from_str(&text).unwrap();
    change(&mut config);
    config.to_string()
}

#[test]
fn wrong_credentials() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    let kubeconfig = server.kubeconfig_with(&lab, "an-old-token");
    let ran = mainstay(["token", "list", "--kubeconfig"]).arg(kubeconfig).run();
    ran.hides("an-old-token");
    ran.refused(
        77,
        &format!(
            "Unauthorized (401 from https://{}): the credentials are not accepted; a client \
             certificate may have expired, `kubeadm certs renew admin.conf` on a master makes a \
             new one",
            server.address()
        ),
    );
}

#[test]
fn no_rights() {
    for cluster in CLUSTERS {
        let (lab, server) = (Lab::new(), Apiserver::bare(cluster));
        server.fail(0, captured(&format!("{cluster}/secret-anonymous-403.http")));
        server.mainstay(&lab, "certs show").run().refused(
            77,
            "secrets \"kubeadm-certs\" is forbidden: User \"system:anonymous\" cannot get resource \
             \"secrets\" in API group \"\" in the namespace \"kube-system\"; use the kubeconfig of \
             an administrator, such as /etc/kubernetes/admin.conf of a master",
        );
    }
}

#[test]
fn busy_and_broken_apiservers() {
    for (code, reason) in [
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
    ] {
        let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
        server.fail(0, failure(code, reason, "not\nnow"));
        let sentence = format!("not now ({code} from https://{}); try again", server.address());
        server.mainstay(&lab, "token list").run().refused(75, &sentence);
        assert_eq!(server.calls().len(), 1, "nothing is repeated unasked");
    }
}

#[test]
fn another_server_at_that_address() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    let at = server.address();
    server.fail(0, (200, json!("bm90IGZvciBsb2dz")));
    let ran = server.mainstay(&lab, "certs show").run();
    ran.hides("bm90");
    ran.refused(
        1,
        &format!(
            "https://{at} gave an answer to /api/v1/namespaces/kube-system/secrets/kubeadm-certs \
             that cannot be read; is it a kube-apiserver?"
        ),
    );
    server.fail(1, (404, json!("page not found")));
    server.mainstay(&lab, "token delete abcdef").run().refused(
        1,
        &format!(
            "failed to delete bootstrap token \"abcdef\": the answer was 404 Not Found; is \
             https://{at} the address of a kube-apiserver?"
        ),
    );
}

#[test]
fn a_server_without_such_paths_has_no_empty_list() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    for command in ["token list", "certs show"] {
        server.fail(server.calls().len(), (404, json!("404 page not found")));
        let ran = server.mainstay(&lab, command).run();
        assert!(ran.stderr.contains("the address of a kube-apiserver?"), "{ran:?}");
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    }
}

/// What a login command prints is a credential, also when it fails.
#[test]
fn a_login_command_that_fails_is_not_quoted() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    let kubeconfig = changed(&server, &lab, |config| {
        config["users"][0]["user"] = json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "/bin/sh",
            "args": ["-c", "echo a-fresh-credential; exit 3"],
            "interactiveMode": "Never",
        }});
    });
    let ran = list(&lab, &kubeconfig).run();
    ran.hides("a-fresh-credential");
    assert!(ran.stderr.contains("for logging in does not work"), "{ran:?}");
    assert!(matches!(ran.code, 64 | 77), "{ran:?}");
}

#[test]
fn nobody_there() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("https://{free}");
    let kubeconfig = changed(&server, &lab, |config| {
        config["clusters"][0]["cluster"]["server"] = url.as_str().into();
    });
    list(&lab, &kubeconfig).run().refused(
        75,
        &format!(
            "cannot reach the apiserver at {url}: Connection refused; is it \
             running, and is its address right?"
        ),
    );
}

#[test]
fn a_ca_that_does_not_vouch_for_the_server() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    let other = Apiserver::bare(CLUSTERS[0]);
    let ca = data_encoding::BASE64.encode(other.ca_pem.as_bytes());
    let kubeconfig = changed(&server, &lab, |config| {
        config["clusters"][0]["cluster"]["certificate-authority-data"] = ca.as_str().into();
    });
    let ran = list(&lab, &kubeconfig).run();
    assert!(ran.stderr.starts_with(&format!(
        "mainstay: no trusted connection to the apiserver at https://{}: invalid peer certificate: ",
        server.address()
    )), "{ran:?}");
    assert!(ran.stderr.ends_with(
        "; the kubeconfig must name the CA of this cluster and an address that the apiserver's \
         certificate is valid for\n"
    ));
    assert_eq!(ran.code, 1);
}

#[test]
fn a_name_that_the_certificate_lacks() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    let url = format!("https://localhost:{}", server.address().rsplit_once(':').unwrap().1);
    let kubeconfig = changed(&server, &lab, |config| {
        config["clusters"][0]["cluster"]["server"] = url.as_str().into();
    });
    let ran = list(&lab, &kubeconfig).run();
    assert!(ran.stderr.contains("not valid for name"), "{ran:?}");
    assert_eq!(ran.code, 1);
}

#[test]
fn kubeconfigs_that_are_none() {
    let secret = "c2VjcmV0IG9mIHRoZSBrZXk=";
    let two = |context: &str| {
        format!(
            "current-context: {context}\ncontexts: [{{name: a, context: {{cluster: b}}}}]\nclusters: []\n"
        )
    };
    let table = [
        (
            format!("users: [{{user: {{client-key-data: {secret}"),
            "not a kubeconfig (line 1, column ",
        ),
        (two("x"), "it has no context of the name that current-context gives"),
        (two("a"), "it has no cluster of the name that its context gives"),
        (String::new(), "it has no context of the name that current-context gives"),
    ];
    for (text, reason) in table {
        let lab = Lab::new();
        let ran = list(&lab, &text).run();
        let start = format!("mainstay: kubeconfig {}: {reason}", lab.path("some.conf").display());
        assert!(ran.stderr.starts_with(&start), "{ran:?}");
        assert_eq!((ran.code, ran.stdout.as_str()), (64, ""));
        ran.hides(secret);
    }
}

#[test]
fn kubeconfigs_that_cannot_be_used() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    let base64 = |text: &str| Value::from(data_encoding::BASE64.encode(text.as_bytes()));
    let broken = changed(&server, &lab, |config| {
        let user = &mut config["users"][0]["user"];
        user["client-certificate-data"] = base64(&server.ca_pem);
        user["client-key-data"] = base64("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n");
    });
    let ran = list(&lab, &broken).run();
    ran.hides("c2VjcmV0");
    ran.refused(64, "the credentials of the kubeconfig cannot be used: client certificate or key are no PEM of a certificate and its key");
    let proxied = changed(&server, &lab, |config| {
        config["clusters"][0]["cluster"]["proxy-url"] = "http://proxy:3128".into();
    });
    list(&lab, &proxied).run().refused(64, &format!("kubeconfig {}: proxy-url is not supported; use a kubeconfig that names the apiserver directly", lab.path("some.conf").display()));
    let trusting = changed(&server, &lab, |config| {
        config["clusters"][0]["cluster"] = json!({"server": format!("https://{}", server.address()), "insecure-skip-tls-verify": true});
    });
    let file = lab.file("some.conf", trusting);
    mainstay(["token", "create", "--print-join-command", "--kubeconfig"]).arg(file).run().refused(
        1,
        "the kubeconfig names no CA of the cluster, so there is no hash for a join command",
    );
    assert!(server.calls().is_empty());
}

/// The RSA keys in PKCS#1 that kubeadm writes are good for logging in.
#[test]
fn client_certificates_of_kubeadm() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    let base64 = |name: &str| {
        let pem = fixture_text(&format!("kubeadm-1.20/pki-master0/{name}"));
        Value::from(data_encoding::BASE64.encode(pem.as_bytes()))
    };
    let kubeconfig = changed(&server, &lab, |config| {
        let user = &mut config["users"][0]["user"];
        user["client-certificate-data"] = base64("apiserver-kubelet-client.crt");
        user["client-key-data"] = base64("apiserver-kubelet-client.key");
    });
    list(&lab, &kubeconfig).output();
    assert_eq!(server.calls().len(), 1);
}

#[test]
fn where_a_kubeconfig_is_looked_for() {
    let (lab, server) = (Lab::new(), Apiserver::bare(CLUSTERS[0]));
    let file = server.kubeconfig(&lab).display().to_string();
    let missing = lab.path("missing").display().to_string();
    let plain = || mainstay(["token", "list"]).env("HTTPS_PROXY", "http://127.0.0.1:1");
    // Of several in KUBECONFIG those that exist are merged.
    plain().env("KUBECONFIG", format!("{missing}::{file}")).output();
    // Proxies of the environment are not used, so what is no URL is no matter.
    plain().env("KUBECONFIG", &file).env("HTTPS_PROXY", "no URL").output();
    // Then the home directory.
    std::fs::create_dir(lab.path(".kube")).unwrap();
    std::fs::copy(&file, lab.path(".kube/config")).unwrap();
    plain().env("HOME", lab.path("")).output();
    plain().env("HOME", lab.path("")).env("KUBECONFIG", "").output();
    assert_eq!(server.calls().len(), 4);
    // A file that is named must be there.
    mainstay(["token", "list", "--kubeconfig", &missing])
        .run()
        .refused(64, &format!("kubeconfig {missing}: cannot read it: No such file or directory"));
    if !std::path::Path::new("/etc/kubernetes/admin.conf").exists() {
        plain().env("KUBECONFIG", &missing).run().refused(64, &format!("there is no kubeconfig (looked at {missing}, /etc/kubernetes/admin.conf); give one with --kubeconfig"));
    }
}

#[test]
fn one_standard_input_for_one_file() {
    mainstay(["certs", "show", "--secret-file=-", "--certificate-key-file=-"])
        .run()
        .refused(64, "only one of the files can be `-`, the standard input");
}

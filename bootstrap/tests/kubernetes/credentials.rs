//! Kubeconfigs that come over the network.

use std::sync::Arc;

use bootstrap::cluster::Access;
use bootstrap::kubernetes::Credentials;
use serde_json::{Value, json};
use zeroize::Zeroizing;

fn kubeconfig() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {
            "server": "https://[fd00::10]:6443",
            "certificate-authority-data": data_encoding::BASE64.encode(ca().as_bytes()),
        }}],
        "contexts": [{"name": "o", "context": {"cluster": "c", "user": "o"}}],
        "current-context": "o",
        "users": [{"name": "o", "user": {"token": "secret-of-the-observer"}}],
    })
}

fn ca() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/vectors/ca-ec.crt");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn one_that_stands_alone_is_taken() {
    let access = Access::handed(&kubeconfig().to_string()).unwrap();
    assert_eq!(access.server(), "https://[fd00::10]:6443");
    assert_eq!(access.pins().unwrap().len(), 1);
}

#[test]
fn one_that_reaches_out_is_refused() {
    let table = [
        ("/clusters/0/cluster", "certificate-authority", json!("/etc/passwd")),
        ("/clusters/0/cluster", "insecure-skip-tls-verify", json!(true)),
        ("/clusters/0/cluster", "certificate-authority-data", Value::Null),
        ("/clusters/0/cluster", "proxy-url", json!("http://10.0.0.1:3128")),
        (
            "/users/0/user",
            "exec",
            json!({"command": "/bin/true", "apiVersion": "client.authentication.k8s.io/v1"}),
        ),
        ("/users/0/user", "auth-provider", json!({"name": "gcp", "config": {}})),
        ("/users/0/user", "tokenFile", json!("/etc/shadow")),
        ("/users/0/user", "client-certificate", json!("/etc/shadow")),
        ("/users/0/user", "client-key", json!("/etc/shadow")),
    ];
    for (place, name, value) in table {
        let mut config = kubeconfig();
        config.pointer_mut(place).unwrap()[name] = value;
        let error = Access::handed(&config.to_string()).err().unwrap_or_else(|| panic!("{name}"));
        let error = error.to_string();
        assert!(error.contains("handed over by a master"), "{error}");
        assert!(!error.contains("secret-of"), "{error}");
    }
    let long = "#".repeat(300 << 10);
    assert!(Access::handed(&long).err().unwrap().to_string().contains("longer than 256 KiB"));
    assert!(Access::handed("]").err().unwrap().to_string().contains("not a kubeconfig"));
}

#[test]
fn debug_shows_no_secret() {
    let text = Arc::new(Zeroizing::new(kubeconfig().to_string()));
    let shown = format!("{:?}", Credentials::Handed(text));
    assert_eq!(shown, "Handed");
}

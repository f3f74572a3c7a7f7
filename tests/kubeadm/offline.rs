//! `certs` without a cluster: new keys, and Secrets that were saved.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bootstrap::kubeadm::{CertEntry, CertSet, OsRandom, SealedCerts, Topology};
use serde_json::json;
use zeroize::Zeroizing;

use crate::lab::{CLUSTERS, Lab, TRANSFERRED, fixture, fixture_text, mainstay};

/// A certificate key that fits nothing.
const OTHER_KEY: &str = "e6a2eb8581237ab72a4f494f30285ec12a9694d750b9785706a83bfcbbbd2204";

fn secret(cluster: &str) -> String {
    let path = fixture(cluster).join("kubeadm-certs.secret.json");
    path.display().to_string()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_64_digits_and_new_each_time() {
    let keys = [(); 2].map(|()| mainstay(["certs", "key"]).output());
    assert_ne!(keys[0], keys[1]);
    for key in keys {
        assert_eq!(key.trim_end().len(), 64, "{key}");
        assert!(key.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}

#[test]
fn both_clusters_show_eight_good_entries() {
    let rows = [
        " ca.crt              CA certificate   1066  2036-11-19T21:11:02Z  good",
        " ca.key              private key      1675  -                     good",
        " front-proxy-ca.crt  CA certificate   1078  2036-11-19T21:11:03Z  good",
        " front-proxy-ca.key  private key      1675  -                     good",
        " sa.pub              public key        451  -                     good",
        " sa.key              private key      1679  -                     good",
        " etcd-ca.crt         CA certificate   1058  2036-11-19T21:11:03Z  good",
        " etcd-ca.key         private key      1679  -                     good",
    ];
    let expected = format!(
        "Secret kubeadm-certs in kube-system: 8 entries, stacked etcd\n\
         Owner bootstrap-token-x10gwq: not known (a saved Secret does not tell whether it is still \
         there)\n\n\
         \u{20}NAME                CONTENT         BYTES  ENDS                  STATE\n{}\n",
        rows.join("\n")
    );
    for cluster in CLUSTERS {
        let lab = Lab::new();
        let shown = mainstay(["certs", "show", "--secret-file", &secret(cluster)])
            .arg("--certificate-key-file")
            .arg(lab.key(cluster))
            .output();
        assert_eq!(shown.matches("  good\n").count(), 8, "{shown}");
        if cluster == "kubeadm-1.20" {
            assert_eq!(shown, expected);
        }
    }
}

#[test]
fn without_the_key_entries_are_only_counted() {
    let shown = mainstay(["certs", "show", "--secret-file", &secret(CLUSTERS[0])]).output();
    assert_eq!(shown.matches("  sealed\n").count(), 8, "{shown}");
    assert!(shown.contains(" ca.crt              CA certificate   1066  -     sealed\n"));
}

#[test]
fn a_secret_in_yaml_from_standard_input() {
    let json: serde_json::Value =
        serde_json::from_str(&fixture_text("kubeadm-1.20/kubeadm-certs.secret.json")).unwrap();
    let mut yaml =
        "kind: Secret\napiVersion: v1\nmetadata:\n  name: kubeadm-certs\ndata:\n".to_owned();
    for (name, value) in json["data"].as_object().unwrap() {
        yaml += &format!("  {name}: {}\n", value.as_str().unwrap());
    }
    let lab = Lab::new();
    let shown = mainstay(["certs", "show", "--secret-file", "-", "--certificate-key-file"])
        .arg(lab.key(CLUSTERS[0]))
        .stdin(yaml)
        .output();
    assert_eq!(shown.matches("  good\n").count(), 8, "{shown}");
    assert!(shown.contains("No owner: it stays until somebody deletes it\n"));
}

#[test]
fn download_restores_a_masters_files() {
    for cluster in CLUSTERS {
        let lab = Lab::new();
        let directory = lab.path("new");
        let download = || {
            mainstay(["certs", "download", "--secret-file", &secret(cluster)])
                .arg("--certificate-key-file")
                .arg(lab.key(cluster))
                .arg("--certificate-dir")
                .arg(&directory)
        };
        let written = download().output();
        assert_eq!(written.matches("written   /").count(), 8, "{written}");
        for file in TRANSFERRED {
            let ours = std::fs::read(directory.join(file)).unwrap();
            let theirs = std::fs::read(fixture(cluster).join("pki-master0").join(file)).unwrap();
            assert!(ours == theirs, "{cluster} {file}");
            let expected = if file.ends_with(".key") { 0o600 } else { 0o644 };
            assert_eq!(mode(&directory.join(file)), expected, "{file}");
        }
        assert_eq!(download().output().matches("unchanged /").count(), 8);

        std::fs::write(directory.join("sa.key"), "another key").unwrap();
        let path = directory.join("sa.key").display().to_string();
        download().run().refused(
            1,
            &format!(
                "already there with other content: {path}; nothing was written; give --force to \
                 replace them, or another directory"
            ),
        );
        let forced = download().arg("--force").output();
        assert_eq!(forced.matches("written   /").count(), 1, "{forced}");
    }
}

#[test]
fn the_key_can_come_from_standard_input() {
    let key = fixture_text("kubeadm-1.36/kubeadm-certs.key");
    let shown = mainstay(["certs", "show", "--secret-file", &secret(CLUSTERS[1])])
        .arg("--certificate-key-file=-")
        .stdin(key)
        .output();
    assert_eq!(shown.matches("  good\n").count(), 8, "{shown}");
}

#[test]
fn a_key_file_that_others_can_read_is_warned_about() {
    let lab = Lab::new();
    let key = lab.key(CLUSTERS[0]);
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let ran = mainstay(["certs", "show", "--secret-file", &secret(CLUSTERS[0])])
        .arg("--certificate-key-file")
        .arg(&key)
        .run();
    let key = key.display();
    assert_eq!(
        ran.stderr,
        format!(
            "mainstay: warning: {key} holds a secret and can be read by others; run `chmod 600 \
             {key}`\n"
        )
    );
    assert_eq!(ran.code, 0);
}

#[test]
fn wrong_keys_are_refused_without_showing_them() {
    let table = [
        (
            "",
            64,
            "the certificate key is empty; it is the 64 hexadecimal digits that the upload printed",
        ),
        (
            &OTHER_KEY[1..],
            64,
            "the certificate key has 63 hexadecimal digits, an odd number; one is missing or one too many (64 are expected)",
        ),
        (
            "masterjoin",
            64,
            "the certificate key holds U+006D at position 0, which is not a hexadecimal digit; it is written without prefix, blanks or line breaks",
        ),
        (
            &OTHER_KEY[2..],
            64,
            "the certificate key has 31 bytes; kubeadm's keys have 32 bytes (64 hexadecimal digits), before 1.29 also 16 or 24",
        ),
        (
            OTHER_KEY,
            1,
            "the certificate key does not open the Secret; each upload makes a new key, so use the one of the latest upload or upload again",
        ),
        (
            &OTHER_KEY[32..],
            1,
            "the certificate key does not open the Secret; each upload makes a new key, so use the one of the latest upload or upload again",
        ),
    ];
    for (key, code, sentence) in table {
        let lab = Lab::new();
        let file = lab.file("some.key", format!("{key}\n"));
        let ran = mainstay(["certs", "show", "--secret-file", &secret(CLUSTERS[0])])
            .arg("--certificate-key-file")
            .arg(&file)
            .run();
        let from = format!("--certificate-key-file {}: ", file.display());
        let prefix = if code == 64 { &from } else { "" };
        ran.refused(code, &format!("{prefix}{sentence}"));
        if !key.is_empty() {
            ran.hides(key);
        }
    }
}

#[test]
fn wrong_secrets_are_refused() {
    let whole: serde_json::Value =
        serde_json::from_str(&fixture_text("kubeadm-1.20/kubeadm-certs.secret.json")).unwrap();
    let change = |what: &dyn Fn(&mut serde_json::Value)| {
        let mut secret = whole.clone();
        what(&mut secret);
        secret.to_string()
    };
    let table = [
        (
            "no: [Secret".to_owned(),
            "the text is not a Secret in JSON or YAML (line 1, column 5); save it with `kubectl get -o json`",
        ),
        (
            change(&|secret| secret["kind"] = "ConfigMap".into()),
            "the object is not a Secret, its kind is \"ConfigMap\"; save it with `kubectl get -o json`",
        ),
        (
            change(&|secret| secret["metadata"]["name"] = "other".into()),
            "the Secret is \"other\", not \"kubeadm-certs\"",
        ),
        (
            change(&|secret| {
                secret["data"].as_object_mut().unwrap().remove("sa.key");
            }),
            "the Secret lacks sa.key, which a join with stacked etcd needs; upload again",
        ),
        (
            change(&|secret| {
                secret["data"]["note"] = "bm90IHNlYWxlZCBhdCBhbGwsIGp1c3QgYSBub3Rl".into();
            }),
            "the Secret has a foreign entry \"note\" that is not sealed with the certificate key; it makes every join fail, so remove it",
        ),
        (
            change(&|secret| secret["data"]["sa.pub"] = "AAAA".into()),
            "sa.pub cannot be opened, so no certificate is used: the value has 3 bytes, less than the 12 of a nonce; it was not sealed or is cut; upload again",
        ),
    ];
    for (text, sentence) in table {
        let lab = Lab::new();
        let file = lab.file("secret", text);
        let ran = mainstay(["certs", "show", "--certificate-key-file"])
            .arg(lab.key(CLUSTERS[0]))
            .arg("--secret-file")
            .arg(&file)
            .run();
        let prefix = format!("{}: ", file.display());
        let prefix = if sentence.ends_with("-o json`") { &prefix } else { "" };
        ran.refused(1, &format!("{prefix}{sentence}"));
    }
}

/// A Secret whose entries were swapped opens without fault; only its content tells.
#[test]
fn swapped_entries_are_found() {
    let mut secret: serde_json::Value =
        serde_json::from_str(&fixture_text("kubeadm-1.20/kubeadm-certs.secret.json")).unwrap();
    let data = secret["data"].as_object_mut().unwrap();
    let (ours, theirs) = (data["ca.key"].clone(), data["etcd-ca.key"].clone());
    data.insert("ca.key".into(), theirs);
    data.insert("etcd-ca.key".into(), ours);
    let lab = Lab::new();
    let file = lab.file("secret.json", secret.to_string());
    let ran = mainstay(["certs", "show", "--certificate-key-file"])
        .arg(lab.key(CLUSTERS[0]))
        .arg("--secret-file")
        .arg(file)
        .run();
    assert!(ran.stdout.contains("  ca.key does not belong to ca.crt\n"), "{ran:?}");
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stderr,
        "mainstay: not fit for a join: ca.key, etcd-ca.key; mend the files on a master and upload \
         again\n"
    );
}

/// `kubeadm-certs` of a cluster with external etcd, and its `kubeadm-config`.
fn external_etcd(lab: &Lab, key: &Path) -> (PathBuf, PathBuf) {
    let pki = fixture(CLUSTERS[0]).join("pki-master0");
    let read = |file: &str| Zeroizing::new(std::fs::read(pki.join(file)).unwrap());
    let files = Topology::External.entries().iter().map(|entry| {
        let file = match entry {
            CertEntry::ExternalEtcdCaCert => "etcd/ca.crt",
            CertEntry::ExternalEtcdCert => "apiserver-etcd-client.crt",
            CertEntry::ExternalEtcdKey => "apiserver-etcd-client.key",
            other => other.data_key(),
        };
        (*entry, read(file))
    });
    let certs = CertSet::new(Topology::External, files);
    let key = std::fs::read_to_string(key).unwrap().trim().parse().unwrap();
    let sealed = SealedCerts::seal(&certs, &key, &mut OsRandom).unwrap();
    let secret = serde_json::to_string(&sealed.to_secret(None)).unwrap();
    let at = |name: &str| lab.path(name).display().to_string();
    let config = format!(
        "apiVersion: kubeadm.k8s.io/v1beta2\nkubernetesVersion: v1.20.2\ncertificatesDir: {}\netcd: \
         {{external: {{caFile: {}, certFile: {}, keyFile: {}}}}}\n",
        at("new"),
        at("etcd.ca"),
        at("etcd.crt"),
        at("etcd.key")
    );
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "data": {"ClusterConfiguration": config},
    });
    (lab.file("secret.json", secret), lab.file("config.json", map.to_string()))
}

#[test]
fn the_files_of_an_external_etcd_go_where_the_configuration_says() {
    let lab = Lab::new();
    let key = lab.key(CLUSTERS[0]);
    let (secret, config) = external_etcd(&lab, &key);
    let download = || {
        mainstay(["certs", "download", "--certificate-key-file"])
            .arg(&key)
            .arg("--secret-file")
            .arg(&secret)
    };
    download().run().refused(
        64,
        "the paths of an external etcd's files stand in kubeadm-config, which was not given or may \
         not be read; save it with `kubectl get configmap kubeadm-config -n kube-system -o json` \
         and give it with --kubeadm-config-file, beside --secret-file",
    );
    let written = download().arg("--kubeadm-config-file").arg(config).output();
    assert_eq!(written.matches("written   /").count(), 9, "{written}");
    assert!(lab.path("new/sa.key").exists() && lab.path("etcd.ca").exists());
    assert_eq!(mode(&lab.path("etcd.key")), 0o600);
    assert_eq!(mode(&lab.path("etcd.crt")), 0o644);
}

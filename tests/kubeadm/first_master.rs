//! `ca-hash` and `kubeadm-config`: what one has before there is a cluster.

use crate::lab::{CLUSTERS, Lab, fixture, fixture_text, mainstay};

#[test]
fn hashes_of_one_ca_and_of_a_bundle() {
    let rsa = "sha256:ada2f777a4e07f31026439410783cab335e9b6c44d680e89fe4506064c732260\n";
    let ec = "sha256:c20951173bfdfb1be3ac74e76ab6d33961791df8b39e4b8a42fb3303c73c6681\n";
    let of = |file: &str| mainstay(["ca-hash", "--ca"]).arg(fixture("vectors").join(file));
    assert_eq!(of("ca-ec.crt").output(), ec);
    assert_eq!(of("ca-bundle.crt").output(), format!("{rsa}{ec}"));
    let stdin = mainstay(["ca-hash", "--ca=-"]).stdin(fixture_text("vectors/ca-rsa.crt"));
    assert_eq!(stdin.output(), rsa);
    let key = fixture("vectors").join("ca-ec.key").display().to_string();
    of("ca-ec.key").run().refused(1, &format!("{key}: there is no PEM certificate to pin"));
}

#[test]
fn the_hash_is_the_one_of_kubeadms_join_command() {
    for cluster in CLUSTERS {
        let ca = fixture(cluster).join("pki-master0/ca.crt");
        let pin = mainstay(["ca-hash", "--ca"]).arg(ca).output();
        let line = fixture_text(&format!("{cluster}/print-join-command.txt"));
        assert!(line.contains(pin.trim_end()));
    }
}

#[test]
fn a_configuration_for_each_kubeadm() {
    let of = |version: &str| {
        mainstay(["kubeadm-config", "--endpoint", "lb.example.com:6443"])
            .arg("--pod-subnet=192.168.0.0/16")
            .arg("--kubeadm-version")
            .arg(version)
            .output()
    };
    let expected = "\
apiVersion: kubeadm.k8s.io/v1beta2
kind: InitConfiguration
---
apiVersion: kubeadm.k8s.io/v1beta2
kind: ClusterConfiguration
kubernetesVersion: \"v1.20.2\"
controlPlaneEndpoint: \"lb.example.com:6443\"
networking:
  podSubnet: \"192.168.0.0/16\"
apiServer:
  certSANs:
  - \"lb.example.com\"
  extraArgs:
    goaway-chance: \"0.001\"
    shutdown-delay-duration: \"20s\"
";
    assert_eq!(of("v1.20.2"), expected);
    let newest = of("1.36");
    assert!(newest.contains("  extraArgs:\n  - name: goaway-chance\n    value: \"0.001\"\n"));
    for (version, api) in
        [("1.14", "v1beta1"), ("1.21", "v1beta2"), ("1.22", "v1beta3"), ("1.31", "v1beta4")]
    {
        assert!(of(version).contains(&format!("kubeadm.k8s.io/{api}\n")), "{version}");
    }
    assert!(!of("1.14").contains("extraArgs") && !of("1.17").contains("goaway"));
}

#[test]
fn wrong_configurations_are_refused() {
    let lab = Lab::new();
    let key = lab.key(CLUSTERS[0]).display().to_string();
    let table = [
        (
            "--kubeadm-version 1.13",
            "kubeadm before 1.14 cannot upload certificates and is not supported",
        ),
        (
            "--kubeadm-version 1.17 --goaway-chance 0.001",
            "kube-apiserver knows goaway-chance since 1.18; leave it out",
        ),
        (
            "--kubeadm-version 1.14 --shutdown-delay 5s",
            "kube-apiserver knows shutdown-delay-duration since 1.16; leave it out",
        ),
        (
            "--kubeadm-version 1.20 --shutdown-delay 30s",
            "the shutdown delay must be shorter than 30s, after which the static pod is killed",
        ),
        (
            "--kubeadm-version 1.14 --certificate-key-file KEY",
            "kubeadm 1.14 takes no certificate key from a file; leave it out and let kubeadm make one",
        ),
        ("", "cannot ask `kubeadm version`: No such file or directory; give --kubeadm-version"),
    ];
    for (arguments, sentence) in table {
        let arguments = arguments.replace("KEY", &key);
        mainstay(
            ["kubeadm-config", "--endpoint=10.0.0.1:6443"]
                .into_iter()
                .chain(arguments.split_whitespace()),
        )
        .run()
        .refused(64, sentence);
    }
}

//! `certs download` from a cluster.

use crate::apiserver::{Apiserver, captured};
use crate::lab::{CLUSTERS, Lab, Ran, TRANSFERRED, fixture};

fn download(server: &Apiserver, lab: &Lab, cluster: &str) -> Ran {
    server
        .mainstay(lab, "certs download --certificate-key-file")
        .arg(lab.key(cluster))
        .arg("--certificate-dir")
        .arg(lab.path("new"))
        .run()
}

#[test]
fn a_masters_files_from_the_cluster() {
    for cluster in CLUSTERS {
        let (lab, server) = (Lab::new(), Apiserver::of(cluster));
        server.put_fixture(&format!("{cluster}/kubeadm-certs.secret.json"));
        let ran = download(&server, &lab, cluster);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        for file in TRANSFERRED {
            let ours = std::fs::read(lab.path("new").join(file)).unwrap();
            let theirs = std::fs::read(fixture(cluster).join("pki-master0").join(file)).unwrap();
            assert!(ours == theirs, "{cluster} {file}");
        }
        assert_eq!(
            server.calls(),
            ["GET ~/kubeadm-certs", "GET /api/v1/namespaces/kube-system/configmaps/kubeadm-config",]
        );
    }
}

/// What was uploaded here comes back the same.
#[test]
fn up_and_down_again() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[1]));
    let up = server
        .mainstay(&lab, "certs upload --certificate-key-file")
        .arg(lab.key(CLUSTERS[1]))
        .arg("--certificate-dir")
        .arg(lab.pki(CLUSTERS[1]))
        .run();
    assert_eq!(up.code, 0, "{up:?}");
    assert_eq!(download(&server, &lab, CLUSTERS[1]).code, 0);
    for file in TRANSFERRED {
        let read = |place: &str| std::fs::read(lab.path(place).join(file)).unwrap();
        assert!(read("new") == read("pki"), "{file}");
    }
}

#[test]
fn a_wrong_key_writes_nothing() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    server.put_fixture("kubeadm-1.20/kubeadm-certs.secret.json");
    let ran = download(&server, &lab, CLUSTERS[1]);
    ran.refused(
        1,
        "the certificate key does not open the Secret; each upload makes a new key, so use the one \
         of the latest upload or upload again",
    );
    assert!(!lab.path("new").exists());
}

#[test]
fn no_right_to_read_it() {
    let (lab, server) = (Lab::new(), Apiserver::of(CLUSTERS[0]));
    server.fail(0, captured("kubeadm-1.36/secret-anonymous-403.http"));
    assert_eq!(download(&server, &lab, CLUSTERS[0]).code, 77);
}

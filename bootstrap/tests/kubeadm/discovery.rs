//! `cluster-info` of the captured clusters, and kubeconfigs.

use bootstrap::kubeadm::{
    Authority, CaPin, ClusterAccess, ClusterInfo, ClusterInfoError, ConfigMap, KubeconfigError,
    List, Secret, TokenSecret,
};

use crate::support::{CLUSTERS, bytes, kubectl_json, text};

fn config_map(cluster: &str) -> ConfigMap {
    ConfigMap::parse(&text(&format!("{cluster}/cluster-info.configmap.json"))).unwrap()
}

#[test]
fn every_captured_signature_verifies_and_is_made_again() {
    for cluster in CLUSTERS {
        let map = config_map(cluster);
        assert_eq!(kubectl_json(&map), text(&format!("{cluster}/cluster-info.configmap.json")));
        let info = ClusterInfo::from_config_map(&map).unwrap();
        let list: List<Secret> =
            List::parse(&text(&format!("{cluster}/bootstrap-tokens.secretlist.json"))).unwrap();
        let mut signed = 0;
        for secret in &list.items {
            let token = TokenSecret::from_secret(secret).unwrap();
            let (name, value) = ClusterInfo::sign(&token.token, &map.data["kubeconfig"]);
            if token.usages.is_empty() {
                let id = token.token.id().clone();
                assert_eq!(info.verify(&token.token), Err(ClusterInfoError::NotSigned { id }));
            } else {
                signed += 1;
                assert_eq!(info.verify(&token.token), Ok(()));
                assert_eq!(map.data[&name], value);
            }
        }
        assert_eq!(signed, map.data.len() - 1);
    }
}

#[test]
fn a_wrong_secret_is_not_taken() {
    let info = ClusterInfo::from_config_map(&config_map("kubeadm-1.20")).unwrap();
    let token = "s6vmfx.0123456789abcdef".parse().unwrap();
    assert!(matches!(info.verify(&token), Err(ClusterInfoError::BadSignature { .. })));
}

#[test]
fn server_and_ca_are_the_clusters() {
    for cluster in CLUSTERS {
        let info = ClusterInfo::from_config_map(&config_map(cluster)).unwrap();
        assert_eq!(info.access().server, "https://10.77.0.10:6443");
        assert_eq!(info.access().join_address(), "10.77.0.10:6443");
        let ca = bytes(&format!("{cluster}/pki-master0/ca.crt"));
        assert_eq!(info.access().authority, Some(Authority::Pem(ca.clone())));
        let pins = CaPin::of_bundle(&ca).unwrap();
        assert_eq!(info.pins().as_ref(), Ok(&pins));
        assert!(text(&format!("{cluster}/print-join-command.txt")).contains(&pins[0].to_string()));
    }
}

#[test]
fn any_pin_of_any_ca_will_do() {
    let bundle = CaPin::of_bundle(&bytes("vectors/ca-bundle.crt")).unwrap();
    let rsa = CaPin::of_bundle(&bytes("vectors/ca-rsa.crt")).unwrap();
    let ec = CaPin::of_bundle(&bytes("vectors/ca-ec.crt")).unwrap();
    assert!(CaPin::any_matches(&bundle, &ec) && CaPin::any_matches(&ec, &bundle));
    assert!(!CaPin::any_matches(&rsa, &ec) && !CaPin::any_matches(&rsa, &[]));
    let hex = &ec[0].to_string()[7..];
    for bad in ["", hex, "sha256:", "sha512:00", &format!("sha256:{hex}00"), "sha256:a:b"] {
        assert!(bad.parse::<CaPin>().is_err(), "{bad}");
    }
    assert!(CaPin::of_bundle(b"no PEM").is_err());
}

const ADMIN_CONF: &str = "
apiVersion: v1
kind: Config
clusters:
- name: other
  cluster: {server: 'https://other:6443'}
- name: kubernetes
  cluster: {server: 'https://[fd00::1]:6443', certificate-authority: pki/ca.crt}
contexts:
- name: admin@kubernetes
  context: {cluster: kubernetes, user: admin}
current-context: admin@kubernetes
users:
- name: admin
  user: {client-key-data: c2VjcmV0}
";

#[test]
fn the_current_context_decides() {
    let access = ClusterAccess::current(ADMIN_CONF).unwrap();
    assert_eq!(access.join_address(), "[fd00::1]:6443");
    assert_eq!(access.authority, Some(Authority::File("pki/ca.crt".into())));
    assert_eq!(ClusterAccess::only(ADMIN_CONF), Err(KubeconfigError::NotOne { found: 2 }));
    let other = ADMIN_CONF.replace("current-context: admin@kubernetes", "current-context: gone");
    assert_eq!(ClusterAccess::current(&other), Err(KubeconfigError::NoContext));
    let broken = ADMIN_CONF.replace("clusters:", "clusters: c2VjcmV0");
    let error = ClusterAccess::current(&broken).unwrap_err();
    assert!(matches!(error, KubeconfigError::Unreadable { .. }));
    assert!(!error.to_string().contains("c2VjcmV0"));
}

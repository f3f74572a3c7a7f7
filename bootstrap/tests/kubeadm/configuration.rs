//! `kubeadm-config` of the captured clusters, and configuration files for each kubeadm.

use std::time::Duration;

use bootstrap::kubeadm::{
    CertificateKey, ClusterConfigError, ClusterConfiguration, ConfigApi, ConfigFile,
    ConfigFileError, ConfigMap, ControlPlaneEndpoint, Etcd, ExternalEtcd, GoawayChance,
    KubernetesVersion, Networking, NodeOptions, PkiDirectory, Topology, VersionError,
};

use crate::support::text;

#[test]
fn the_captured_configurations_are_read() {
    for (cluster, version, api) in [
        ("kubeadm-1.20", "v1.20.2", ConfigApi::V1beta2),
        ("kubeadm-1.36", "v1.36.2", ConfigApi::V1beta4),
    ] {
        let map = ConfigMap::parse(&text(&format!("{cluster}/kubeadm-config.configmap.json")));
        let configuration = ClusterConfiguration::from_config_map(&map.unwrap()).unwrap();
        let expected = ClusterConfiguration {
            api,
            kubernetes_version: version.parse().unwrap(),
            cluster_name: "kubernetes".to_owned(),
            control_plane_endpoint: Some("10.77.0.10:6443".parse().unwrap()),
            certificates_dir: "/etc/kubernetes/pki".into(),
            cert_sans: vec!["10.77.0.10".to_owned()],
            etcd: Etcd::Local,
            networking: Networking {
                dns_domain: Some("cluster.local".to_owned()),
                pod_subnet: Some("192.168.0.0/16".to_owned()),
                service_subnet: Some("10.96.0.0/12".to_owned()),
            },
        };
        assert_eq!(configuration, expected);
        assert_eq!(PkiDirectory::of(&configuration).topology(), Topology::Stacked);
    }
}

#[test]
fn an_external_etcd_names_its_files() {
    let yaml = "
apiVersion: kubeadm.k8s.io/v1beta3
kubernetesVersion: v1.30.0
certificatesDir: /srv/pki
etcd:
  external:
    endpoints: [https://10.0.0.1:2379]
    caFile: /etc/etcd/ca.crt
    certFile: ''
";
    let configuration = ClusterConfiguration::parse(yaml).unwrap();
    let etcd = ExternalEtcd {
        endpoints: vec!["https://10.0.0.1:2379".to_owned()],
        ca_file: Some("/etc/etcd/ca.crt".into()),
        ..ExternalEtcd::default()
    };
    assert_eq!(configuration.etcd, Etcd::External(etcd));
    assert_eq!(configuration.control_plane_endpoint, None);
    let directory = PkiDirectory::of(&configuration);
    let paths = directory.topology().entries().iter().filter_map(|entry| directory.path(*entry));
    let paths: Vec<_> = paths.map(|path| path.display().to_string()).collect();
    assert_eq!(paths.len(), 7);
    assert!(paths.contains(&"/srv/pki/front-proxy-ca.key".to_owned()));
    assert!(paths.contains(&"/etc/etcd/ca.crt".to_owned()));
}

#[test]
fn another_format_is_named() {
    let error = ClusterConfiguration::parse("apiVersion: kubeadm.k8s.io/v1alpha3\n").unwrap_err();
    assert!(matches!(error, ClusterConfigError::UnknownApi { .. }));
    assert!(error.to_string().contains("v1alpha3"));
}

fn file<'a>(version: &str, key: Option<&'a CertificateKey>) -> ConfigFile<'a> {
    ConfigFile {
        kubeadm: version.parse().unwrap(),
        endpoint: "lb.example.com:6443".parse().unwrap(),
        node_name: None,
        node: NodeOptions::default(),
        cert_sans: vec!["10.0.0.10".to_owned(), "lb.example.com".to_owned()],
        networking: Networking {
            pod_subnet: Some("10.244.0.0/16".to_owned()),
            ..Networking::default()
        },
        advertise: Some("10.0.0.11".parse().unwrap()),
        bind_port: Some(6443),
        shutdown_delay: Some(Duration::from_secs(20)),
        goaway_chance: Some("0.001".parse().unwrap()),
        control_plane_timeout: Some(Duration::from_secs(240)),
        certificate_key: key,
    }
}

#[test]
fn runtime_and_patches_stand_where_each_format_has_them() {
    let node = NodeOptions { cri_socket: Some("unix:///run/c.sock".to_owned()), patches: None };
    let patched = NodeOptions { patches: Some("/etc/patches".to_owned()), ..node.clone() };
    for version in ["1.14", "1.20.2", "1.22", "1.36.2"] {
        let file = ConfigFile {
            node: node.clone(),
            shutdown_delay: None,
            goaway_chance: None,
            ..file(version, None)
        };
        let text = file.render().unwrap();
        let expected = "nodeRegistration:\n  criSocket: \"unix:///run/c.sock\"\nlocalAPI";
        assert!(text.contains(expected), "{version}: {}", *text);
        let file = ConfigFile { node: patched.clone(), ..file };
        if NodeOptions::has_patches(&file.kubeadm) {
            let text = file.render().unwrap();
            let expected = "c.sock\"\npatches:\n  directory: \"/etc/patches\"\nlocalAPI";
            assert!(text.contains(expected), "{version}: {}", *text);
        } else {
            assert_eq!(file.render().unwrap_err(), ConfigFileError::NoPatches, "{version}");
        }
    }
}

const V1BETA4: &str = r#"apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
certificateKey: "0000000000000000000000000000000000000000000000000000000000000000"
localAPIEndpoint:
  advertiseAddress: "10.0.0.11"
  bindPort: 6443
timeouts:
  controlPlaneComponentHealthCheck: 4m0s
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: "v1.36.2"
controlPlaneEndpoint: "lb.example.com:6443"
networking:
  podSubnet: "10.244.0.0/16"
apiServer:
  certSANs:
  - "lb.example.com"
  - "10.0.0.10"
  extraArgs:
  - name: goaway-chance
    value: "0.001"
  - name: shutdown-delay-duration
    value: "20s"
"#;

#[test]
fn v1beta4_has_lists_and_timeouts() {
    let key = "0".repeat(64).parse().unwrap();
    let rendered = file("1.36.2", Some(&key)).render().unwrap();
    assert_eq!(rendered.as_str(), V1BETA4);
}

#[test]
fn v1beta2_and_v1beta3_have_maps() {
    let key = "0".repeat(64).parse().unwrap();
    let older = V1BETA4
        .replace("timeouts:\n  controlPlaneComponentHealthCheck: 4m0s\n", "")
        .replace("  - name: goaway-chance\n    value: ", "    goaway-chance: ")
        .replace("  - name: shutdown-delay-duration\n    value: ", "    shutdown-delay-duration: ")
        + "  timeoutForControlPlane: 4m0s\n";
    for (version, api) in [("1.20.2", "v1beta2"), ("1.22.0", "v1beta3"), ("1.30.1", "v1beta3")] {
        let rendered = file(version, Some(&key)).render().unwrap();
        let expected = older.replace("v1beta4", api).replace("v1.36.2", &format!("v{version}"));
        assert_eq!(rendered.as_str(), expected);
    }
}

#[test]
fn every_format_is_read_back() {
    for version in ["1.14", "1.15.3", "1.19.0", "1.21.1", "1.26.0", "1.31.0", "1.36.2", "2.0.0"] {
        let version: KubernetesVersion = version.parse().unwrap();
        let mut file = file("1.36.2", None);
        file.goaway_chance = file.goaway_chance.filter(|_| version.is_at_least(18));
        file.shutdown_delay = file.shutdown_delay.filter(|_| version.is_at_least(16));
        file.kubeadm = version.clone();
        let rendered = file.render().unwrap();
        let (_, cluster) = rendered.split_once("---\n").unwrap();
        let cluster = if version.patch.is_some() {
            cluster.to_owned()
        } else {
            assert!(!cluster.contains("kubernetesVersion"));
            format!("{cluster}kubernetesVersion: v1.14.10\n")
        };
        let read = ClusterConfiguration::parse(&cluster).unwrap();
        assert_eq!(Ok(read.api), version.config_api());
        assert_eq!(read.control_plane_endpoint.as_ref(), Some(&file.endpoint));
        assert_eq!(read.cert_sans, ["lb.example.com", "10.0.0.10"]);
        assert_eq!(read.networking, file.networking);
    }
}

#[test]
fn what_a_version_lacks_is_refused() {
    let key = CertificateKey::generate(&mut bootstrap::kubeadm::OsRandom).unwrap();
    let render = |version: &str, change: &dyn Fn(&mut ConfigFile<'_>)| {
        let mut file = file(version, Some(&key));
        change(&mut file);
        file.render().map(|_| ()).unwrap_err()
    };
    assert_eq!(render("1.13.1", &|_| ()), ConfigFileError::Version(VersionError::TooOld));
    assert_eq!(render("1.17.0", &|_| ()), ConfigFileError::NoGoaway);
    assert_eq!(
        render("1.15.0", &|file| file.goaway_chance = None),
        ConfigFileError::NoShutdownDelay
    );
    let neither = |file: &mut ConfigFile<'_>| {
        file.goaway_chance = None;
        file.shutdown_delay = None;
    };
    assert_eq!(render("1.14.0", &neither), ConfigFileError::NoCertificateKey);
    let long = |file: &mut ConfigFile<'_>| file.shutdown_delay = Some(Duration::from_secs(30));
    assert_eq!(render("1.36.0", &long), ConfigFileError::ShutdownDelay);
    for bad in ["", "-0.001", "0.021", "NaN", "often"] {
        assert_eq!(bad.parse::<GoawayChance>(), Err(ConfigFileError::GoawayChance));
    }
}

#[test]
fn endpoints_are_read_as_kubeadm_reads_them() {
    for (text, host, port) in [
        ("10.0.0.10:6443", "10.0.0.10", Some(6443)),
        ("10.0.0.10", "10.0.0.10", None),
        ("lb.example.com:443", "lb.example.com", Some(443)),
        ("[fd00::1]:6443", "fd00::1", Some(6443)),
        ("fd00::1", "fd00::1", None),
    ] {
        let endpoint: ControlPlaneEndpoint = text.parse().unwrap();
        assert_eq!((endpoint.host(), endpoint.port()), (host, port));
        assert_eq!(endpoint.to_string(), text);
    }
    for bad in
        ["", ":6443", "LB:6443", "lb:0", "lb:65536", "lb:", "-lb:1", "[lb]:1", "https://lb:1"]
    {
        assert!(bad.parse::<ControlPlaneEndpoint>().is_err(), "{bad}");
    }
}

#[test]
fn versions_are_read_and_written() {
    for text in ["v1.20.2", "v1.14", "v1.36.0-rc.1+build"] {
        assert_eq!(text.parse::<KubernetesVersion>().unwrap().to_string(), text);
    }
    for bad in ["", "1", "v1.x", "1.20.", "1.+20", "1.20.2 "] {
        assert!(bad.parse::<KubernetesVersion>().is_err(), "{bad}");
    }
    let flags = |text: &str| {
        let version: KubernetesVersion = text.parse().unwrap();
        (version.upload_certs_flag(), version.silent_key_flag(), version.control_plane_flag())
    };
    let old = ("--experimental-upload-certs", None, "--experimental-control-plane");
    assert_eq!(flags("1.14"), old);
    let silent = Some("--skip-certificate-key-print");
    assert_eq!(flags("1.15"), ("--upload-certs", silent, "--control-plane"));
}

//! The stand-in of kubeadm. It checks its arguments and its configuration file as strictly as the
//! real one, makes the files in the real one's order, and does over the network what the real one
//! does: waits for the control plane through the balancer, reads `kubeadm-certs` with its token and
//! opens it with the certificate key, registers and marks its Node. It can be told to fail or to
//! hang at the end of any phase.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bootstrap::kubeadm::{CaPin, CertificateKey, PkiDirectory, SealedCerts, Secret, WriteMode};
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::administrator::{Api, config_map};
use crate::apiserver::{ADMIN, kubeconfig};
use crate::{authority, https};

/// Names the directory of the machine.
pub(crate) const MACHINE: &str = "STAND_IN_MACHINE";

/// Holds the arguments, one a line.
pub(crate) const ARGUMENTS: &str = "STAND_IN_ARGUMENTS";

/// How long it waits for the control plane; the real one waits 4 minutes.
pub(crate) const CONTROL_PLANE: Duration = Duration::from_secs(30);

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const CONFIG_MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
const PUBLIC: &str = "/api/v1/namespaces/kube-public/configmaps";

/// The script that stands as `kubeadm` on a machine.
pub(crate) fn script(machine: &Path, version: &str) -> String {
    let me = std::env::current_exe().unwrap();
    let (me, machine) = (me.display(), machine.display());
    format!(
        "[ \"$1\" = version ] && {{ [ \"$2 $3\" = '-o short' ] && echo {version}; exit; }}\n\
         export {MACHINE}='{machine}'\n\
         {ARGUMENTS}=\"$(printf '%s\\n' \"$@\")\"\nexport {ARGUMENTS}\n\
         exec '{me}' kubeadm::stand_in --exact --ignored --nocapture"
    )
}

/// No test: kubeadm, if the environment asks for it.
#[test]
#[ignore = "the process of a stand-in kubeadm, started by mainstay"]
fn stand_in() {
    let Some(machine) = std::env::var_os(MACHINE) else { return };
    let arguments = std::env::var(ARGUMENTS).unwrap();
    let arguments: Vec<String> = arguments.lines().map(str::to_owned).collect();
    let machine = Machine::at(machine.into());
    machine.log(&arguments.join(" "));
    fs::write(machine.dir.join("pid"), std::process::id().to_string()).unwrap();
    match arguments[0].as_str() {
        "init" => machine.init(&arguments),
        "join" => machine.join(&arguments),
        "reset" => machine.reset(&arguments),
        other => panic!("unknown command {other}"),
    }
}

struct Machine {
    dir: PathBuf,
    kubernetes: PathBuf,
    minor: u32,
}

/// What a run was told, by flags or by file.
#[derive(Default)]
struct Told {
    endpoint: Option<SocketAddr>,
    advertise: Option<IpAddr>,
    port: u16,
    name: String,
    token: String,
    pins: Vec<CaPin>,
    key: Option<CertificateKey>,
}

impl Machine {
    fn at(dir: PathBuf) -> Self {
        let version = fs::read_to_string(dir.join("version")).unwrap();
        let minor = version.split('.').nth(1).unwrap().parse().unwrap();
        Self { kubernetes: dir.join("kubernetes"), dir, minor }
    }

    /// A note for the test.
    fn log(&self, text: &str) {
        let path = self.dir.join("kubeadm.log");
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, format!("{before}{text}\n")).unwrap();
    }

    /// A point at which the test may make it fail or hang.
    fn point(&self, name: &str) {
        fs::write(self.dir.join("at"), name).unwrap();
        let wish = fs::read_to_string(self.dir.join("wish")).unwrap_or_default();
        if wish == format!("fail {name}") {
            eprintln!("error execution phase {name}: as wished");
            panic!("{name}");
        }
        while fs::read_to_string(self.dir.join("wish")).unwrap_or_default()
            == format!("hang {name}")
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The format that this version reads.
    fn api(&self) -> &'static str {
        match self.minor {
            14 => "kubeadm.k8s.io/v1beta1",
            15..22 => "kubeadm.k8s.io/v1beta2",
            22..31 => "kubeadm.k8s.io/v1beta3",
            _ => "kubeadm.k8s.io/v1beta4",
        }
    }

    /// Flags that may stand beside `--config`: a directory of patches in 1.19 to 1.21 only.
    fn beside_file(&self, flags: &[String]) {
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            match flag.as_str() {
                "--experimental-patches" if (19..22).contains(&self.minor) => {
                    self.log(&format!("patches {}", flags.next().unwrap()));
                }
                _ if flag.starts_with("--ignore-preflight-errors") => {}
                _ if flag.starts_with("--skip-") => {}
                _ => panic!("can not mix '--config' with arguments [{flag}]"),
            }
        }
    }

    /// Whether the key of a CA is elsewhere.
    fn is_external(&self, name: &str) -> bool {
        let there = |end| self.kubernetes.join(format!("pki/{name}.{end}")).exists();
        there("crt") && !there("key")
    }

    /// Notes the settings that are not in every file.
    fn note_node(&self, text: &str) {
        for (field, needs) in [("criSocket", 14), ("directory", 22)] {
            if text.contains(&format!("  {field}: ")) {
                assert!(self.minor >= needs, "unknown field {field}: {text}");
                self.log(&format!("{field} {}", value(text, field)));
            }
        }
    }

    fn preflight(&self) {
        for file in ["admin.conf", "kubelet.conf", "manifests/kube-apiserver.yaml"] {
            assert!(!self.kubernetes.join(file).exists(), "[ERROR FileAvailable] {file} exists");
        }
    }

    fn init(&self, arguments: &[String]) {
        let upload =
            if self.minor == 14 { "--experimental-upload-certs" } else { "--upload-certs" };
        assert_eq!(arguments[1], "--config");
        let external = self.is_external("ca") || self.is_external("front-proxy-ca");
        let uploads = arguments.get(3).is_some_and(|flag| flag == upload);
        assert!(uploads != external, "can't use upload-certs with an external CA: {arguments:?}");
        self.beside_file(&arguments[3 + usize::from(uploads)..]);
        let told = self.init_file(Path::new(&arguments[2]));
        self.point("preflight");
        let pki = self.kubernetes.join("pki");
        let endpoint = told.endpoint.unwrap();
        if self.is_external("ca") {
            for file in ["pki/apiserver.crt", "admin.conf", "kubelet.conf"] {
                assert!(self.kubernetes.join(file).exists(), "{file} is missing");
            }
        } else {
            self.preflight();
            authority::create(&pki);
            authority::serve(&pki, &[told.advertise.unwrap(), endpoint.ip()]);
        }
        self.point("certs");
        for name in ["admin.conf", "kubelet.conf"] {
            if !self.is_external("ca") {
                self.kubeconfig(name, endpoint);
            }
        }
        self.point("kubeconfig");
        self.manifest();
        self.point("control-plane");
        self.etcd();
        let ca = fs::read_to_string(pki.join("ca.crt")).unwrap();
        self.wait(endpoint, &ca);
        self.point("wait-control-plane");
        let api = Api { endpoint, ca: &ca };
        self.upload_config(&api);
        self.point("upload-config");
        api.register(&told.name);
        api.mark(&told.name, self.minor);
        self.point("mark-control-plane");
        self.cluster_info(&api);
        self.point("cluster-info");
        self.readers(&api);
        self.point("bootstrap-token");
        for (kind, name) in [("Deployment", "coredns"), ("DaemonSet", "kube-proxy")] {
            create(&api, "apps/v1", kind, "kube-system", name);
        }
        self.point("end");
        println!("Your Kubernetes control-plane has initialized successfully!");
    }

    fn init_file(&self, path: &Path) -> Told {
        let text = fs::read_to_string(path).unwrap();
        let mut told = Told::default();
        for (kind, document) in
            ["InitConfiguration", "ClusterConfiguration"].iter().zip(text.split("---\n"))
        {
            assert!(
                document.starts_with(&format!("apiVersion: {}\nkind: {kind}\n", self.api())),
                "{text}"
            );
        }
        told.read(&text);
        self.note_node(&text);
        told.endpoint = Some(value(&text, "controlPlaneEndpoint").parse().unwrap());
        assert!(text.contains(&format!("- \"{}\"", told.endpoint.unwrap().ip())), "a SAN: {text}");
        assert_eq!(text.contains("goaway-chance"), self.minor >= 18);
        told
    }

    fn join(&self, arguments: &[String]) {
        let told =
            if self.minor == 14 { self.join_flags(arguments) } else { self.join_file(arguments) };
        self.point("preflight");
        self.preflight();
        let arg = told.endpoint.unwrap();
        // Discovery: nothing is believed until the pin says so.
        let (code, info) =
            https::ask(arg, None, None, ("GET", &format!("{PUBLIC}/cluster-info")), None).unwrap();
        assert_eq!(code, 200);
        let info: Value =
            serde_json::from_str(info["data"]["kubeconfig"].as_str().unwrap()).unwrap();
        let cluster = &info["clusters"][0]["cluster"];
        let ca = cluster["certificate-authority-data"].as_str().unwrap();
        let ca = String::from_utf8(BASE64.decode(ca.as_bytes()).unwrap()).unwrap();
        let cas = CaPin::of_bundle(ca.as_bytes()).unwrap();
        // Up to 1.21 kubeadm looks at the first pin only.
        assert!(CaPin::any_matches(&cas, &told.pins[..1]), "the pin is of another CA");
        let server = cluster["server"].as_str().unwrap().strip_prefix("https://").unwrap();
        let endpoint: SocketAddr = server.parse().unwrap();
        self.download(endpoint, &ca, &told);
        self.point("download-certs");
        let pki = self.kubernetes.join("pki");
        authority::serve(&pki, &[told.advertise.unwrap(), endpoint.ip()]);
        self.kubeconfig("admin.conf", endpoint);
        self.manifest();
        self.point("control-plane");
        self.unready(endpoint, &ca, &told);
        let etcd_first = self.minor >= 33;
        if etcd_first {
            self.etcd();
        }
        // It comes with the kubelet's certificate.
        self.kubeconfig("kubelet.conf", endpoint);
        let api = Api { endpoint, ca: &ca };
        api.register(&told.name);
        self.point("kubelet-start");
        if !etcd_first {
            self.etcd();
        }
        api.mark(&told.name, self.minor);
        self.point("mark-control-plane");
        self.log(&format!("joined as {} on {}", told.name, told.port));
        self.point("end");
    }

    fn join_file(&self, arguments: &[String]) -> Told {
        assert_eq!(arguments[1], "--config");
        self.beside_file(&arguments[3..]);
        let path = Path::new(&arguments[2]);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(path).unwrap();
        let begin = format!("apiVersion: {}\nkind: JoinConfiguration\n", self.api());
        assert!(text.starts_with(&begin), "{text}");
        let mut told = Told::default();
        told.read(&text);
        self.note_node(&text);
        told.endpoint = Some(value(&text, "apiServerEndpoint").parse().unwrap());
        told.token = value(&text, "token");
        told.key = Some(value(&text, "certificateKey").parse().unwrap());
        let pins = text.lines().filter_map(|line| line.trim().strip_prefix("- \"sha256:"));
        told.pins = pins
            .map(|pin| format!("sha256:{}", pin.trim_end_matches('"')).parse().unwrap())
            .collect();
        told
    }

    fn join_flags(&self, arguments: &[String]) -> Told {
        let after = |flag: &str| {
            let at = arguments.iter().position(|it| it == flag).unwrap_or_else(|| panic!("{flag}"));
            arguments[at + 1].clone()
        };
        assert!(arguments.contains(&"--experimental-control-plane".to_owned()));
        Told {
            endpoint: Some(arguments[1].parse().unwrap()),
            advertise: Some(after("--apiserver-advertise-address").parse().unwrap()),
            port: after("--apiserver-bind-port").parse().unwrap(),
            name: after("--node-name"),
            token: after("--token"),
            pins: vec![after("--discovery-token-ca-cert-hash").parse().unwrap()],
            key: Some(after("--certificate-key").parse().unwrap()),
        }
    }

    /// Requests 3 and 6 of a join: once each, without a retry.
    fn download(&self, endpoint: SocketAddr, ca: &str, told: &Told) {
        let get = |path: String| {
            let answer = https::ask(endpoint, Some(ca), Some(&told.token), ("GET", &path), None);
            let (code, object) = answer.unwrap_or_else(|| panic!("no answer to {path}"));
            assert_eq!(code, 200, "{path}: {object}");
            object
        };
        get(format!("{CONFIG_MAPS}/kubeadm-config"));
        let secret: Secret =
            serde_json::from_value(get(format!("{SECRETS}/kubeadm-certs"))).unwrap();
        let sealed = SealedCerts::from_secret(&secret).unwrap();
        let certs = sealed.open(told.key.as_ref().unwrap()).unwrap();
        let pki = PkiDirectory::stacked(self.kubernetes.join("pki"));
        pki.write(&certs, WriteMode::Force).unwrap();
    }

    /// Request 9 of a join, from 1.18 on: no machine takes the place of one that runs.
    fn unready(&self, endpoint: SocketAddr, ca: &str, told: &Told) {
        let call = ("GET", &*format!("/api/v1/nodes/{}", told.name));
        let (code, node) = https::ask(endpoint, Some(ca), Some(&told.token), call, None).unwrap();
        assert!(matches!(code, 200 | 404), "{}: {code}", call.1);
        let ready = node["status"]["conditions"][0]["status"] == "True";
        assert!(!ready || self.minor < 18, "a Node {} with status Ready exists", told.name);
    }

    fn kubeconfig(&self, name: &str, endpoint: SocketAddr) {
        let content = kubeconfig(&self.kubernetes.join("pki/ca.crt"), endpoint, ADMIN);
        authority::write(&self.kubernetes.join(name), &content);
    }

    /// No run's is like another's: kubelet starts a pod anew when its manifest changes.
    fn manifest(&self) {
        let pod = format!("a pod of {}\n", std::process::id());
        authority::write(&self.kubernetes.join("manifests/kube-apiserver.yaml"), &pod);
    }

    /// A join does that when the cluster has the new member.
    fn etcd(&self) {
        authority::write(&self.kubernetes.join("manifests/etcd.yaml"), "a pod of etcd\n");
        self.point("etcd");
    }

    /// kubeadm up to 1.34 waits for its apiserver through the balancer.
    fn wait(&self, endpoint: SocketAddr, ca: &str) {
        let begun = Instant::now();
        let path = ("GET", "/healthz");
        while https::ask(endpoint, Some(ca), None, path, None).is_none_or(|(code, _)| code != 200) {
            assert!(begun.elapsed() < CONTROL_PLANE, "the control plane does not answer");
            std::thread::sleep(Duration::from_millis(500));
        }
        self.log(&format!("waited {} ms", begun.elapsed().as_millis()));
    }

    fn upload_config(&self, api: &Api) {
        let config = format!(
            "apiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\nkubernetesVersion: \
             v1.20.2\ncontrolPlaneEndpoint: {}\netcd:\n  local:\n    dataDir: /var/lib/etcd\n",
            api.endpoint
        );
        let data = json!({ "ClusterConfiguration": config });
        api.create(CONFIG_MAPS, &config_map("kube-system", "kubeadm-config", &data));
    }

    /// Those of `cluster-info`.
    fn readers(&self, api: &Api) {
        let (group, name) =
            ("rbac.authorization.k8s.io/v1", "kubeadm:bootstrap-signer-clusterinfo");
        create(api, group, "RoleBinding", "kube-public", name);
    }

    /// With the token's phase, all but the last.
    fn cluster_info(&self, api: &Api) {
        let info = kubeconfig(&self.kubernetes.join("pki/ca.crt"), api.endpoint, "nobody");
        let data = json!({ "kubeconfig": info });
        api.create(PUBLIC, &config_map("kube-public", "cluster-info", &data));
    }

    fn reset(&self, arguments: &[String]) {
        assert_eq!(&arguments[..2], ["reset", "--force"]);
        assert!(arguments.len() == 2 || arguments[2] == "--cri-socket", "{arguments:?}");
        fs::remove_dir_all(&self.kubernetes).unwrap();
        fs::create_dir(&self.kubernetes).unwrap();
    }
}

impl Told {
    /// What all files have.
    fn read(&mut self, text: &str) {
        assert!(text.contains("nodeRegistration:\n  name: "), "{text}");
        self.name = value(text, "name");
        self.advertise = Some(value(text, "advertiseAddress").parse().unwrap());
        self.port = value(text, "bindPort").parse().unwrap();
    }
}

/// An object of which nobody asks more than whether it is there.
fn create(api: &Api, group: &str, kind: &str, namespace: &str, name: &str) {
    let metadata = json!({ "name": name, "namespace": namespace });
    let object = json!({ "apiVersion": group, "kind": kind, "metadata": metadata });
    let plural = kind.to_lowercase() + "s";
    api.create(&format!("/apis/{group}/namespaces/{namespace}/{plural}"), &object);
}

/// The value of the first field of this name.
fn value(text: &str, name: &str) -> String {
    let lines = text.lines().map(str::trim);
    let mut values = lines.filter_map(|line| line.strip_prefix(&format!("{name}: ")));
    values.next().unwrap_or_else(|| panic!("no {name}: {text}")).trim_matches('"').to_owned()
}

//! A real etcd and kube-apiserver, if `KUBEBUILDER_ASSETS` names a directory with both (the
//! convention of envtest): certificates of our own making, RBAC on, an administrator in
//! `system:masters`.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use crate::lab::{Lab, Program, mainstay};

/// How long the two may take to start; a cold machine needs some ten seconds.
const START_LIMIT: Duration = Duration::from_secs(90);

/// The directory with the programs; `None`, and a line that says so, if there is none.
pub(crate) fn assets() -> Option<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let complete = |assets: &PathBuf| {
        let programs = ["etcd", "kube-apiserver"];
        programs.iter().all(|name| assets.join(name).is_file())
    };
    let found = assets.filter(complete);
    if found.is_none() {
        println!("skipped: KUBEBUILDER_ASSETS names no directory with etcd and kube-apiserver");
    }
    found
}

/// A running control plane; ends with the test.
pub(crate) struct RealApiserver {
    pub(crate) lab: Lab,
    server: String,
    kubectl: PathBuf,
    // Dropped in this order: the apiserver before its etcd.
    _apiserver: Running,
    _etcd: Running,
}

/// A program that is killed and waited for on drop.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl RealApiserver {
    pub(crate) fn start(assets: &Path) -> Self {
        let lab = Lab::new();
        Pki::new().write(&lab);
        let (client, peer, secure) = (free_port(), free_port(), free_port());
        let etcd = etcd(assets, &lab, client, peer);
        let apiserver = apiserver(assets, &lab, client, secure);
        let server = format!("https://127.0.0.1:{secure}");
        let theirs = assets.join("kubectl");
        let kubectl = if theirs.is_file() { theirs } else { "kubectl".into() };
        let started = Self { lab, server, kubectl, _apiserver: apiserver, _etcd: etcd };
        started.write_kubeconfigs();
        started.wait();
        started
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.server.trim_start_matches("https://")
    }

    /// The program with arguments separated by blanks, as administrator.
    pub(crate) fn mainstay(&self, arguments: &str) -> Program {
        self.mainstay_as("admin.conf", arguments)
    }

    /// The program with somebody else's kubeconfig.
    pub(crate) fn mainstay_as(&self, kubeconfig: &str, arguments: &str) -> Program {
        mainstay(arguments.split_whitespace()).env("KUBECONFIG", self.lab.path(kubeconfig))
    }

    /// What kubectl prints; `None` if there is no kubectl.
    pub(crate) fn kubectl(&self, arguments: &str) -> Option<String> {
        let output = Command::new(&self.kubectl)
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", self.lab.path("admin.conf"))
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl {arguments}: {said}");
        Some(String::from_utf8(output.stdout).unwrap())
    }

    /// A controller manager that collects what has ended, if there is one.
    pub(crate) fn controller_manager(&self, assets: &Path) -> Option<Running> {
        const NAME: &str = "kube-controller-manager";
        if !assets.join(NAME).is_file() {
            return None;
        }
        let path = |name: &str| self.lab.path(name).display().to_string();
        let flags = [
            ("--kubeconfig", &*path("admin.conf")),
            ("--controllers", "garbagecollector,bootstrapsigner,tokencleaner"),
            ("--leader-elect", "false"),
            ("--bind-address", "127.0.0.1"),
            ("--secure-port", &free_port().to_string()),
            ("--cert-dir", &path("controller-manager")),
        ];
        Some(start(assets, &self.lab, NAME, &flags))
    }

    fn write_kubeconfigs(&self) {
        let path = |name: &str| self.lab.path(name).display().to_string();
        let user = json!({
            "client-certificate": path("admin.crt"),
            "client-key": path("admin.key"),
        });
        for (file, user) in [("admin.conf", user), ("anonymous.conf", json!({}))] {
            let config = json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": {
                    "server": self.server,
                    "certificate-authority": path("ca.crt"),
                }}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
                "current-context": "test",
                "users": [{"name": "user", "user": user}],
            });
            self.lab.file(file, config.to_string());
        }
    }

    /// Waits until the namespace of the tokens is there and the administrator may write.
    fn wait(&self) {
        let begun = Instant::now();
        loop {
            // The namespace is made some time after the port opens; a token needs it.
            let tried = self.mainstay("token create zzzzzz.zzzzzzzzzzzzzzzz").run();
            if tried.code == 0 || tried.stderr.contains("already exists") {
                self.mainstay("token delete zzzzzz").output();
                return;
            }
            let log = std::fs::read_to_string(self.lab.path("kube-apiserver.log"));
            assert!(begun.elapsed() < START_LIMIT, "{tried:?}\n{}", log.unwrap_or_default());
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

fn etcd(assets: &Path, lab: &Lab, client: u16, peer: u16) -> Running {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let flags = [
        ("--name", "default"),
        ("--listen-client-urls", &client),
        ("--advertise-client-urls", &client),
        ("--listen-peer-urls", &peer),
        ("--initial-advertise-peer-urls", &peer),
        ("--initial-cluster", &format!("default={peer}")),
        ("--data-dir", &lab.path("etcd").display().to_string()),
        ("--unsafe-no-fsync", "true"),
    ];
    start(assets, lab, "etcd", &flags)
}

fn apiserver(assets: &Path, lab: &Lab, etcd: u16, secure: u16) -> Running {
    let path = |name: &str| lab.path(name).display().to_string();
    let flags = [
        ("--etcd-servers", &*format!("http://127.0.0.1:{etcd}")),
        ("--bind-address", "127.0.0.1"),
        ("--advertise-address", "127.0.0.1"),
        ("--secure-port", &secure.to_string()),
        ("--tls-cert-file", &path("server.crt")),
        ("--tls-private-key-file", &path("server.key")),
        ("--client-ca-file", &path("ca.crt")),
        ("--cert-dir", &path("apiserver")),
        ("--authorization-mode", "Node,RBAC"),
        ("--service-cluster-ip-range", "10.96.0.0/16"),
        ("--service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        ("--service-account-signing-key-file", &path("sa.key")),
        ("--service-account-key-file", &path("sa.pub")),
        ("--disable-admission-plugins", "ServiceAccount"),
        ("--enable-bootstrap-token-auth", "true"),
    ];
    start(assets, lab, "kube-apiserver", &flags)
}

fn start(assets: &Path, lab: &Lab, name: &str, flags: &[(&str, &str)]) -> Running {
    let log = File::create(lab.path(&format!("{name}.log"))).unwrap();
    let flags = flags.iter().map(|(flag, value)| format!("{flag}={value}"));
    let child = Command::new(assets.join(name))
        .args(flags)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    Running(child.unwrap())
}

/// A port that was free a moment ago; the programs cannot choose one and tell it.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A CA, the server's certificate, the administrator's, and the key of service accounts.
struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
    server: (String, KeyPair),
    admin: (String, KeyPair),
    service_accounts: KeyPair,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names = ["127.0.0.1", "localhost", "10.96.0.1", "kubernetes.default.svc"];
        let mut server = CertificateParams::new(names.map(str::to_owned)).unwrap();
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut admin = CertificateParams::default();
        admin.distinguished_name.push(DnType::OrganizationName, "system:masters");
        admin.distinguished_name.push(DnType::CommonName, "kubernetes-admin");
        admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = |params: CertificateParams| {
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &ca).unwrap().pem(), key)
        };
        Self {
            server: signed(server),
            admin: signed(admin),
            service_accounts: KeyPair::generate().unwrap(),
            ca,
        }
    }

    fn write(&self, lab: &Lab) {
        lab.file("ca.crt", self.ca.pem());
        lab.file("ca.key", self.ca.key().serialize_pem());
        for (name, (certificate, key)) in [("server", &self.server), ("admin", &self.admin)] {
            lab.file(&format!("{name}.crt"), certificate);
            lab.file(&format!("{name}.key"), key.serialize_pem());
        }
        lab.file("sa.key", self.service_accounts.serialize_pem());
        lab.file("sa.pub", self.service_accounts.public_key_pem());
    }
}

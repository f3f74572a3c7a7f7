//! The apiservers of one cluster: threads that answer from one store, each with the certificate of
//! its machine, while kubelet would run it.

use std::fs;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::https;
use crate::store::{Answer, Store, failure};

/// What the administrator logs in with.
pub(crate) const ADMIN: &str = "a-token-of-the-administrator";

/// Whom a master lets watch the apiservers.
const OBSERVER: &str = "mainstay:observer";

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";

/// How often kubelet looks at the manifests.
const LOOK: Duration = Duration::from_millis(20);

/// What the apiservers share.
#[derive(Default)]
pub(crate) struct Etcd {
    pub(crate) store: Mutex<Store>,
    /// Calls for which no answer comes: those of which this is a part.
    pub(crate) stuck: Mutex<Option<String>>,
    /// Whether etcd has no leader, as for a moment when it grows from one member to two.
    pub(crate) leaderless: AtomicBool,
    /// How many calls are still refused because the apiservers have not read the rules yet, as for a
    /// moment after their start.
    pub(crate) unruly: AtomicUsize,
    /// The apiservers that the cluster lists.
    pub(crate) listed: Mutex<Vec<SocketAddr>>,
}

impl Etcd {
    /// Names of the Secrets.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let store = self.store.lock();
        let secrets = store.objects.values().filter(|object| object["kind"] == "Secret");
        secrets.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What the node monitor, or a kubelet, says of a Node.
    pub(crate) fn set_ready(&self, node: &str, status: &str) {
        let path = format!("/api/v1/nodes/{node}");
        let ready = json!({"conditions": [{"type": "Ready", "status": status}]});
        self.store.lock().objects.get_mut(&path).unwrap()["status"] = ready;
    }

    fn answer(&self, caller: &Caller, call: (&str, &str), body: &Value) -> Answer {
        let (method, path) = call;
        let bearer = caller.bearer.as_deref();
        match path {
            "/readyz" if self.leaderless.load(Ordering::Relaxed) => {
                return failure(500, "InternalError", "[-]etcd failed: reason withheld");
            }
            "/readyz" | "/healthz" | "/livez" => return (200, json!("ok")),
            "/version" => return (200, json!({"gitVersion": "v1.20.2"})),
            _ => {}
        }
        if caller.user.as_deref() == Some(OBSERVER) {
            return self.observed(path);
        }
        let public = path.ends_with("/kube-public/configmaps/cluster-info");
        let joiner = ["/secrets/kubeadm-certs", "/configmaps/kubeadm-config"];
        let node = path.starts_with("/api/v1/nodes/");
        let allowed = match bearer {
            _ if public && method == "GET" => true,
            Some(ADMIN) => true,
            Some(token) if self.is_bootstrap(token) => {
                method == "GET" && (node || joiner.iter().any(|end| path.ends_with(end)))
            }
            Some(_) => return failure(401, "Unauthorized", "Unauthorized"),
            None => false,
        };
        let less = |left: usize| left.checked_sub(1);
        let relaxed = Ordering::Relaxed;
        if !allowed || self.unruly.fetch_update(relaxed, relaxed, less).is_ok() {
            return failure(403, "Forbidden", "forbidden");
        }
        self.store.lock().answer(method, path, body)
    }

    /// What the observer of the apiservers gets, if somebody has allowed it to.
    fn observed(&self, target: &str) -> Answer {
        let path = target.split('?').next().unwrap();
        let bound = format!("{RBAC}/rolebindings/{OBSERVER}");
        if path != SLICES || !self.store.lock().objects.contains_key(&bound) {
            return failure(403, "Forbidden", "forbidden");
        }
        if target.contains("watch=true") {
            // It has to list anew, which is a watch too, if a slow one.
            return failure(410, "Expired", "too old resource version");
        }
        let slice = |addr: &SocketAddr| {
            json!({
                "metadata": {"name": format!("kubernetes-{addr}"), "resourceVersion": "1"},
                "endpoints": [{"addresses": [addr.ip()], "conditions": {"ready": true}}],
                "ports": [{"name": "https", "port": addr.port()}],
            })
        };
        let items: Vec<Value> = self.listed.lock().iter().map(slice).collect();
        (200, json!({"metadata": {"resourceVersion": "1"}, "items": items}))
    }

    /// Whether the text is a bootstrap token that may log in now.
    fn is_bootstrap(&self, token: &str) -> bool {
        let Some((id, secret)) = token.split_once('.') else { return false };
        let path = format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{id}");
        let store = self.store.lock();
        let Some(object) = store.objects.get(&path) else { return false };
        let field = |name: &str| {
            let text = object["data"][name].as_str().unwrap_or_default();
            String::from_utf8(BASE64.decode(text.as_bytes()).unwrap()).unwrap()
        };
        field("token-secret") == secret && field("usage-bootstrap-authentication") == "true"
    }
}

/// kubelet of one machine: runs its apiserver while there is a manifest for it.
pub(crate) struct Kubelet {
    stop: Arc<AtomicBool>,
    served: Arc<Mutex<Option<Instant>>>,
}

impl Kubelet {
    pub(crate) fn start(kubernetes: &Path, addr: SocketAddr, etcd: Arc<Etcd>) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let run = Run {
            manifest: kubernetes.join("manifests/kube-apiserver.yaml"),
            pki: kubernetes.join("pki"),
            addr,
            etcd,
            stop: Arc::clone(&stop),
            served: Arc::clone(&served),
        };
        std::thread::spawn(move || run.forever());
        Self { stop, served }
    }

    /// When its apiserver ran last.
    pub(crate) fn served(&self) -> Option<Instant> {
        *self.served.lock()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Run {
    manifest: PathBuf,
    pki: PathBuf,
    addr: SocketAddr,
    etcd: Arc<Etcd>,
    stop: Arc<AtomicBool>,
    served: Arc<Mutex<Option<Instant>>>,
}

impl Run {
    fn forever(self) {
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(pod) = self.pod() {
                self.serve(&pod);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn pod(&self) -> Option<Vec<u8>> {
        fs::read(&self.manifest).ok()
    }

    /// Until the manifest is gone or another's: a `kubeadm reset` and the `kubeadm init` after it
    /// may both be done between two looks.
    fn serve(&self, pod: &[u8]) {
        let config = tls(&self.pki);
        let socket = crate::support::refusing::bound(self.addr);
        socket.listen(64).unwrap();
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true).unwrap();
        while self.pod().as_deref() == Some(pod) && !self.stop.load(Ordering::Relaxed) {
            *self.served.lock() = Some(Instant::now());
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(LOOK);
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            let (config, etcd) = (Arc::clone(&config), Arc::clone(&self.etcd));
            std::thread::spawn(move || converse(stream, config, &etcd));
        }
    }
}

fn tls(pki: &Path) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(pki.join("apiserver.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pki.join("apiserver.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.join("ca.crt")).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let clients = clients.allow_unauthenticated().build().unwrap();
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap())
}

/// Who asks.
struct Caller {
    bearer: Option<String>,
    /// By its certificate.
    user: Option<String>,
}

/// The common name of a client's certificate.
fn user_of(session: &ServerConnection) -> Option<String> {
    let certificate = session.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

/// Answers the requests of one connection until it ends.
fn converse(stream: TcpStream, config: Arc<ServerConfig>, etcd: &Etcd) -> Option<()> {
    let session = ServerConnection::new(config).ok()?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    loop {
        let head = https::head(&mut stream)?;
        let body = https::body(&mut stream, &head)?;
        let mut words = head[0].split(' ');
        let (method, path) = (words.next()?, words.next()?);
        let call = format!("{method} {path}");
        let stuck = etcd.stuck.lock().clone();
        if stuck.is_some_and(|part| call.contains(&part)) {
            std::thread::sleep(Duration::from_secs(30));
            return None;
        }
        let bearer = head.iter().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("authorization").then(|| value.strip_prefix("Bearer "))?
        });
        let user = user_of(&stream.get_ref().conn);
        let caller = Caller { bearer: bearer.map(str::to_owned), user };
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let (code, answer) = etcd.answer(&caller, (method, path), &body);
        let answer = answer.to_string();
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        let stream = stream.get_mut();
        stream.write_all((head + &answer).as_bytes()).ok()?;
        stream.flush().ok()?;
    }
}

/// A kubeconfig, JSON.
pub(crate) fn kubeconfig(ca_file: &Path, endpoint: SocketAddr, bearer: &str) -> String {
    let ca = fs::read(ca_file).unwrap();
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubernetes", "cluster": {
            "server": format!("https://{endpoint}"),
            "certificate-authority-data": BASE64.encode(&ca),
        }}],
        "contexts": [{"name": "it", "context": {"cluster": "kubernetes", "user": "it"}}],
        "current-context": "it",
        "users": [{"name": "it", "user": {"token": bearer}}],
    })
    .to_string()
}

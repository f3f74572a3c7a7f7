//! An apiserver over TLS that keeps objects, notes every call, and fails when told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::BASE64;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::lab::{Lab, Program, fixture_text, mainstay};
use crate::store::{Answer, Store};

/// As code of a fault: no answer at all.
pub(crate) const SILENCE: u16 = 0;

/// The credentials that it takes.
const BEARER: &str = "a-token-of-the-administrator";

/// The running apiserver; its threads end with the test.
pub(crate) struct Apiserver {
    addr: SocketAddr,
    pub(crate) ca_pem: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    store: Store,
    calls: Vec<String>,
    bodies: Vec<Value>,
    faults: BTreeMap<usize, Answer>,
}

impl Apiserver {
    /// An apiserver with nothing but its version.
    pub(crate) fn bare(cluster: &str) -> Self {
        let (ca_pem, config) = tls();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (_, version) = captured(&format!("{cluster}/version.http"));
        shared.lock().store.objects.insert("/version".into(), version);
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, config) = (Arc::clone(&theirs), Arc::clone(&config));
                std::thread::spawn(move || serve(stream.unwrap(), config, &shared));
            }
        });
        Self { addr, ca_pem, shared }
    }

    /// An apiserver with the captured `kubeadm-config` of a cluster.
    pub(crate) fn of(cluster: &str) -> Self {
        let server = Self::bare(cluster);
        server.put_fixture(&format!("{cluster}/kubeadm-config.configmap.json"));
        server
    }

    /// Stores a captured object, or each of a captured list.
    pub(crate) fn put_fixture(&self, name: &str) {
        let object: Value = serde_json::from_str(&fixture_text(name)).unwrap();
        let items = object["items"].as_array().cloned();
        for object in items.unwrap_or_else(|| vec![object]) {
            self.put(object);
        }
    }

    pub(crate) fn put(&self, object: Value) {
        self.shared.lock().store.put(object);
    }

    /// The call of this number, from 0, gets this answer and changes nothing.
    pub(crate) fn fail(&self, call: usize, answer: Answer) {
        self.shared.lock().faults.insert(call, answer);
    }

    /// All calls so far, as `METHOD path`; `~` stands for the place of Secrets, `ID` for a token.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.shared.lock().calls.clone();
        calls.iter().map(|call| short(call)).collect()
    }

    /// The body of a call.
    pub(crate) fn body(&self, call: usize) -> Value {
        self.shared.lock().bodies[call].clone()
    }

    /// A stored object.
    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.shared.lock().store.objects.get(path).cloned()
    }

    /// The stored Secrets by name.
    pub(crate) fn secrets(&self) -> BTreeMap<String, Value> {
        let shared = self.shared.lock();
        let secrets = shared.store.objects.values();
        let secrets = secrets.filter(|object| object["kind"] == "Secret");
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        secrets.map(|object| (name(object), object.clone())).collect()
    }

    pub(crate) fn address(&self) -> String {
        self.addr.to_string()
    }

    /// A kubeconfig for it.
    pub(crate) fn kubeconfig(&self, lab: &Lab) -> PathBuf {
        self.kubeconfig_with(lab, BEARER)
    }

    pub(crate) fn kubeconfig_with(&self, lab: &Lab, bearer: &str) -> PathBuf {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "kubernetes", "cluster": {
                "server": format!("https://{}", self.addr),
                "certificate-authority-data": BASE64.encode(self.ca_pem.as_bytes()),
            }}],
            "contexts": [{"name": "admin", "context": {"cluster": "kubernetes", "user": "admin"}}],
            "current-context": "admin",
            "users": [{"name": "admin", "user": {"token": bearer}}],
        });
        lab.file("admin.conf", config.to_string())
    }

    /// The program with arguments separated by blanks, on this cluster.
    pub(crate) fn mainstay(&self, lab: &Lab, arguments: &str) -> Program {
        mainstay(arguments.split_whitespace()).env("KUBECONFIG", self.kubeconfig(lab))
    }
}

/// A call in the form that tests are written in.
fn short(call: &str) -> String {
    const TOKEN: &str = "bootstrap-token-";
    let call = call.replace("/api/v1/namespaces/kube-system/secrets", "~");
    let call = call.replace("/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system", "rbac");
    match call.find(TOKEN) {
        Some(at) => format!("{}ID", &call[..at + TOKEN.len()]),
        None => call,
    }
}

/// A CA and a server certificate by it.
fn tls() -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (ca.pem(), Arc::new(config))
}

/// Answers the requests of one connection until it ends.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, shared: &Mutex<Shared>) -> Option<()> {
    let session = ServerConnection::new(config).ok()?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    loop {
        let (head, body) = request(&mut stream)?;
        let mut words = head[0].split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let bearer = format!("authorization: Bearer {BEARER}");
        let known = head.contains(&bearer);
        let (code, answer) = answer(&mut shared.lock(), known, method, target, &body);
        if code == SILENCE {
            // Until the client goes away.
            return stream.read_line(&mut String::new()).ok().map(drop);
        }
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

fn answer(shared: &mut Shared, known: bool, method: &str, target: &str, body: &[u8]) -> Answer {
    let body = serde_json::from_slice(body).unwrap_or_default();
    let number = shared.calls.len();
    shared.calls.push(format!("{method} {target}"));
    shared.bodies.push(body);
    if let Some(fault) = shared.faults.remove(&number) {
        return fault;
    }
    if !known {
        return captured("kubeadm-1.20/readyz-bad-token.http");
    }
    let body = shared.bodies[number].clone();
    shared.store.answer(method, target, &body)
}

/// A captured answer.
pub(crate) fn captured(name: &str) -> Answer {
    let text = fixture_text(name);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(body).unwrap())
}

/// The lines of the head, and the body.
fn request(stream: &mut impl BufRead) -> Option<(Vec<String>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" if head.is_empty() => return None,
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

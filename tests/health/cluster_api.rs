//! The little of the Kubernetes API that a stand-in master has: who the apiservers are, told by a
//! file that all masters of a cluster share, as real ones share etcd, and `cluster-info`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

/// The name that the kubeconfig calls the cluster; only TLS hears of it.
const SERVER: &str = "https://127.0.0.1:6443";

fn file(dir: &Path) -> PathBuf {
    dir.join("apiservers.json")
}

/// Makes these the apiservers that a cluster lists; a slice for each, since their ports differ.
pub(crate) fn list(dir: &Path, addrs: &[SocketAddr]) {
    let slice = |addr: &SocketAddr| {
        json!({
            "metadata": {"name": format!("kubernetes-{}", addr.port()), "resourceVersion": "1"},
            "endpoints": [{"addresses": [addr.ip()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": addr.port()}],
        })
    };
    let items: Vec<Value> = addrs.iter().map(slice).collect();
    let list = json!({"metadata": {"resourceVersion": "1"}, "items": items});
    let new = dir.join("apiservers.new");
    std::fs::write(&new, list.to_string()).unwrap();
    std::fs::rename(new, file(dir)).unwrap();
}

/// A kubeconfig for the cluster of these files.
pub(crate) fn kubeconfig(dir: &Path) -> PathBuf {
    let ca = BASE64.encode(&std::fs::read(dir.join("ca.pem")).unwrap());
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {
            "server": SERVER, "certificate-authority-data": ca,
        }}],
        "contexts": [{"name": "o", "context": {"cluster": "c", "user": "o"}}],
        "current-context": "o",
        "users": [{"name": "o", "user": {"token": "t"}}],
    });
    let path = dir.join("observer.conf");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// The answer to a request for one of ours, whole; `None` if it is none.
pub(crate) fn answer(target: &str, dir: &Path) -> Option<String> {
    let path = target.split('?').next().unwrap_or_default();
    let body = match path {
        SLICES if !target.contains("watch=true") => std::fs::read_to_string(file(dir)).ok()?,
        CLUSTER_INFO => cluster_info(dir),
        _ => return None,
    };
    let length = body.len();
    Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"))
}

fn cluster_info(dir: &Path) -> String {
    let ca = BASE64.encode(&std::fs::read(dir.join("ca.pem")).unwrap());
    let kubeconfig = json!({"clusters": [{"name": "", "cluster": {
        "server": SERVER, "certificate-authority-data": ca,
    }}]});
    json!({
        "kind": "ConfigMap",
        "metadata": {"name": "cluster-info"},
        "data": {"kubeconfig": kubeconfig.to_string()},
    })
    .to_string()
}

/// Whether a request is for a watch of ours.
pub(crate) fn is_watch(target: &str) -> bool {
    target.starts_with(SLICES) && target.contains("watch=true")
}

/// Tells the client to list again whenever the file changes, until it is gone.
pub(crate) async fn watch(stream: &mut (impl AsyncWrite + Unpin), dir: &Path) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    stream.flush().await?;
    let before = std::fs::read(file(dir))?;
    while std::fs::read(file(dir))? == before {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}}).to_string();
    let chunk = format!("{:x}\r\n{gone}\n\r\n0\r\n\r\n", gone.len() + 1);
    stream.write_all(chunk.as_bytes()).await?;
    stream.flush().await
}

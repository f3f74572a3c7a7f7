//! Fixtures, and a source of chosen "random" bytes.

use std::path::PathBuf;

use bootstrap::kubeadm::{Random, RandomError, Secret};
use serde::Serialize;
use serde_json::Value;

/// The clusters that were captured.
pub(crate) const CLUSTERS: [&str; 2] = ["kubeadm-1.20", "kubeadm-1.36"];

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures")).join(name)
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn text(name: &str) -> String {
    String::from_utf8(bytes(name)).unwrap()
}

/// The Secret `kubeadm-certs` of a captured cluster.
pub(crate) fn certs_secret(cluster: &str) -> Secret {
    Secret::parse(&text(&format!("{cluster}/kubeadm-certs.secret.json"))).unwrap()
}

/// JSON as `kubectl get -o json` lays it out.
pub(crate) fn kubectl_json(object: &impl Serialize) -> String {
    let value = serde_json::to_value(object).unwrap();
    let mut text = Vec::new();
    let layout = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, layout)).unwrap();
    String::from_utf8(text).unwrap() + "\n"
}

/// The object without what only the API server sets.
pub(crate) fn as_created(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["creationTimestamp", "resourceVersion", "uid"] {
        metadata.remove(field);
    }
    object
}

pub(crate) fn items(list: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(list).unwrap();
    list["items"].as_array().unwrap().clone()
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// Gives the chosen bytes, then none.
pub(crate) struct Chosen(pub(crate) std::vec::IntoIter<u8>);

impl Chosen {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into().into_iter())
    }
}

impl Random for Chosen {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RandomError> {
        for byte in buffer {
            *byte = self.0.next().ok_or(RandomError)?;
        }
        Ok(())
    }
}

//! What `default/kubernetes` says, from each of the three APIs that may say it: pure.
//!
//! The apiservers keep it themselves. EndpointSlices came with 1.16 and are at `v1` since 1.21;
//! Endpoints are older and still written, and are the last resort.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use common::member::MEMBERS_MAX;
use serde::Deserialize;

/// Most slices that are kept: the apiservers write one for each family of addresses.
const SLICES_MAX: usize = 16;

/// Name of the port in both kinds of object.
const PORT_NAME: &str = "https";

/// An API that lists the apiservers, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// `discovery.k8s.io/v1` EndpointSlices.
    SlicesV1,
    /// `discovery.k8s.io/v1beta1` EndpointSlices, up to 1.24.
    SlicesV1Beta1,
    /// Core `v1` Endpoints.
    Endpoints,
}

impl Api {
    /// All, best first.
    pub const ALL: [Self; 3] = [Self::SlicesV1, Self::SlicesV1Beta1, Self::Endpoints];

    /// As status and log name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SlicesV1 => "discovery.k8s.io/v1",
            Self::SlicesV1Beta1 => "discovery.k8s.io/v1beta1",
            Self::Endpoints => "v1 Endpoints",
        }
    }

    /// The path and query that lists the objects.
    #[must_use]
    pub fn list(self) -> String {
        let slices = |version: &str| {
            format!(
                "/apis/discovery.k8s.io/{version}/namespaces/default/endpointslices\
                 ?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes"
            )
        };
        match self {
            Self::SlicesV1 => slices("v1"),
            Self::SlicesV1Beta1 => slices("v1beta1"),
            Self::Endpoints => "/api/v1/namespaces/default/endpoints\
                                ?fieldSelector=metadata.name%3Dkubernetes"
                .to_owned(),
        }
    }

    /// The path and query that watches them from a version on; the server ends it after `seconds`.
    #[must_use]
    pub fn watch(self, version: &str, seconds: u64) -> String {
        let list = self.list();
        // The version is the server's and opaque; what could change the query is left out.
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let version: String = version.chars().filter(plain).collect();
        format!(
            "{list}&watch=true&allowWatchBookmarks=true&resourceVersion={version}\
             &timeoutSeconds={seconds}"
        )
    }
}

/// The objects of one API at one moment, and the apiservers in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    api: Api,
    version: String,
    ready: BTreeMap<String, BTreeSet<SocketAddr>>,
}

/// What an event of a watch was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The apiservers changed.
    Changed,
    /// They did not.
    Unchanged,
    /// Our version is too old for a watch; list again.
    Expired,
    /// The server ended the watch with a failure.
    Failure(String),
}

/// An answer that is not what the API promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer is not of the API that was asked; is it a kube-apiserver?")]
pub struct Unreadable;

impl Listing {
    /// Reads the answer to [`Api::list`].
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn read(api: Api, answer: &[u8]) -> Result<Self, Unreadable> {
        let list: List = serde_json::from_slice(answer).map_err(|_| Unreadable)?;
        let mut listing =
            Self { api, version: list.metadata.resource_version, ready: BTreeMap::new() };
        for object in list.items.ok_or(Unreadable)? {
            listing.put(&object);
        }
        Ok(listing)
    }

    /// Takes in one event of [`Api::watch`].
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn apply(&mut self, line: &[u8]) -> Result<Seen, Unreadable> {
        let event: Event = serde_json::from_slice(line).map_err(|_| Unreadable)?;
        if event.kind == "ERROR" {
            let status: Status = serde_json::from_value(event.object).map_err(|_| Unreadable)?;
            let expired = status.code == 410 || status.reason == "Expired";
            return Ok(if expired { Seen::Expired } else { Seen::Failure(status.shown()) });
        }
        let object: Object = serde_json::from_value(event.object).map_err(|_| Unreadable)?;
        self.version.clone_from(&object.metadata.resource_version);
        let before = self.addrs();
        match event.kind.as_str() {
            "ADDED" | "MODIFIED" => self.put(&object),
            "DELETED" => {
                self.ready.remove(&object.metadata.name);
            }
            "BOOKMARK" => {}
            _ => return Err(Unreadable),
        }
        Ok(if self.addrs() == before { Seen::Unchanged } else { Seen::Changed })
    }

    /// The API that told it.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api
    }

    /// From where on to watch.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The ready apiservers, by address, at most [`MEMBERS_MAX`].
    #[must_use]
    pub fn addrs(&self) -> Vec<SocketAddr> {
        let all: BTreeSet<SocketAddr> = self.ready.values().flatten().copied().collect();
        all.into_iter().take(MEMBERS_MAX).collect()
    }

    fn put(&mut self, object: &Object) {
        let room = self.ready.len() < SLICES_MAX || self.ready.contains_key(&object.metadata.name);
        if room {
            let ready = match self.api {
                Api::Endpoints => object.subsets().collect(),
                Api::SlicesV1 | Api::SlicesV1Beta1 => object.slice().collect(),
            };
            self.ready.insert(object.metadata.name.clone(), ready);
        }
    }
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: Metadata,
    items: Option<Vec<Object>>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: serde_json::Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    resource_version: String,
}

/// A `Status`, as far as it is told.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    reason: String,
    message: String,
}

impl Status {
    fn shown(&self) -> String {
        let message: String = self.message.chars().filter(|c| !c.is_control()).take(200).collect();
        format!("the watch failed with {}: {message}", self.code)
    }
}

/// An EndpointSlice or an Endpoints object: only one of the two has each field.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Metadata,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<Port>>,
    subsets: Option<Vec<Subset>>,
}

impl Object {
    /// The ready addresses of a slice. Host names, which a slice may also hold, are passed over.
    fn slice(&self) -> impl Iterator<Item = SocketAddr> {
        let port = port_of(self.ports.as_deref().unwrap_or_default());
        let ready = self.endpoints.iter().flatten().filter(|endpoint| endpoint.is_ready());
        let addresses = ready.flat_map(|endpoint| endpoint.addresses.iter().flatten());
        addresses.filter_map(move |address| usable(address, port?))
    }

    /// The addresses of an Endpoints object; those that are not ready stand in a field of their own.
    fn subsets(&self) -> impl Iterator<Item = SocketAddr> {
        self.subsets.iter().flatten().flat_map(|subset| {
            let port = port_of(subset.ports.as_deref().unwrap_or_default());
            let addresses = subset.addresses.iter().flatten();
            addresses.filter_map(move |address| usable(&address.ip, port?))
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    addresses: Option<Vec<String>>,
    conditions: Conditions,
}

impl Endpoint {
    /// Nothing said is ready, as the API defines it.
    fn is_ready(&self) -> bool {
        self.conditions.ready != Some(false)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subset {
    addresses: Option<Vec<Address>>,
    ports: Option<Vec<Port>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    ip: String,
}

/// The port of that name, or the only one.
fn port_of(ports: &[Port]) -> Option<u16> {
    let named = ports.iter().find(|port| port.name.as_deref() == Some(PORT_NAME));
    let only = || if let [only] = ports { Some(only) } else { None };
    named.or_else(only)?.port.filter(|port| *port != 0)
}

/// An address that one host can have.
fn usable(address: &str, port: u16) -> Option<SocketAddr> {
    let ip: IpAddr = address.parse().ok()?;
    let one_host = !ip.is_unspecified() && !ip.is_multicast();
    one_host.then_some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests;

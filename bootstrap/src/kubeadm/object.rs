//! The few Kubernetes objects that kubeadm keeps its state in, with just the fields it uses.
//!
//! They serialize to the API's JSON, so `serde_json` turns them into the types of any client.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::BASE64;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Largest object text that is read: a Secret holds 1 MiB (`MaxSecretSize`), as base64 and with
/// room for its frame.
const MAX_TEXT_BYTES: usize = 4 << 20;

/// `metadata` of an object. Empty fields are not written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Name, unique in its namespace.
    #[serde(default)]
    pub name: String,
    /// Namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Given by the API server; tells an object from a later one of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Given by the API server, changes on every write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// Given by the API server, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// Set while the object is being deleted, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<String>,
    /// Free metadata; the only place for our own, since a foreign data entry makes joins fail.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The objects whose end is this one's end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
}

impl ObjectMeta {
    /// Metadata of a new object.
    #[must_use]
    pub fn named(name: impl Into<String>, namespace: &str) -> Self {
        Self { name: name.into(), namespace: Some(namespace.to_owned()), ..Self::default() }
    }
}

/// An entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// API version of the owner.
    pub api_version: String,
    /// Whether deletion of the owner waits for this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
    /// Whether the owner is the managing controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner. With a wrong one the garbage collector deletes this object.
    pub uid: String,
}

/// A `v1` Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// `v1`; empty inside a list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The entries.
    #[serde(default, skip_serializing_if = "Data::is_empty", deserialize_with = "null_as_default")]
    pub data: Data,
    /// `Secret`; empty inside a list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Name and owner.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// `Opaque` if the writer gave none.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub secret_type: Option<String>,
}

impl Secret {
    /// A new Secret without type and data.
    #[must_use]
    pub fn new(metadata: ObjectMeta) -> Self {
        Self {
            api_version: "v1".to_owned(),
            data: Data::default(),
            kind: "Secret".to_owned(),
            metadata,
            secret_type: None,
        }
    }

    /// Reads a Secret saved as JSON or YAML.
    ///
    /// # Errors
    /// [`ObjectError`]; no message shows any of the text.
    pub fn parse(text: &str) -> Result<Self, ObjectError> {
        let secret: Self = parse(text, "Secret")?;
        expect_kind(&secret.kind, "Secret")?;
        Ok(secret)
    }
}

/// A `v1` ConfigMap; binary data is not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMap {
    /// `v1`; empty inside a list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The entries.
    #[serde(default, deserialize_with = "null_as_default")]
    pub data: BTreeMap<String, String>,
    /// `ConfigMap`; empty inside a list.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Name.
    #[serde(default)]
    pub metadata: ObjectMeta,
}

impl ConfigMap {
    /// Reads a ConfigMap saved as JSON or YAML.
    ///
    /// # Errors
    /// [`ObjectError`]; no message shows any of the text.
    pub fn parse(text: &str) -> Result<Self, ObjectError> {
        let map: Self = parse(text, "ConfigMap")?;
        expect_kind(&map.kind, "ConfigMap")?;
        Ok(map)
    }
}

/// A list of objects, as the API answers (`SecretList`) or `kubectl get` prints (`List`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List<T> {
    /// The objects in the server's order.
    pub items: Vec<T>,
}

impl<T: DeserializeOwned> List<T> {
    /// Reads a list saved as JSON or YAML.
    ///
    /// # Errors
    /// [`ObjectError`]; no message shows any of the text.
    pub fn parse(text: &str) -> Result<Self, ObjectError> {
        parse(text, "List")
    }
}

/// The `data` of a Secret: raw bytes here, base64 on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Data(pub BTreeMap<String, SecretBytes>);

impl Data {
    /// Whether there is no entry at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of an entry.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|value| value.0.as_slice())
    }

    /// An entry as text; `None` if it is absent or not UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(name)?).ok()
    }

    /// Sets an entry.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.insert(name.into(), SecretBytes(Zeroizing::new(value.into())));
    }
}

/// The value of an entry; wiped on drop, its `Debug` shows the length only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    /// Accepts `null` (what a Go client sends for an empty value) and line breaks in the base64.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let mut text = Zeroizing::new(text.into_bytes());
        text.retain(|byte| !byte.is_ascii_whitespace());
        match BASE64.decode(&text) {
            Ok(bytes) => Ok(Self(Zeroizing::new(bytes))),
            Err(_) => Err(D::Error::custom("not base64")),
        }
    }
}

/// `null` where the API leaves out a map.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads JSON if the text looks like it, else YAML.
fn parse<T: DeserializeOwned>(text: &str, kind: &'static str) -> Result<T, ObjectError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(ObjectError::TooLong { kind, limit: MAX_TEXT_BYTES });
    }
    if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| ObjectError::Unreadable {
            kind,
            line: error.line(),
            column: error.column(),
        })
    } else {
        yaml(text).map_err(|(line, column)| ObjectError::Unreadable { kind, line, column })
    }
}

/// Reads one YAML document. The error is its line and column only, since the parser's own message
/// may quote a secret.
pub(super) fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, (usize, usize)> {
    serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        (number(at.line()), number(at.column()))
    })
}

fn expect_kind(found: &str, kind: &'static str) -> Result<(), ObjectError> {
    if found == kind {
        return Ok(());
    }
    let found = found.chars().filter(|c| c.is_ascii_alphanumeric()).take(40).collect();
    Err(ObjectError::OtherKind { kind, found })
}

/// Why a text is no such object. Give another file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Longer than any such object can be.
    #[error("the {kind} is longer than {limit} bytes")]
    TooLong {
        /// What was expected.
        kind: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not of the expected shape.
    #[error("the text is not a {kind} in JSON or YAML (line {line}, column {column})")]
    Unreadable {
        /// What was expected.
        kind: &'static str,
        /// Line, from 1; 0 if not known.
        line: usize,
        /// Column, from 1; 0 if not known.
        column: usize,
    },
    /// An object of another kind.
    #[error("the object is not a {kind}, its kind is {found:?}")]
    OtherKind {
        /// What was expected.
        kind: &'static str,
        /// The kind found, cut to 40 characters.
        found: String,
    },
}

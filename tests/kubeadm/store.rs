//! What an apiserver does with objects, as far as our calls go: names, UIDs, versions, defaults,
//! and its words when it refuses.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Code and body of an answer.
pub(crate) type Answer = (u16, Value);

/// The stored objects by path.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<String, Value>,
    written: u64,
}

impl Store {
    /// Puts an object there as if it had always been.
    pub(crate) fn put(&mut self, object: Value) {
        let path = path_of(&object);
        self.objects.insert(path, object);
    }

    pub(crate) fn answer(&mut self, method: &str, target: &str, body: &Value) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match method {
            "GET" if path.ends_with("/secrets") => (200, self.list(path, query)),
            "GET" => self.found(path).map_or(not_found(path), |object| (200, object)),
            "POST" => self.create(path, body),
            "PUT" => self.replace(path, body),
            "DELETE" => self.delete(path, body),
            _ => failure(405, "MethodNotAllowed", "the server does not allow this method"),
        }
    }

    fn found(&self, path: &str) -> Option<Value> {
        self.objects.get(path).cloned()
    }

    fn list(&self, path: &str, query: &str) -> Value {
        assert_eq!(query, "fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken");
        let prefix = format!("{path}/");
        let mut items = Vec::new();
        for (path, object) in &self.objects {
            if path.starts_with(&prefix) && object["type"] == "bootstrap.kubernetes.io/token" {
                let mut item = object.clone();
                let fields = item.as_object_mut().unwrap();
                fields.remove("kind");
                fields.remove("apiVersion");
                items.push(item);
            }
        }
        json!({"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": items})
    }

    fn create(&mut self, collection: &str, body: &Value) -> Answer {
        let name = body["metadata"]["name"].as_str().unwrap();
        let path = format!("{collection}/{name}");
        assert_eq!(path_of(body), path, "the object does not belong there");
        assert_eq!(body["metadata"].get("resourceVersion"), None, "not allowed on create");
        if self.objects.contains_key(&path) {
            let message = format!("{} \"{name}\" already exists", resource(&path));
            return failure(409, "AlreadyExists", &message);
        }
        let uid = format!("00000000-0000-4000-8000-{:012}", self.written + 1);
        (201, self.write(path, body, &uid))
    }

    /// An update without resourceVersion is unconditional.
    fn replace(&mut self, path: &str, body: &Value) -> Answer {
        assert_eq!(path_of(body), path, "the object does not belong there");
        match self.found(path) {
            None => not_found(path),
            Some(old) if old["roleRef"] != body["roleRef"] => {
                failure(422, "Invalid", "roleRef: Invalid value: cannot change roleRef")
            }
            Some(old) => {
                let uid = old["metadata"]["uid"].as_str().unwrap().to_owned();
                (200, self.write(path.to_owned(), body, &uid))
            }
        }
    }

    fn delete(&mut self, path: &str, options: &Value) -> Answer {
        let Some(object) = self.found(path) else {
            return not_found(path);
        };
        let wanted = &options["preconditions"]["uid"];
        if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
            return failure(409, "Conflict", "the UID in the precondition does not match");
        }
        self.objects.remove(path);
        (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    }

    fn write(&mut self, path: String, body: &Value, uid: &str) -> Value {
        self.written += 1;
        let mut object = body.clone();
        object["metadata"]["uid"] = uid.into();
        object["metadata"]["resourceVersion"] = self.written.to_string().into();
        object["metadata"]["creationTimestamp"] = "2026-11-22T21:11:17Z".into();
        if object["kind"] == "Secret" && object.get("type").is_none() {
            object["type"] = "Opaque".into();
        }
        self.objects.insert(path, object.clone());
        object
    }
}

/// The path that the API has for an object.
fn path_of(object: &Value) -> String {
    let version = object["apiVersion"].as_str().unwrap();
    let group = if version == "v1" { "/api" } else { "/apis" };
    let kind = object["kind"].as_str().unwrap().to_lowercase();
    let text = |field: &str| object["metadata"][field].as_str();
    // Without one for a Node, which is the cluster's.
    let namespace = text("namespace").map(|name| format!("namespaces/{name}/"));
    let (namespace, name) = (namespace.unwrap_or_default(), text("name").unwrap());
    format!("{group}/{version}/{namespace}{kind}s/{name}")
}

fn resource(path: &str) -> &str {
    path.rsplit('/').nth(1).unwrap()
}

fn not_found(path: &str) -> Answer {
    let name = path.rsplit('/').next().unwrap();
    let message = format!("{} \"{name}\" not found", resource(path));
    failure(404, "NotFound", &message)
}

pub(crate) fn failure(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    });
    (code, status)
}

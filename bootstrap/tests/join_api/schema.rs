//! `docs/join-protocol.openapi.json`, and whether a value is of one of its schemas.

use serde_json::Value;

/// The document.
pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/join-protocol.openapi.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// What a pointer leads to.
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or_else(|| panic!("the document has no {pointer}"))
    }

    /// What is meant: references are followed.
    pub(crate) fn meant<'a>(&'a self, node: &'a Value) -> &'a Value {
        match node.get("$ref") {
            Some(reference) => self.at(reference.as_str().unwrap().strip_prefix('#').unwrap()),
            None => node,
        }
    }

    pub(crate) fn schema(&self, name: &str) -> &Value {
        self.at(&format!("/components/schemas/{name}"))
    }

    /// The names of the schemas.
    pub(crate) fn names(&self) -> Vec<String> {
        keys(self.at("/components/schemas"))
    }

    /// The shape that a value has, if it has one: of several the only one that fits.
    pub(crate) fn shape<'a>(&'a self, schema: &'a Value, value: &Value) -> Option<&'a Value> {
        let schema = self.meant(schema);
        let Some(shapes) = schema.get("oneOf") else {
            return self.faults(schema, value).is_empty().then_some(schema);
        };
        let mut fitting = shapes.as_array().unwrap().iter().filter_map(|it| self.shape(it, value));
        fitting.next().filter(|_| fitting.next().is_none())
    }

    /// Where a value is not what a schema says. Fields that the schema does not name are faults
    /// here, whatever it says of them.
    pub(crate) fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let schema = self.meant(schema);
        if schema.get("oneOf").is_some() {
            let fits = self.shape(schema, value).is_some();
            return if fits { Vec::new() } else { vec![format!("{value} has not one shape")] };
        }
        let mut faults = Vec::new();
        let is = match schema["type"].as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64(),
            other => panic!("a type that this test does not know: {other}"),
        };
        let listed = schema.get("enum").is_none_or(|all| all.as_array().unwrap().contains(value));
        if !is || !listed || schema.get("const").is_some_and(|only| only != value) {
            return vec![format!("{value} is not {schema}")];
        }
        for item in value.as_array().into_iter().flatten() {
            faults.extend(self.faults(&schema["items"], item));
        }
        let Some(fields) = value.as_object() else { return faults };
        for name in keys_of(&schema["required"]).iter().filter(|name| !fields.contains_key(*name)) {
            faults.push(format!("{name} is missing"));
        }
        for (name, field) in fields {
            match schema["properties"].get(name) {
                Some(schema) => faults.extend(self.faults(schema, field)),
                None => faults.push(format!("{name} is not documented")),
            }
        }
        faults
    }
}

/// The keys of an object, sorted.
pub(crate) fn keys(object: &Value) -> Vec<String> {
    let mut keys: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

/// A list of words.
pub(crate) fn keys_of(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

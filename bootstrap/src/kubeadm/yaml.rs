//! A YAML text in the making, as kubeadm's configuration files need it.

use zeroize::Zeroizing;

/// Room for a whole file, so that growing leaves no copy of a key behind.
const FILE_BYTES: usize = 8192;

/// A YAML text; wiped, because it may hold a key.
pub(super) struct Yaml(Zeroizing<String>);

impl Yaml {
    pub(super) fn new() -> Self {
        Self(Zeroizing::new(String::with_capacity(FILE_BYTES)))
    }

    pub(super) fn into_text(self) -> Zeroizing<String> {
        self.0
    }

    pub(super) fn line(&mut self, indent: usize, text: &str) {
        self.0.extend(std::iter::repeat_n(' ', indent));
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// A field whose value needs no quotes.
    pub(super) fn field(&mut self, indent: usize, name: &str, value: &str) {
        self.line(indent, &format!("{name}: {value}"));
    }

    /// A field that is a string whatever it looks like.
    pub(super) fn quoted(&mut self, indent: usize, name: &str, value: &str) {
        self.line(indent, &Zeroizing::new(format!("{name}: {}", *quote(value))));
    }
}

/// A JSON string, which is a YAML string too.
pub(super) fn quote(text: &str) -> Zeroizing<String> {
    // A text always has a JSON form.
    Zeroizing::new(serde_json::to_string(text).unwrap_or_default())
}

//! The raw values, each with the place it came from: defaults below the file below the flags.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;

use super::keys::{KEYS, Key, Shape};
use super::{ConfigError, DEFAULT_PATH, file};

/// A raw value as the file or a flag gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A list of strings.
    List(Vec<String>),
    /// A whole number.
    Number(u64),
    /// On or off.
    Switch(bool),
}

impl fmt::Display for Value {
    /// As it would stand in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => quoted(text, f),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    quoted(item, f)?;
                }
                f.write_str("]")
            }
            Self::Number(number) => write!(f, "{number}"),
            Self::Switch(on) => write!(f, "{on}"),
        }
    }
}

/// A string of TOML, whose escapes are not those of Rust.
fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// The place a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A line of the file.
    File {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The raw value.
    pub value: Value,
    /// Where it was set.
    pub origin: Origin,
}

/// One setting for every declared key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    settings: BTreeMap<&'static str, Setting>,
}

impl Default for Layers {
    fn default() -> Self {
        let built_in = |key: &Key| Setting { value: default_value(key), origin: Origin::Default };
        Self { settings: KEYS.iter().map(|key| (key.name, built_in(key))).collect() }
    }
}

impl Layers {
    /// The defaults with the file over them. Without a path the packages' file is read if there is
    /// one; a path that was named must exist.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, or has a key or a shape that is not declared.
    pub fn from_file(path: Option<&Path>) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        let chosen = path.unwrap_or(Path::new(DEFAULT_PATH));
        match file::read(chosen)? {
            Some(text) => layers.settings.extend(file::settings(&text, chosen)?),
            None if path.is_none() => {}
            None => {
                let reason = "there is no such file; leave --config out to run without one".into();
                return Err(ConfigError::Unreadable { path: chosen.display().to_string(), reason });
            }
        }
        Ok(layers)
    }

    /// The defaults with a text over them that would stand in the file `path`.
    ///
    /// # Errors
    /// The text is no TOML, or has a key or a shape that is not declared.
    pub fn from_text(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        layers.settings.extend(file::settings(text, path)?);
        Ok(layers)
    }

    /// Sets the key that `flag` overrides.
    pub fn set_flag(&mut self, flag: &'static str, value: Value) {
        if let Some(key) = KEYS.iter().find(|key| key.flag == flag) {
            self.settings.insert(key.name, Setting { value, origin: Origin::Flag(flag) });
        }
    }

    /// Every key with its setting, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Key, &Setting)> {
        KEYS.iter().filter_map(|key| Some((key, self.settings.get(key.name)?)))
    }

    /// The setting of a declared key.
    ///
    /// # Errors
    /// The key is not declared, which is a fault of the program.
    pub fn setting(&self, name: &'static str) -> Result<&Setting, ConfigError> {
        self.settings.get(name).ok_or(ConfigError::Undeclared(name))
    }

    /// The keys in which `self` and `newer` differ and that need a restart.
    #[must_use]
    pub fn restart_needed_for(&self, newer: &Self) -> Vec<&'static str> {
        let fixed = self.iter().filter(|(key, _)| !key.reload);
        let changed = fixed.filter(|(key, setting)| {
            newer.settings.get(key.name).map(|other| &other.value) != Some(&setting.value)
        });
        changed.map(|(key, _)| key.name).collect()
    }
}

/// The declared default as a value of the declared shape.
fn default_value(key: &Key) -> Value {
    match key.shape {
        Shape::Text => Value::Text(key.default.to_owned()),
        Shape::List => Value::List(key.default.split_whitespace().map(str::to_owned).collect()),
        Shape::Number => Value::Number(key.default.parse().unwrap_or_default()),
        Shape::Switch => Value::Switch(key.default == "true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let dir = tempfile();
        std::fs::write(&dir, "backends = [\"10.0.0.1\"]\n[timeouts]\nidle = \"1h\"\n").unwrap();
        let mut layers = Layers::from_file(Some(&dir)).unwrap();
        layers.set_flag("--backend", Value::List(vec!["10.0.0.9".into()]));
        let origin = |name| layers.setting(name).unwrap().origin.to_string();
        assert_eq!(origin("backends"), "flag --backend");
        assert!(origin("timeouts.idle").ends_with(":3"));
        assert_eq!(origin("listen"), "default");
        std::fs::remove_file(dir).unwrap();
    }

    #[test]
    fn a_missing_file_is_an_error_only_when_named() {
        let missing = Path::new("/nowhere/mainstay.toml");
        let error = Layers::from_file(Some(missing)).unwrap_err().to_string();
        assert!(error.contains("/nowhere/mainstay.toml: there is no such file"), "{error}");
    }

    #[test]
    fn what_is_shown_is_read_again() {
        let texts = ["a\u{1}\u{7f}\u{85}\"\\\n\0é", ""].map(str::to_owned);
        for value in [Value::Text(texts[0].clone()), Value::List(texts.to_vec())] {
            let key = if matches!(value, Value::Text(_)) { "state_dir" } else { "backends" };
            let text = format!("{key} = {value}\n");
            let layers = Layers::from_text(&text, Path::new("m.toml")).unwrap();
            assert_eq!(layers.setting(key).unwrap().value, value, "{text}");
        }
    }

    #[test]
    fn a_restart_is_needed_for_the_port() {
        let old = Layers::default();
        let mut new = Layers::default();
        new.set_flag("--backend", Value::List(vec!["10.0.0.9".into()]));
        assert!(old.restart_needed_for(&new).is_empty());
        new.set_flag("--listen", Value::List(vec!["[::]:7443".into()]));
        assert_eq!(old.restart_needed_for(&new), ["listen"]);
    }

    fn tempfile() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("mainstay-layers-{}.toml", std::process::id()))
    }
}

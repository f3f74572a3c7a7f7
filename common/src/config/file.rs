//! Reads the TOML file into settings, each with its line.

use std::io::ErrorKind;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::keys::{self, Key, Shape};
use super::{ConfigError, Origin, Setting, Value};
use crate::files;

/// Largest file that is read. A full configuration is below 10 KiB; more is a mistaken path.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The text of the file, `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable =
        |reason: String| ConfigError::Unreadable { path: path.display().to_string(), reason };
    let bytes = match files::regular(path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(unreadable(match error.kind() {
                ErrorKind::PermissionDenied => {
                    "permission denied; run as its owner or make it readable".into()
                }
                ErrorKind::FileTooLarge => {
                    "larger than 1 MiB, so it is no configuration of ours".into()
                }
                _ => error.to_string(),
            }));
        }
    };
    String::from_utf8(bytes).map(Some).map_err(|_| unreadable("it is not UTF-8 text".into()))
}

/// The settings that the text makes.
pub(super) fn settings(
    text: &str,
    path: &Path,
) -> Result<Vec<(&'static str, Setting)>, ConfigError> {
    let reader = Reader { text, path: path.display().to_string() };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: reader.path.clone(),
        line: error.span().map_or(1, |span| reader.line(span.start)),
        reason: error.message().to_owned(),
    })?;
    let mut found = Vec::new();
    reader.collect("", table.get_ref(), &mut found)?;
    Ok(found)
}

struct Reader<'a> {
    text: &'a str,
    path: String,
}

impl Reader<'_> {
    /// The line of a byte offset, from 1.
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Adds the settings of `table`, whose dotted name is `prefix`.
    fn collect(
        &self,
        prefix: &str,
        table: &DeTable<'_>,
        found: &mut Vec<(&'static str, Setting)>,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let line = self.line(name.span().start);
            let dotted = match prefix {
                "" => name.get_ref().to_string(),
                _ => format!("{prefix}.{}", name.get_ref()),
            };
            match (keys::find(&dotted), value.get_ref()) {
                (Some(key), raw) => found.push((key.name, self.setting(key, raw, line)?)),
                (None, DeValue::Table(inner)) if keys::is_table(&dotted) => {
                    self.collect(&dotted, inner, found)?;
                }
                (None, other) if keys::is_table(&dotted) => {
                    let (path, found) = (self.path.clone(), kind(other));
                    return Err(ConfigError::NoTable { path, line, table: dotted, found });
                }
                (None, _) => {
                    let hint = keys::hint(&dotted);
                    let path = self.path.clone();
                    return Err(ConfigError::UnknownKey { path, line, key: dotted, hint });
                }
            }
        }
        Ok(())
    }

    /// The value of a declared key, refused if it has another shape.
    fn setting(
        &self,
        key: &'static Key,
        raw: &DeValue<'_>,
        line: usize,
    ) -> Result<Setting, ConfigError> {
        let origin = Origin::File { path: self.path.clone(), line };
        match value(key.shape, raw) {
            Some(value) => Ok(Setting { value, origin }),
            None => {
                let wanted = match key.shape {
                    Shape::Text => "a string in quotes",
                    Shape::List => "a list of strings, like [\"a\", \"b\"]",
                    Shape::Number => "a whole number from 0",
                    Shape::Switch => "true or false",
                };
                let right_kind = matches!(
                    (key.shape, raw),
                    (Shape::List, DeValue::Array(_)) | (Shape::Number, DeValue::Integer(_))
                );
                let fits = if right_kind { " that does not fit" } else { "" };
                let reason = format!("is {}{fits}; it must be {wanted}", kind(raw));
                Err(ConfigError::Value { origin, key: key.name, reason })
            }
        }
    }
}

fn value(shape: Shape, raw: &DeValue<'_>) -> Option<Value> {
    match (shape, raw) {
        (Shape::Text, DeValue::String(text)) => Some(Value::Text(text.to_string())),
        (Shape::List, DeValue::Array(items)) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().map(Value::List)
        }
        (Shape::Number, DeValue::Integer(number)) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Number)
        }
        (Shape::Switch, DeValue::Boolean(on)) => Some(Value::Switch(*on)),
        _ => None,
    }
}

fn kind(raw: &DeValue<'_>) -> &'static str {
    match raw {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        settings(text, Path::new("m.toml")).unwrap_err().to_string()
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let table = [
            ("listen = [", "m.toml:1: not valid TOML"),
            ("\nlsten = []", "m.toml:2: unknown key `lsten`; did you mean `listen`?"),
            (
                "[timeouts]\nidel = \"1s\"",
                "m.toml:2: unknown key `timeouts.idel`; did you mean `timeouts.idle`?",
            ),
            ("listen = \"x\"", "m.toml:1: listen: is a string; it must be a list of strings"),
            ("backends = [1]", "m.toml:1: backends: is a list that does not fit"),
            (
                "workers = -1",
                "m.toml:1: workers: is a number that does not fit; it must be a whole number",
            ),
            (
                "timeouts = true",
                "m.toml:1: timeouts: is a boolean; it is a table, so that its keys stand below a line \
                 [timeouts]",
            ),
            ("listen = []\nlisten = []", "m.toml:2: not valid TOML: duplicate key"),
        ];
        for (text, expected) in table {
            let said = error(text);
            assert!(said.starts_with(expected), "{text}\n said: {said}\n want: {expected}");
        }
    }

    #[test]
    fn dotted_keys_and_tables_are_the_same() {
        let path = Path::new("m.toml");
        let dotted = settings("timeouts.idle = \"1h\"", path).unwrap();
        let table = settings("[timeouts]\nidle = \"1h\"", path).unwrap();
        assert_eq!(dotted[0].1.value, table[0].1.value);
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in "[a-z\\[\\]\"= \\n.0-9]{0,200}") {
            settings(&text, Path::new("m.toml")).ok();
        }
    }
}

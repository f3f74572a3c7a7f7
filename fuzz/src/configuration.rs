//! Configurations: our own, and those of the balancers that we take the place of.

use std::path::Path;
use std::str::from_utf8;

use common::config::{Config, Layers};

use crate::import::{Format, import};

/// `mainstay.toml`. What `mainstay check` prints of it is itself a configuration, and the same one.
pub(crate) fn mainstay_toml(input: &[u8]) {
    let Ok(text) = from_utf8(input) else { return };
    let path = Path::new("mainstay.toml");
    let Ok(layers) = Layers::from_text(text, path) else { return };
    let row = |(key, setting): (&common::config::keys::Key, &common::config::Setting)| {
        format!("{} = {}\n", key.name, setting.value)
    };
    let printed: String = layers.iter().map(row).collect();
    let again = Layers::from_text(&printed, path).expect(&printed);
    let values = |layers: &Layers| -> Vec<_> {
        layers.iter().map(|(_, setting)| setting.value.clone()).collect()
    };
    assert_eq!(values(&layers), values(&again), "{printed}");
    if let Ok(config) = Config::checked(&layers) {
        // What was chosen and what is a default is no difference in a printed one.
        assert!(Config::checked(&again).is_ok());
        assert!(!config.listen.is_empty());
    }
}

/// `nginx.conf` and `haproxy.cfg`. What comes out is a configuration, and its notes point into the
/// file.
pub(crate) fn import_any(input: &[u8]) {
    let lines = input.iter().filter(|byte| **byte == b'\n').count() + 1;
    for format in [None, Some(Format::Nginx), Some(Format::Haproxy)] {
        let Ok(imported) = import(input, "its name", format, None) else { continue };
        let layers = Layers::from_text(&imported.toml, Path::new("mainstay.toml")).unwrap();
        let config = Config::checked(&layers).unwrap();
        assert_eq!(config.backends.len(), imported.backends);
        assert!((1..=lines).contains(&imported.line));
        assert!(imported.notes.iter().all(|note| note.line <= lines));
    }
}

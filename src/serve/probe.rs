//! The probes' method from the configuration: reads the PEM files that it names.

use std::io::ErrorKind;
use std::path::Path;

use common::config::{Config, ProbeKind};
use lb::health::identity::{ClientIdentity, client_config};
use lb::health::prober::ProbeMethod;

/// Largest PEM file: a bundle of a few CAs is below 64 KiB.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// How the backends are to be questioned.
///
/// # Errors
/// One sentence that names the key, the file and what is wrong with it.
pub(super) fn method(config: &Config) -> Result<ProbeMethod, String> {
    if config.probe == ProbeKind::Tcp {
        return Ok(ProbeMethod::Tcp);
    }
    let cluster = &config.cluster;
    let ca = match &cluster.ca {
        Some(path) => Some(read("cluster.ca", path)?),
        None => None,
    };
    let client = match &cluster.client {
        Some((certificate, key)) => Some((
            read("cluster.client_certificate", certificate)?,
            read("cluster.client_key", key)?,
        )),
        None => None,
    };
    let identity = client.as_ref().map(|(certificate, key)| ClientIdentity { certificate, key });
    client_config(ca.as_deref(), identity)
        .map(ProbeMethod::Https)
        .map_err(|error| error.to_string())
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |reason: String| format!("{key}: cannot read {}: {reason}", path.display());
    let size = std::fs::metadata(path).map_err(|error| wrong(reason(&error)))?.len();
    if size > PEM_BYTES_MAX {
        return Err(wrong("larger than 1 MiB, so it is no PEM file of ours".to_owned()));
    }
    std::fs::read(path).map_err(|error| wrong(reason(&error)))
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

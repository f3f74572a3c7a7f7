//! The probes' method from the configuration: reads the PEM files that it names.

use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;

use bootstrap::kubeadm::CaPin;
use bootstrap::kubernetes::ClusterCa;
use common::config::{Config, ProbeKind};
use common::files;
use lb::health::identity::{ClientIdentity, ProbeIdentity};
use lb::health::prober::ProbeMethod;

/// Largest PEM file: a bundle of a few CAs is below 64 KiB.
pub(crate) const PEM_BYTES_MAX: u64 = 1 << 20;

/// How each part of a PEM file begins.
const PEM_BEGINS: &[u8] = b"-----BEGIN ";

/// How the backends are to be questioned. `found` is the cluster's CA as it was found by its pin,
/// `wanted` tells whether there is such a pin.
///
/// # Errors
/// One sentence that names the key, the file and what is wrong with it.
pub(super) fn method(
    config: &Config,
    found: Option<&ClusterCa>,
    wanted: bool,
) -> Result<ProbeMethod, String> {
    if config.probe == ProbeKind::Tcp {
        return Ok(ProbeMethod::Tcp);
    }
    let cluster = &config.cluster;
    let ca = match &cluster.ca {
        Some(path) => Some(fitting(read("cluster.ca", path)?, cluster.ca_pin.as_deref())?),
        None => found.map(|found| found.pem.clone()),
    };
    let client = match &cluster.client {
        Some((certificate, key)) => Some((
            read("cluster.client_certificate", certificate)?,
            read("cluster.client_key", key)?,
        )),
        None => None,
    };
    let identity = client.as_ref().map(|(certificate, key)| ClientIdentity { certificate, key });
    let identity =
        ProbeIdentity::new(ca.as_deref(), identity).map_err(|error| error.to_string())?;
    let unidentified = ca.is_none() && wanted;
    Ok(match unidentified {
        true => ProbeMethod::Unidentified(identity),
        false => ProbeMethod::Https(identity),
    })
}

/// The CA of the file, if it has the pin that the operator gave as well.
fn fitting(ca: Vec<u8>, pin: Option<&str>) -> Result<Vec<u8>, String> {
    let Some(pin) = pin.and_then(|pin| CaPin::from_str(pin).ok()) else {
        return Ok(ca);
    };
    let pins = CaPin::of_bundle(&ca).map_err(|error| format!("cluster.ca: {error}"))?;
    if pins.contains(&pin) {
        return Ok(ca);
    }
    let pins: Vec<String> = pins.iter().map(ToString::to_string).collect();
    Err(format!("cluster.ca_pin: is {pin}, but cluster.ca has {}", pins.join(", ")))
}

/// A PEM file that a key names.
fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |reason: String| format!("{key}: cannot read {}: {reason}", path.display());
    let pem = files::regular(path, PEM_BYTES_MAX).map_err(|error| wrong(reason(&error)))?;
    if !pem.windows(PEM_BEGINS.len()).any(|part| part == PEM_BEGINS) {
        return Err(wrong("it is no PEM file".to_owned()));
    }
    Ok(pem)
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::FileTooLarge => "larger than 1 MiB, so it is no PEM file of ours".to_owned(),
        _ => error.to_string(),
    }
}

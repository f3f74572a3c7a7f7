//! This host: limits, kernel settings, files and directories.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::config::Config;
use common::files;
use jiff::Timestamp;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::Finding;
use super::certificate::{self, Dates};
use crate::serve::{PEM_BYTES_MAX, fitting};

/// Connections that may wait for an accept, as the listening sockets ask for.
const BACKLOG: u64 = 4096;

/// Source ports below which a busy cluster runs short on the way to one master.
const PORTS_FEW: u64 = 20_000;

/// Where keepalived has its configuration.
const KEEPALIVED: &str = "/etc/keepalived/keepalived.conf";

/// Looks at the host.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let number = |name: &str| sysctl(name)?.parse::<u64>().ok();
    let mut findings = vec![open_files(config, getrlimit(Resource::Nofile).maximum)];
    findings.extend(number("net.core.somaxconn").map(somaxconn));
    if let Some(range) = sysctl("net.ipv4.ip_local_port_range").and_then(|text| range(&text)) {
        findings.push(source_ports(config, &range));
        findings.extend(own_ports(config, &range));
    }
    if Path::new(KEEPALIVED).exists() {
        findings.extend(sysctl("net.ipv4.ip_nonlocal_bind").map(|on| nonlocal_bind(config, &on)));
    }
    findings.push(state_dir(&config.state_dir));
    findings.extend(config.ledger.as_deref().map(ledger));
    findings.extend(files(config));
    findings
}

/// A kernel setting; none if this kernel or container has it not.
pub(super) fn sysctl(name: &str) -> Option<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn open_files(config: &Config, most: Option<u64>) -> Finding {
    let check = "limit of open files";
    let wanted = config.limits.max_connections;
    let Some(most) = most else { return Finding::ok(check, "none") };
    let fitting = fitting(most, config);
    let found = format!("{most}: {fitting} connections fit, {wanted} are configured");
    if fitting >= wanted {
        return Finding::ok(check, found);
    }
    let fix = "the unit sets LimitNOFILE=1048576; in a shell `ulimit -n`, or lower limits.max_connections";
    Finding::warn(check, found, fix)
}

fn somaxconn(value: u64) -> Finding {
    let check = "net.core.somaxconn";
    if value >= BACKLOG {
        return Finding::ok(check, value.to_string());
    }
    let found =
        format!("{value}: a burst of more clients is dropped and tries again after a second");
    Finding::warn(check, found, format!("sysctl -w net.core.somaxconn={BACKLOG}"))
}

/// Two numbers with white space between, as the kernel writes a range.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once(char::is_whitespace)?;
    Some(low.trim().parse().ok()?..=high.trim().parse().ok()?)
}

fn source_ports(config: &Config, range: &RangeInclusive<u16>) -> Finding {
    let check = "net.ipv4.ip_local_port_range";
    let count = u64::from(range.end().saturating_sub(*range.start())) + 1;
    let found = format!("{count} ports: as many connections to one master at once");
    let chosen = config.limits.max_connections_chosen;
    let wanted = u64::try_from(config.limits.max_connections).unwrap_or(u64::MAX);
    if count < PORTS_FEW || (chosen && count < wanted) {
        let fix = "sysctl -w net.ipv4.ip_local_port_range=\"15000 64999\"";
        return Finding::warn(check, found, fix);
    }
    Finding::ok(check, found)
}

/// A port of ours that the kernel may give to an outgoing connection is taken when we start.
fn own_ports(config: &Config, range: &RangeInclusive<u16>) -> Vec<Finding> {
    let inside =
        config.listen.iter().map(|listen| listen.0.port()).filter(|port| range.contains(port));
    let finding = |port: u16| {
        let found = format!("{port} lies in net.ipv4.ip_local_port_range: any program may hold it");
        let fix = format!("sysctl -w net.ipv4.ip_local_reserved_ports={port}, or another port");
        Finding::warn(format!("port {port}"), found, fix)
    };
    inside.map(finding).collect()
}

fn nonlocal_bind(config: &Config, value: &str) -> Finding {
    let check = "net.ipv4.ip_nonlocal_bind";
    let special = |listen: &common::config::ListenAddr| {
        !listen.0.ip().is_unspecified() && !listen.0.ip().is_loopback()
    };
    if value == "1" || !config.listen.iter().any(special) {
        return Finding::ok(check, format!("{value}, with keepalived here"));
    }
    let found = "0: the host without the moving address cannot listen on it";
    Finding::warn(check, found, "sysctl -w net.ipv4.ip_nonlocal_bind=1, or listen on [::]:6443")
}

fn state_dir(path: &Path) -> Finding {
    let check = format!("state_dir {}", path.display());
    match std::fs::metadata(path) {
        Ok(metadata) => state_dir_found(check, path, &metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Finding::ok(check, "not there yet; it is made at the start")
        }
        Err(error) => {
            Finding::fail(check, error.to_string(), "run as root, or name another directory")
        }
    }
}

fn state_dir_found(check: String, path: &Path, metadata: &Metadata) -> Finding {
    let mode = metadata.mode() & 0o777;
    let (fix, shown) = (format!("chmod 700 {}", path.display()), format!("mode {mode:o}"));
    if !metadata.is_dir() {
        return Finding::fail(check, "is a file", "move it away, or name another directory");
    }
    if mode & 0o077 != 0 {
        let found = format!("{shown}: others may look at the tokens and keys in it");
        return Finding::warn(check, found, fix);
    }
    match access(path, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Finding::ok(check, shown),
        Err(Errno::ACCESS) => {
            let found = format!("{shown}, of user {}: not writable for us", metadata.uid());
            Finding::warn(check, found, "ask as root, or as the user of the service")
        }
        // Such as a file system that is read-only, which is so for everybody.
        Err(error) => {
            let found = format!("{shown}, cannot be written: {}", std::io::Error::from(error));
            Finding::warn(check, found, "make it writable, or name another with --state-dir")
        }
    }
}

fn ledger(path: &Path) -> Finding {
    let check = format!("ledger {}", path.display());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match access(dir, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Finding::ok(check, "its directory can be written"),
        Err(error) => {
            let fix = format!("make {} for the user of the service", dir.display());
            Finding::fail(check, std::io::Error::from(error).to_string(), fix)
        }
    }
}

/// The PEM files of the configuration.
fn files(config: &Config) -> Vec<Finding> {
    let cluster = &config.cluster;
    let client = cluster.client.as_ref().map(|(certificate, _)| certificate);
    let named = [("cluster.ca", cluster.ca.as_ref()), ("cluster.client_certificate", client)];
    let file = |(key, path): (&str, Option<&std::path::PathBuf>)| Some(pem(key, path?));
    named.into_iter().filter_map(file).collect()
}

fn pem(key: &str, path: &Path) -> Finding {
    let check = format!("{key} {}", path.display());
    let fix = "copy it from a master: /etc/kubernetes/pki/ca.crt, readable for the service";
    let text = match files::regular(path, PEM_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => return Finding::fail(check, error.to_string(), fix),
    };
    match Dates::of_pem(&text) {
        Some(dates) => certificate::judge_dates(check, &dates, Timestamp::now()),
        None => Finding::fail(check, "holds no certificate in PEM form", fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;
    use common::config::{Layers, Value};

    fn config(flags: &[(&'static str, &str)]) -> Config {
        let mut layers = Layers::default();
        for (flag, value) in flags {
            layers.set_flag(flag, Value::List(vec![(*value).to_owned()]));
        }
        Config::checked(&layers).unwrap()
    }

    #[test]
    fn limits_that_are_too_low_are_seen() {
        // As many workers as the figure below is for.
        let config = Config { workers: 2, ..config(&[]) };
        assert_eq!(open_files(&config, None).grade, Grade::Ok);
        assert_eq!(open_files(&config, Some(1 << 20)).grade, Grade::Ok);
        let low = open_files(&config, Some(1024));
        assert!(low.grade == Grade::Warn && low.found.starts_with("1024: 190 connections fit"));
        assert_eq!((somaxconn(4096).grade, somaxconn(128).grade), (Grade::Ok, Grade::Warn));
    }

    #[test]
    fn ports_are_compared_with_the_kernels_range() {
        let usual = range("32768\t60999").unwrap();
        assert_eq!(source_ports(&config(&[]), &usual).grade, Grade::Ok);
        assert_eq!(source_ports(&config(&[]), &(50_000..=60_000)).grade, Grade::Warn);
        assert!(own_ports(&config(&[]), &usual).is_empty());
        let high = own_ports(&config(&[("--listen", ":40000")]), &usual);
        assert!(high[0].fix.contains("ip_local_reserved_ports=40000"), "{high:?}");
        assert_eq!(range("x"), None);
    }

    #[test]
    fn a_moving_address_needs_a_kernel_setting() {
        assert_eq!(nonlocal_bind(&config(&[]), "0").grade, Grade::Ok);
        let one = config(&[("--listen", "10.0.0.10:6443")]);
        assert_eq!(
            (nonlocal_bind(&one, "0").grade, nonlocal_bind(&one, "1").grade),
            (Grade::Warn, Grade::Ok)
        );
    }
}

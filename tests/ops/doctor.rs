//! `mainstay doctor` on the real binary: a master that is sound, and each thing that may be wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::support::command::{Outcome, mainstay, run};
use crate::support::disk::Disk;
use crate::support::{Backend, Behaviour, Setup};

/// A CA and what it signs.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }
}

/// How a master is to be.
struct Kind {
    names: &'static [&'static str],
    /// From now on, in days.
    valid_days: i64,
    status: u16,
    /// Its clock minus ours, in seconds.
    skew: i64,
}

const SOUND: Kind =
    Kind { names: &["127.0.0.1", "kube.example.org"], valid_days: 300, status: 200, skew: 0 };

/// An apiserver that answers every request in the same way, until the test ends.
fn master(ca: &Ca, kind: &Kind) -> SocketAddr {
    let names: Vec<String> = kind.names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let day = Duration::from_secs(24 * 3600);
    params.not_before = (SystemTime::now() - day * 400).into();
    let days = day * u32::try_from(kind.valid_days.unsigned_abs()).unwrap();
    let end = if kind.valid_days < 0 { SystemTime::now() - days } else { SystemTime::now() + days };
    params.not_after = (end + day / 2).into();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &ca.issuer).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (status, skew) = (kind.status, kind.skew);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever only connects, or does not believe us, is gone in the middle.
            answer(&config, stream.unwrap(), status, skew).ok();
        }
    });
    addr
}

fn answer(
    config: &Arc<ServerConfig>,
    mut stream: std::net::TcpStream,
    status: u16,
    skew: i64,
) -> std::io::Result<()> {
    let mut tls = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
    let mut tls = rustls::Stream::new(&mut tls, &mut stream);
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match tls.read(&mut buffer)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(skew);
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT");
    write!(tls, "HTTP/1.1 {status} x\r\ndate: {date}\r\ncontent-length: 0\r\n\r\n")?;
    tls.flush()
}

/// Doctor's findings about one master.
fn examined(
    dir: &Path,
    addr: SocketAddr,
    ca: Option<&str>,
    flags: &[&str],
) -> (Outcome, Vec<Value>) {
    let mut config =
        format!("listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nbackends = [\"m={addr}\"]\n");
    if let Some(ca) = ca {
        std::fs::write(dir.join("ca.crt"), ca).unwrap();
        config.push_str("[cluster]\nca = \"ca.crt\"\n");
    }
    std::fs::write(dir.join("c.toml"), config).unwrap();
    let args =
        [&["doctor", "--config", "c.toml", "--state-dir", "state", "-o", "json"], flags].concat();
    let outcome = mainstay(dir, &args);
    let findings =
        serde_json::from_str(&outcome.out).unwrap_or_else(|e| panic!("{e}: {outcome:?}"));
    (outcome, findings)
}

fn grade<'a>(findings: &'a [Value], check: &str) -> &'a str {
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {findings:#?}"))["grade"].as_str().unwrap()
}

#[test]
fn a_sound_master_is_sound() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let addr = master(&ca, &SOUND);
    let (outcome, findings) =
        examined(dir.path(), addr, Some(&ca.pem), &["--endpoint", "kube.example.org:6443"]);
    assert_eq!(outcome.code, Some(0), "{findings:#?}");
    for check in ["reachable", "identity", "certificate", "names", "ready", "clock"] {
        assert_eq!(grade(&findings, &format!("m {check}")), "ok", "{findings:#?}");
    }
    assert_eq!(grade(&findings, "cluster.ca ca.crt"), "ok");
    assert_eq!(grade(&findings, "listen 127.0.0.1:0"), "ok");
}

#[test]
fn each_fault_of_a_master_is_found_with_a_way_out() {
    let (dir, ca, other) = (tempfile::tempdir().unwrap(), Ca::new(), Ca::new());
    let table: [(Kind, &str, &str, &str); 7] = [
        (Kind { valid_days: -1, ..SOUND }, "m certificate", "fail", "renew"),
        (Kind { valid_days: 10, ..SOUND }, "m certificate", "warn", "renew"),
        (Kind { names: &["10.9.9.9"], ..SOUND }, "m identity", "fail", "among its names"),
        (Kind { names: &["127.0.0.1"], ..SOUND }, "m names", "fail", "certSANs"),
        (Kind { status: 401, ..SOUND }, "m ready", "warn", "cluster.client_certificate"),
        (Kind { status: 500, ..SOUND }, "m ready", "warn", "readyz?verbose"),
        (Kind { skew: 3600, ..SOUND }, "m clock", "fail", "chrony"),
    ];
    for (kind, check, expected, fix) in table {
        let addr = master(&ca, &kind);
        let flags = ["--endpoint", "kube.example.org:6443"];
        let (outcome, findings) = examined(dir.path(), addr, Some(&ca.pem), &flags);
        assert_eq!(grade(&findings, check), expected, "{findings:#?}");
        let found = findings.iter().find(|finding| finding["check"] == check).unwrap();
        assert!(found["fix"].as_str().unwrap().contains(fix), "{found:#?}");
        let failed = findings.iter().any(|finding| finding["grade"] == "fail");
        assert_eq!(outcome.code, Some(i32::from(failed)), "{outcome:?}");
    }
    let addr = master(&other, &SOUND);
    let (outcome, findings) = examined(dir.path(), addr, Some(&ca.pem), &[]);
    assert_eq!((outcome.code, grade(&findings, "m identity")), (Some(1), "fail"));
    assert!(outcome.err.ends_with("1 check failed\n") || outcome.err.ends_with("checks failed\n"));
    let (_, findings) = examined(dir.path(), addr, None, &[]);
    assert_eq!(grade(&findings, "m identity"), "warn");
    let (outcome, findings) = examined(dir.path(), "127.0.0.1:1".parse().unwrap(), None, &[]);
    assert_eq!((outcome.code, grade(&findings, "m reachable")), (Some(1), "fail"));
}

#[test]
fn a_taken_port_names_its_program() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let outcome = mainstay(dir.path(), &["doctor", "--listen", &addr, "--state-dir", "s"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let row = outcome.out.lines().find(|line| line.contains(&format!("listen {addr}"))).unwrap();
    assert!(row.contains("FAIL") && row.contains("taken by "), "{row}");
    assert!(row.contains(&format!("pid {}", std::process::id())), "{row}");

    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).start();
    let own = balancer.addr.to_string();
    let outcome = mainstay(dir.path(), &["doctor", "--listen", &own, "--state-dir", "s"]);
    let row = outcome.out.lines().find(|line| line.contains(&format!("listen {own}"))).unwrap();
    assert!(row.contains(" ok ") && row.contains("held by the mainstay that runs"), "{row}");
}

#[test]
fn directories_and_files_are_looked_at() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(dir.path().join("no.crt"), "nothing").unwrap();
    let config = "ledger = \"gone/x.log\"\nlisten = [\"127.0.0.1:0\"]\nadmin = \"unix:gone/a.sock\"\n\
                  [cluster]\nca = \"no.crt\"\n";
    std::fs::write(dir.path().join("c.toml"), config).unwrap();
    let args = ["doctor", "--config", "c.toml", "--state-dir", "state", "-o", "json"];
    let outcome = mainstay(dir.path(), &args);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let findings: Vec<Value> = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(grade(&findings, "state_dir state"), "warn");
    assert_eq!(grade(&findings, "ledger gone/x.log"), "fail");
    assert_eq!(grade(&findings, "cluster.ca no.crt"), "fail");
    assert_eq!(grade(&findings, "admin unix:gone/a.sock"), "warn");
    assert_eq!(grade(&findings, "masters"), "warn");
    let bad = findings.iter().filter(|finding| finding["grade"] != "ok");
    assert!(bad.clone().count() >= 5 && bad.into_iter().all(|f| f["fix"] != ""), "{findings:#?}");
}

#[test]
fn a_read_only_file_system_is_named_to_root_too() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::over(dir.path(), "64k") else { return };
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(disk.path(), mode).unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-o", "remount,ro"]).arg(disk.path());
    assert_eq!(run(mount).code, Some(0));
    let state = disk.path().to_str().unwrap();
    let outcome = mainstay(Path::new("/"), &["doctor", "--state-dir", state, "-o", "json"]);
    let findings: Vec<Value> = serde_json::from_str(&outcome.out).unwrap();
    let check = format!("state_dir {state}");
    let found = findings.iter().find(|finding| finding["check"] == check.as_str()).unwrap();
    let said = found["found"].as_str().unwrap();
    assert!(said.contains("cannot be written: Read-only file system"), "{found}");
    assert_eq!(found["grade"], "warn");
}

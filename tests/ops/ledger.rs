//! The connection ledger of the real binary: what it says of each connection, rotation, a disk that
//! is full, a reader that does not read.

use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use crate::support::command::{MAINSTAY, run};
use crate::support::disk::Disk;
use crate::support::{
    Backend, Balancer, Behaviour, Client, Refusing, Setup, eventually, make_fifo, skipped, until,
};

fn kept_in(ledger: &Path, backend: &Backend) -> Balancer {
    let config = format!("ledger = \"{}\"\n", ledger.display());
    Setup::backends(&[backend.addr]).config(config).start()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

/// The lines, once there are as many.
fn lines_of(path: &Path, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines"), || Some(lines(path)).filter(|lines| lines.len() >= count))
}

/// The first flight of a TLS client that asks for a name.
fn hello(name: &'static str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut client =
        rustls::ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    let mut flight = Vec::new();
    client.write_tls(&mut flight).unwrap();
    flight
}

#[test]
fn each_connection_has_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.log");
    let backend = Backend::new(Behaviour::Echo);
    let balancer = kept_in(&path, &backend);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);

    let mut client = Client::connect(balancer.addr).unwrap();
    let flight = hello("kube.example.org");
    client.echo(&flight).unwrap();
    let from = client.0.local_addr().unwrap().to_string();
    client.end();
    client.ending();
    let line = lines_of(&path, 1).remove(0);
    assert_eq!(line["client"], from);
    assert_eq!(line["server_name"], "kube.example.org");
    assert_eq!(line["backend"], backend.addr.to_string());
    assert_eq!(line["backend_address"], backend.addr.to_string());
    assert!(line["local"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    let size = flight.len() as u64;
    assert_eq!(
        (line["received_bytes"].as_u64(), line["sent_bytes"].as_u64()),
        (Some(size), Some(size))
    );
    assert_eq!(line["reason"], "client_ended");
    let (start, end) = (line["start"].as_str().unwrap(), line["end"].as_str().unwrap());
    assert!(start <= end && end.ends_with('Z') && start.len() == 24, "{line}");

    Client::established(balancer.addr).unwrap().reset();
    let line = lines_of(&path, 2).remove(1);
    assert_eq!((&line["reason"], &line["server_name"]), (&"client_reset".into(), &Value::Null));
    assert_eq!(balancer.metric("mainstay_ledger_lines_total"), 2.0);
    assert_eq!(balancer.metric("mainstay_ledger_lost_total"), 0.0);
}

/// The script of the page about the ledger, with a ledger of ours and an audit log as an apiserver
/// writes it.
#[test]
fn the_documented_script_finds_the_client_of_a_request() {
    if run(Command::new("jq")).code.is_none_or(|code| code == 127) {
        return skipped("jq is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.log");
    let backend = Backend::new(Behaviour::Echo);
    let balancer = kept_in(&path, &backend);
    let mut client = Client::connect(balancer.addr).unwrap();
    client.echo(b"hello").unwrap();
    let from = client.0.local_addr().unwrap().to_string();
    let during = jiff::Timestamp::now();
    client.end();
    client.ending();
    lines_of(&path, 1);
    let request = |at: jiff::Timestamp| {
        serde_json::json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": "ResponseComplete",
            "requestReceivedTimestamp": format!("{at:.6}"), "verb": "delete",
            "requestURI": "/api/v1/namespaces/shop", "sourceIPs": ["192.168.122.10"],
            "user": { "username": "kubernetes-admin" },
        })
    };
    let later = during + jiff::SignedDuration::from_hours(1);
    let audit = format!("{}\n{}\n", request(during), request(later));
    std::fs::write(dir.path().join("audit.log"), audit).unwrap();

    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/ledger.md");
    let page = std::fs::read_to_string(page).unwrap();
    let script = page.split("```sh\n").find(|part| part.starts_with("cat > who.jq")).unwrap();
    let script = script.split("```").next().unwrap();
    assert!(script.contains(" master-1 "), "{script}");
    let mut shell = Command::new("sh");
    shell.args(["-ec", &script.replace("master-1", &backend.addr.to_string())]);
    shell.current_dir(dir.path());
    let outcome = run(shell);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let found: Vec<Value> =
        outcome.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), 2, "{outcome:?}");
    assert_eq!(found[0]["clients"], serde_json::json!([from]));
    assert_eq!(found[0]["user"], "kubernetes-admin");
    assert_eq!(found[1]["clients"], serde_json::json!([]));
}

#[test]
fn a_client_that_nobody_served_has_a_line_without_a_backend() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.log");
    let refusing = Refusing::new();
    let config = format!("ledger = \"{}\"\nlisten_when_empty = true\n", path.display());
    let setup = Setup::backends(&[refusing.addr]).down(&[refusing.addr]).config(config);
    let balancer = setup.start();
    Client::ending_at(balancer.addr);
    let line = lines_of(&path, 1).remove(0);
    assert_eq!((&line["reason"], &line["backend"]), (&"no_backend".into(), &Value::Null));
}

#[test]
fn sessions_that_are_cut_by_the_stop_have_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.log");
    let backend = Backend::new(Behaviour::Echo);
    let config = format!("ledger = \"{}\"\n[stop]\ndrain_timeout = \"0s\"\n", path.display());
    let mut balancer = Setup::backends(&[backend.addr]).config(config).start();
    let clients: Vec<Client> =
        (0..20).map(|_| Client::established(balancer.addr).unwrap()).collect();
    balancer.signal(rustix::process::Signal::TERM);
    assert!(balancer.exit().success());
    drop(clients);
    let lines = lines(&path);
    assert_eq!(lines.len(), 20);
    assert!(lines.iter().all(|line| line["reason"] == "stopping"), "{lines:?}");
}

#[test]
fn a_renamed_file_is_left_alone_after_the_signal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("connections.log");
    let backend = Backend::new(Behaviour::Echo);
    let balancer = kept_in(&path, &backend);
    let end_one = || {
        Client::established(balancer.addr).unwrap().reset();
    };
    end_one();
    lines_of(&path, 1);
    for (number, signal) in
        [rustix::process::Signal::USR1, rustix::process::Signal::HUP].into_iter().enumerate()
    {
        let old = dir.path().join(format!("connections.log.{number}"));
        std::fs::rename(&path, &old).unwrap();
        balancer.signal(signal);
        until("a new file", || path.exists());
        end_one();
        lines_of(&path, 1);
        assert_eq!(lines(&old).len(), 1, "the old file is complete and gets no more");
    }
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::over(dir.path(), "64k") else { return };
    let path = dir.path().join("connections.log");
    let backend = Backend::new(Behaviour::Echo);
    let balancer = kept_in(&path, &backend);
    disk.fill();
    let lost = || balancer.metric("mainstay_ledger_lost_total");
    let mut ended = 0;
    while lost() < 30.0 {
        Client::established(balancer.addr).unwrap().reset();
        ended += 1;
        assert!(ended < 2000, "the disk is not full");
    }
    // Whatever was written is whole, which `lines` checks.
    let before = lines(&path).len();
    let warned = balancer.log().matches("the ledger takes no lines").count();
    assert_eq!(warned, 1, "said once");
    disk.clear();
    until("lines again", || {
        Client::established(balancer.addr).unwrap().reset();
        lines(&path).len() > before
    });
    until("all is accounted for", || {
        let written = balancer.metric("mainstay_ledger_lines_total");
        written + lost() == balancer.metric("mainstay_connections_accepted_total")
    });
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    make_fifo(&path);
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let mut options = std::fs::OpenOptions::new();
    let mut reader = options.read(true).custom_flags(nonblock).open(&path).unwrap();
    let backend = Backend::new(Behaviour::Echo);
    let balancer = kept_in(&path, &backend);
    let mut ended = 0;
    while balancer.metric("mainstay_ledger_lost_total") < 5.0 {
        Client::established(balancer.addr).unwrap().reset();
        ended += 1;
        assert!(ended < 5000, "a pipe holds 64 KiB");
    }
    let mut text = vec![0; 1024];
    assert!(reader.read(&mut text).unwrap() > 0);
    assert!(text.starts_with(b"{\"start\":"));
}

#[test]
fn a_ledger_that_cannot_be_opened_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for (name, code, reason) in
        [("no/where.log", 69, "make its directory first"), (".", 69, "Is a directory")]
    {
        let config = dir.path().join("c.toml");
        let mut file = std::fs::File::create(&config).unwrap();
        writeln!(file, "ledger = \"{name}\"").unwrap();
        let mut command = Command::new(MAINSTAY);
        command
            .current_dir(dir.path())
            .args([
                "serve",
                "--join-listen",
                "off",
                "--config",
                "c.toml",
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "unix:a.sock",
            ])
            .args(["--state-dir", "state"]);
        let outcome = run(command);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        let last = outcome.err.lines().last().unwrap();
        assert!(
            last.starts_with("mainstay: cannot open the ledger") && last.contains(reason),
            "{last}"
        );
    }
}

//! What is wrong around the program: taken ports, paths that are something else, missing rights.
//! Each ends with one clear sentence and a code that says whose turn it is.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use common::status::Status;

use crate::support::command::{MAINSTAY, Outcome, mainstay, run};
use crate::support::{Backend, Behaviour, Setup, skipped};

/// Anyone but root: `nobody` on every distribution we know.
const NOBODY: &str = "65534";

fn serve(dir: &Path, args: &[&str]) -> Outcome {
    let mut all = vec!["serve", "--state-dir", "state", "--admin", "unix:admin.sock"];
    all.extend_from_slice(args);
    mainstay(dir, &all)
}

/// It ended with this code and one sentence, which holds `part`.
#[track_caller]
pub(crate) fn assert_ends(outcome: &Outcome, code: i32, part: &str) {
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    let sentences = outcome.err.lines().filter(|line| !line.starts_with('{'));
    let sentences: Vec<&str> = sentences.collect();
    assert_eq!(sentences.len(), 1, "{outcome:?}");
    assert!(sentences[0].starts_with("mainstay: "), "{outcome:?}");
    assert!(sentences[0].contains(part), "{outcome:?}");
}

#[test]
fn a_taken_port_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let outcome = serve(dir.path(), &["--listen", &addr]);
    assert_ends(&outcome, 69, &format!("cannot listen on {addr}: the address is in use"));

    let backend = Backend::new(Behaviour::Echo);
    let other = Setup::backends(&[backend.addr]).start();
    let outcome = serve(dir.path(), &["--listen", &other.addr.to_string()]);
    assert_ends(&outcome, 69, "the address is in use");
}

#[test]
fn a_taken_admin_port_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let args = ["serve", "--state-dir", "state", "--listen", "127.0.0.1:0", "--admin", &addr];
    let outcome = mainstay(dir.path(), &args);
    assert_ends(&outcome, 69, &format!("cannot open the admin endpoint {addr}: the address"));
}

#[test]
fn a_live_admin_socket_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let _live = UnixListener::bind(dir.path().join("admin.sock")).unwrap();
    let outcome = serve(dir.path(), &["--listen", "127.0.0.1:0"]);
    assert_ends(&outcome, 69, "the address is in use");
    assert!(dir.path().join("admin.sock").exists());
}

#[test]
fn an_admin_path_that_is_a_file_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("admin.sock"), "precious").unwrap();
    let outcome = serve(dir.path(), &["--listen", "127.0.0.1:0"]);
    assert_ends(&outcome, 69, "a file of this name that is no socket");
    let kept = std::fs::read_to_string(dir.path().join("admin.sock")).unwrap();
    assert_eq!(kept, "precious");
}

#[test]
fn a_stale_admin_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a closed socket leaves its file behind");
    let admin = format!("unix:{}", path.display());
    let mut command = Command::new(MAINSTAY);
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", &admin]);
    command.arg("--state-dir").arg(dir.path());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    crate::support::until("the new one answers", || {
        mainstay(dir.path(), &["status", "--admin", &admin]).code == Some(0)
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_state_directory_belongs_to_one_process() {
    let backend = Backend::new(Behaviour::Echo);
    let dir = tempfile::tempdir().unwrap();
    let start = || Setup::backends(&[backend.addr]).state_dir(&dir.path().join("state")).start();
    let first = start();
    let sentence = format!(
        "another mainstay (process id {}) uses the state directory state; give each its own --state-dir",
        first.pid()
    );
    assert_ends(&serve(dir.path(), &["--listen", "127.0.0.1:0"]), 69, &sentence);
    assert!(!dir.path().join("admin.sock").exists(), "nothing was opened");
    let flags = ["check", "--state-dir", "state", "--listen", "127.0.0.1:0"];
    assert_eq!(mainstay(dir.path(), &flags).code, Some(0), "to look is free");
    // Killed, it leaves the file behind, but not the lock.
    drop(first);
    start();
}

#[test]
fn a_state_directory_that_is_a_file_is_a_wrong_configuration() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state"), "").unwrap();
    let outcome = serve(dir.path(), &["--listen", "127.0.0.1:0"]);
    assert_ends(&outcome, 64, "the state directory state is a file");
}

/// Runs the program as `nobody`, if that is possible here.
fn as_nobody(dir: &Path, args: &[&str]) -> Option<Outcome> {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
        .arg(MAINSTAY)
        .args(args)
        .current_dir(dir);
    let may = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
        .args([MAINSTAY, "--version"])
        .output();
    may.is_ok_and(|ran| ran.status.success()).then(|| run(command))
}

#[test]
fn without_rights_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let free = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let free: u16 = std::fs::read_to_string(free).unwrap().trim().parse().unwrap();
    if free <= 1 {
        return skipped("privileged port: every port is free for all on this host");
    }
    let port = ["serve", "--state-dir", "s", "--admin", "unix:a.sock", "--listen", "127.0.0.1:1"];
    let Some(outcome) = as_nobody(dir.path(), &port) else {
        return skipped("missing rights: cannot run the program as nobody with setpriv");
    };
    assert_ends(&outcome, 77, "cannot listen on 127.0.0.1:1: permission denied");

    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let state =
        ["serve", "--state-dir", "closed", "--admin", "unix:a.sock", "--listen", "127.0.0.1:0"];
    let outcome = as_nobody(dir.path(), &state).unwrap();
    assert_ends(&outcome, 77, "cannot write the state directory closed");

    std::fs::write(dir.path().join("secret.toml"), "").unwrap();
    let secret = dir.path().join("secret.toml");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let outcome = as_nobody(dir.path(), &["check", "--config", "secret.toml"]).unwrap();
    assert_ends(&outcome, 64, "secret.toml: permission denied");
}

#[test]
fn status_shows_a_table_or_json() {
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).start();
    let admin = format!("unix:{}", balancer.admin.display());
    let json = mainstay(balancer.dir(), &["status", "--admin", &admin, "-o", "json"]);
    let status: Status = serde_json::from_str(&json.out).unwrap();
    assert_eq!(status.backends[0].addr, backend.addr.to_string());
    let table = mainstay(balancer.dir(), &["status", "--admin", &admin]);
    assert_eq!((json.code, table.code), (Some(0), Some(0)));
    assert!(table.out.contains(&backend.addr.to_string()), "{}", table.out);
    // The configuration names the address as well as the flag does.
    std::fs::write(balancer.dir().join("c.toml"), format!("admin = '{admin}'\n")).unwrap();
    let named = mainstay(balancer.dir(), &["status", "--config", "c.toml"]);
    assert_eq!(named.code, Some(0), "{named:?}");
}

#[test]
fn status_without_a_balancer_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = mainstay(dir.path(), &["status", "--admin", "unix:none.sock"]);
    assert_ends(&outcome, 69, "no answer from the balancer at unix:none.sock");
}

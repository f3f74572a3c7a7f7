//! The first process of a container hands nothing over: the container would end with it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::status::Status;
use tempfile::TempDir;

use crate::support::admin::AdminConnection;
use crate::support::command::{MAINSTAY, mainstay, run};
use crate::support::process::Killed;
use crate::support::{Backend, Behaviour, Client, eventually, skipped};

/// A namespace of process ids; what is started in it ends with `unshare`.
const CONTAINER: [&str; 3] = ["--pid", "--fork", "--kill-child"];

/// A balancer that is the first process of such a namespace.
struct Contained {
    _unshare: Killed,
    admin: PathBuf,
    dir: TempDir,
}

impl Contained {
    fn start(backend: &Backend) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let admin = dir.path().join("admin.sock");
        let unshare = Command::new("unshare")
            .args(CONTAINER)
            .args([MAINSTAY, "serve", "--probe", "tcp", "--backend", &backend.addr.to_string()])
            .args(["--listen", "127.0.0.1:0", "--join-listen", "off", "--state-dir"])
            .arg(dir.path())
            .args(["--admin", &format!("unix:{}", admin.display())])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { _unshare: Killed(unshare), admin, dir }
    }

    fn status(&self) -> Option<Status> {
        let answer =
            AdminConnection::open(&self.admin).and_then(|mut c| c.ask("GET", "/v1/status"));
        serde_json::from_str(&answer.ok()?.body).ok()
    }
}

#[test]
fn the_first_process_of_a_container_goes_on() {
    let mut able = Command::new("unshare");
    able.args(CONTAINER).arg("true");
    if !rustix::process::geteuid().is_root() || run(able).code != Some(0) {
        return skipped("a namespace of process ids needs root and unshare");
    }
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Contained::start(&backend);
    let status = eventually("an answer", || balancer.status());
    assert_eq!(status.pid, 1);
    let addr = status.listen[0].parse().unwrap();
    let mut client = eventually("a session", || Client::established(addr).ok());
    let admin = format!("unix:{}", balancer.admin.display());
    let refused = mainstay(balancer.dir.path(), &["upgrade", "--admin", &admin]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("restart the container instead"), "{refused:?}");
    client.echo(b"nothing happened").unwrap();
    Client::established(addr).unwrap();
    assert_eq!(balancer.status().unwrap().pid, 1);
}

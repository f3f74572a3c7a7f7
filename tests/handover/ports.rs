//! The other ports go over too: the admin endpoint over TCP and the coordinator's.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::status::Upgrade;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::giver::ended;
use crate::support::command::{MAINSTAY, Outcome, mainstay, run};
use crate::support::{Backend, Behaviour, Client, eventually};

/// curl's code for a connection that was refused.
const REFUSED: i32 = 7;

/// A balancer whose ports are all on TCP.
struct Open {
    dir: TempDir,
    listen: SocketAddr,
    admin: SocketAddr,
    join: SocketAddr,
    first: Child,
}

impl Open {
    fn start(backend: SocketAddr) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (dir, listen, admin, join) = (tempfile::tempdir().unwrap(), free(), free(), free());
        let first = Command::new(MAINSTAY)
            .args(["serve", "--probe", "tcp", "--backend", &backend.to_string()])
            .args(["--listen", &listen.to_string(), "--join-listen", &join.to_string()])
            .args(["--admin", &admin.to_string(), "--state-dir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let open = Self { dir, listen, admin, join, first };
        eventually("the coordinator answers", || {
            (open.curl("https", join).code == Some(0)).then_some(())
        });
        eventually("a backend serves", || Client::established(listen).ok());
        open
    }

    /// Asks a port whether it lives.
    fn curl(&self, scheme: &str, addr: SocketAddr) -> Outcome {
        let mut command = Command::new("curl");
        command.args(["-skf", "--max-time", "20", &format!("{scheme}://{addr}/livez")]);
        run(command)
    }

    fn upgrade(&self) -> Option<Upgrade> {
        let mut command = Command::new("curl");
        command.args(["-sf", "--max-time", "20", &format!("http://{}/v1/upgrade", self.admin)]);
        serde_json::from_str(&run(command).out).ok()
    }

    /// Runs a verb that needs the admin token.
    fn verb(&self, words: &[&str]) -> Outcome {
        let (admin, state) = (self.admin.to_string(), self.dir.path().to_str().unwrap());
        let flags = ["--admin", &admin, "--state-dir", state];
        mainstay(Path::new("/"), &[words, &flags].concat())
    }

    fn hand_over(&self) {
        let before = self.upgrade().unwrap();
        kill(before.pid, Signal::USR2);
        eventually("the end of the old process", || {
            let now = self.upgrade()?;
            assert_eq!(now.failed, before.failed, "given up: {:?}", now.reason);
            (now.pid != before.pid && ended(before.pid)).then_some(())
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(upgrade) = self.upgrade() {
            kill(upgrade.pid, Signal::KILL);
        }
        // Both fail only for a process that has ended already.
        self.first.kill().ok();
        self.first.wait().ok();
    }
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

#[test]
fn the_admin_endpoint_and_the_join_port_go_over() {
    let backend = Backend::new(Behaviour::Echo);
    let open = Open::start(backend.addr);
    let mut session = Client::established(open.listen).unwrap();
    let created = open.verb(&["ticket", "create"]);
    assert_eq!(created.code, Some(0), "{created:?}");
    let pin = |outcome: &Outcome| {
        let (_, pin) = outcome.out.split_once("--ca-cert-hash ").unwrap();
        pin.split_whitespace().next().unwrap().to_owned()
    };
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for (scheme, addr) in [("http", open.admin), ("https", open.join)] {
            let (open, stop, asked) = (&open, &stop, &asked);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let outcome = open.curl(scheme, addr);
                    assert_ne!(outcome.code, Some(REFUSED), "{scheme}: {outcome:?}");
                    asked.fetch_add(u64::from(outcome.code == Some(0)), Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            open.hand_over();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(asked.into_inner() > 10, "requests were answered meanwhile");
    session.echo(b"goes on").unwrap();
    let other = open.verb(&["serve", "--listen", "127.0.0.1:0", "--join-listen", "off"]);
    let sentence = format!("another mainstay (process id {})", open.upgrade().unwrap().pid);
    assert!(other.code == Some(69) && other.err.contains(&sentence), "{other:?}");
    let again = open.verb(&["ticket", "create"]);
    assert_eq!(pin(&again), pin(&created), "it is the same coordinator: {again:?}");
    let listed = open.verb(&["ticket", "list", "-o", "json"]);
    let tickets: Vec<serde_json::Value> = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(tickets.len(), 2, "{listed:?}");
}

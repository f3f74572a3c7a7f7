//! The balancer with its coordinator, which may be killed and started again at the same place.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;

use common::status::{BackendState, Status};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::place::Place;
use crate::support::admin::AdminConnection;
use crate::support::command::{Outcome, run};
use crate::support::{Host, eventually, until};

/// A running balancer.
pub(crate) struct Coordinator {
    dir: TempDir,
    /// Where clients of the control plane come.
    pub(crate) endpoint: SocketAddr,
    /// Where masters come.
    pub(crate) join: SocketAddr,
    place: Place,
    child: Mutex<Option<Child>>,
    log: Arc<Mutex<String>>,
}

impl Coordinator {
    /// On loopback, with ports of its own.
    pub(crate) fn start() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::at(free(), free(), Place::default())
    }

    /// On a host, with the usual ports.
    pub(crate) fn on(host: &Host) -> Self {
        Self::at(host.addr(6443), host.addr(6445), Place::on(host))
    }

    fn at(endpoint: SocketAddr, join: SocketAddr, place: Place) -> Self {
        let coordinator = Self {
            dir: tempfile::tempdir().unwrap(),
            endpoint,
            join,
            place,
            child: Mutex::new(None),
            log: Arc::default(),
        };
        coordinator.run();
        coordinator
    }

    fn admin(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    /// Starts the process, at the same ports and with the same state as before.
    pub(crate) fn run(&self) {
        let mut command = self.place.mainstay();
        command.arg("serve");
        if !self.place.is_host() {
            command
                .args(["--listen", &self.endpoint.to_string()])
                .args(["--join-listen", &self.join.to_string()]);
        }
        if self.config().exists() {
            command.arg("--config").arg(self.config());
        }
        command
            .arg("--admin")
            .arg(format!("unix:{}", self.admin().display()))
            .arg("--state-dir")
            .arg(self.state_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        keep(&mut child, &self.log);
        *self.child.lock() = Some(child);
        until("the balancer answers", || self.try_status().is_some());
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("mainstay.toml")
    }

    /// Writes its configuration, for the next start or [`Coordinator::reload`].
    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.config(), text).unwrap();
    }

    /// Reads its configuration again.
    pub(crate) fn reload(&self) {
        let child = self.child.lock();
        let pid = Pid::from_child(child.as_ref().unwrap());
        let done = || self.said().matches("configuration reloaded").count();
        let before = done();
        kill_process(pid, Signal::HUP).unwrap();
        until("the configuration is reloaded", || done() > before);
    }

    /// Kills it without a word.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What the balancer and its coordinator say of themselves, if it answers.
    pub(crate) fn try_status(&self) -> Option<Status> {
        let mut admin = AdminConnection::open(&self.admin()).ok()?;
        serde_json::from_str(&admin.ask("GET", "/v1/status").ok()?.body).ok()
    }

    /// The value of a series of `/metrics`, as it is written there.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let mut admin = AdminConnection::open(&self.admin()).ok()?;
        let page = admin.ask("GET", "/metrics").ok()?.body;
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    /// Every event that is remembered, as text.
    pub(crate) fn events(&self) -> String {
        let mut admin = AdminConnection::open(&self.admin()).unwrap();
        admin.ask("GET", "/v1/events?follow=false").unwrap().body
    }

    /// The state of a member's backend.
    pub(crate) fn state(&self, name: &str) -> Option<BackendState> {
        let backends = self.try_status()?.backends;
        backends.iter().find(|backend| backend.name == name).map(|backend| backend.state)
    }

    /// How many are in rotation.
    pub(crate) fn up(&self) -> usize {
        let up = |status: Status| {
            status.backends.iter().filter(|it| it.state == BackendState::Up).count()
        };
        self.try_status().map_or(0, up)
    }

    /// The addresses of its backends.
    pub(crate) fn addrs(&self) -> Vec<String> {
        let backends = self.try_status().unwrap().backends;
        let mut addrs: Vec<_> = backends.into_iter().map(|backend| backend.addr).collect();
        addrs.sort();
        addrs
    }

    /// Where it keeps what survives it.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// What all its processes have said so far.
    pub(crate) fn said(&self) -> String {
        self.log.lock().clone()
    }

    /// What follows `mainstay join` in a new ticket.
    pub(crate) fn ticket(&self) -> Vec<String> {
        self.ticket_with(&[])
    }

    /// How a subcommand of `mainstay ticket` ends.
    pub(crate) fn ticket_command(&self, verb: &str, flags: &[&str]) -> Outcome {
        let mut command = self.place.mainstay();
        command.args(["ticket", verb, "--admin"]);
        command.arg(format!("unix:{}", self.admin().display())).args(flags);
        run(command)
    }

    /// A new ticket with these flags.
    pub(crate) fn ticket_with(&self, flags: &[&str]) -> Vec<String> {
        let outcome = self.ticket_command("create", flags);
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        let line = outcome.out.lines().find(|line| line.contains("mainstay join ")).unwrap();
        let ticket = line.split_once("mainstay join ").unwrap().1;
        ticket.split_whitespace().map(str::to_owned).collect()
    }

    /// Waits until some master is in rotation.
    pub(crate) fn until_answers(&self) {
        until("a master is in rotation", || self.up() > 0);
    }

    /// Waits until so many are in rotation.
    pub(crate) fn until_up(&self, count: usize) {
        eventually(&format!("{count} masters in rotation"), || (self.up() == count).then_some(()));
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the balancer\n{}---", self.log.lock());
        }
    }
}

/// What a coordinator keeps on disk.
pub(crate) fn kept(coordinator: &Coordinator) -> Value {
    let file = coordinator.state_dir().join("coordinator.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Keeps what a child says on stderr.
pub(crate) fn keep(child: &mut Child, log: &Arc<Mutex<String>>) {
    use std::io::BufRead;
    let kept = Arc::clone(log);
    let lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut kept = kept.lock();
            kept.push_str(&line);
            kept.push('\n');
        }
    });
}

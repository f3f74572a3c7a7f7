//! The balancer under test: the real binary, on ports and paths of its own, with its log kept.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use common::status::{BackendState, BackendStatus, Status};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::admin::{AdminConnection, metric_in};
use super::command::MAINSTAY;
use super::{AdminAnswer, DEADLINE, Host, eventually, until};

/// How a balancer is to be started.
#[derive(Default)]
pub(crate) struct Setup {
    backends: Vec<SocketAddr>,
    down: Vec<SocketAddr>,
    flags: Vec<String>,
    cluster_ca: Option<PathBuf>,
    https: bool,
    state_dir: Option<PathBuf>,
    config: Option<String>,
    descriptors: Option<u32>,
    entry: Vec<String>,
    listen: Option<SocketAddr>,
    own_copy: bool,
    program: Option<PathBuf>,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Setup {
    /// With these backends on the command line.
    pub(crate) fn backends(backends: &[SocketAddr]) -> Self {
        Self { backends: backends.to_vec(), ..Self::default() }
    }

    /// Of the backends, these do not serve, so the start does not wait for them.
    pub(crate) fn down(mut self, backends: &[SocketAddr]) -> Self {
        self.down = backends.to_vec();
        self
    }

    /// With one more flag.
    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// With probes over HTTPS that believe this CA.
    // Only one of the targets that share this needs it.
    #[allow(dead_code)]
    pub(crate) fn cluster_ca(mut self, file: &Path) -> Self {
        self.cluster_ca = Some(file.to_owned());
        self
    }

    /// With probes over HTTPS that the configuration file says more about.
    pub(crate) fn https(mut self) -> Self {
        self.https = true;
        self
    }

    /// With a state directory that outlives it.
    pub(crate) fn state_dir(mut self, path: &Path) -> Self {
        self.state_dir = Some(path.to_owned());
        self
    }

    /// With this configuration file, which a reload may read again.
    pub(crate) fn config(mut self, text: impl Into<String>) -> Self {
        self.config = Some(text.into());
        self
    }

    /// With at most this many open files.
    pub(crate) fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// On a host of a network of its own, listening on this port of it.
    pub(crate) fn on(mut self, host: &Host, port: u16) -> Self {
        self.entry = host.entry().to_vec();
        self.listen = Some(host.addr(port));
        self
    }

    /// With a copy of the program that the test may replace.
    // Only one of the targets that share this needs it.
    #[allow(dead_code)]
    pub(crate) fn own_copy(mut self) -> Self {
        self.own_copy = true;
        self
    }

    /// With another build of the program.
    // Only one of the targets that share this needs it.
    #[allow(dead_code)]
    pub(crate) fn program(mut self, path: PathBuf) -> Self {
        self.program = Some(path);
        self
    }

    /// With one more variable in its environment.
    // Only one of the targets that share this needs it.
    #[allow(dead_code)]
    pub(crate) fn environment(mut self, name: &'static str, value: PathBuf) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Starts it and waits until every backend is UP, but those that are down.
    pub(crate) fn start(self) -> Balancer {
        let dir = tempfile::tempdir().unwrap();
        let mut program = self.program.clone().unwrap_or_else(|| PathBuf::from(MAINSTAY));
        if self.own_copy {
            let copy = dir.path().join(PROGRAM);
            super::command::install(&program, &copy);
            program = copy;
        }
        let mut command = self.command(&program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let admin = dir.path().join("admin.sock");
        let listen = self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        command
            .args(["serve", "--join-listen", "off"])
            .args(["--listen", &listen.to_string(), "--admin"])
            .arg(format!("unix:{}", admin.display()))
            .arg("--state-dir")
            .arg(self.state_dir.clone().unwrap_or_else(|| dir.path().join("state")))
            .args(&self.flags);
        match &self.cluster_ca {
            Some(file) => command.arg("--cluster-ca").arg(file),
            None if self.https => &mut command,
            None => command.args(["--probe", "tcp"]),
        };
        for addr in &self.backends {
            command.arg("--backend").arg(addr.to_string());
        }
        if let Some(text) = &self.config {
            std::fs::write(dir.path().join(CONFIG), text).unwrap();
            command.arg("--config").arg(dir.path().join(CONFIG));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = keep_log(&mut child);
        let mut balancer =
            Balancer { addr: SocketAddr::from(([127, 0, 0, 1], 0)), child, admin, log, dir };
        let started = eventually("first answer of the admin endpoint", || {
            let ended = balancer.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended at its start: {ended:?}");
            balancer.try_status()
        });
        balancer.addr = started.listen[0].parse().unwrap();
        balancer.serves(&self.down);
        balancer
    }

    fn command(&self, program: &Path) -> Command {
        let mut words = self.entry.clone();
        if let Some(most) = self.descriptors {
            // exec keeps the process id, so that signals reach the balancer and not a shell.
            let script = format!("ulimit -n {most} && exec \"$@\"");
            words.extend(["sh", "-c", &script, "sh"].map(str::to_owned));
        }
        words.push(program.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

/// The configuration file in the directory of a balancer.
pub(crate) const CONFIG: &str = "mainstay.toml";

/// Its own copy of the program there.
pub(crate) const PROGRAM: &str = "mainstay";

fn keep_log(child: &mut Child) -> Arc<Mutex<String>> {
    use std::io::BufRead;
    let log = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&log);
    let lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut kept = kept.lock();
            kept.push_str(&line);
            kept.push('\n');
        }
    });
    log
}

/// A running balancer; dropping it kills the process and, in a test that failed, shows its log.
pub(crate) struct Balancer {
    /// Where it accepts clients.
    pub(crate) addr: SocketAddr,
    /// Its admin socket.
    pub(crate) admin: PathBuf,
    child: Child,
    log: Arc<Mutex<String>>,
    dir: TempDir,
}

impl Balancer {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> AdminAnswer {
        let asked = AdminConnection::open(&self.admin).and_then(|mut c| c.ask(method, path));
        asked.unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"))
    }

    fn try_status(&self) -> Option<Status> {
        let answer = AdminConnection::open(&self.admin)
            .and_then(|mut connection| connection.ask("GET", "/v1/status"));
        Some(serde_json::from_str(&answer.ok()?.body).unwrap())
    }

    pub(crate) fn status(&self) -> Status {
        serde_json::from_str(&self.ask("GET", "/v1/status").body).unwrap()
    }

    /// Waits until every backend is UP, but those that are down.
    fn serves(&self, down: &[SocketAddr]) {
        let down: Vec<String> = down.iter().map(ToString::to_string).collect();
        let up = |row: &BackendStatus| row.state == BackendState::Up || down.contains(&row.addr);
        until("every backend serves", || {
            let status = self.status();
            let rows = status.backends.iter();
            status.generation > 0 && rows.filter(|row| row.state != BackendState::Removed).all(up)
        });
    }

    /// Waits until a backend is in a state.
    pub(crate) fn until_state(&self, addr: SocketAddr, state: BackendState) {
        until(&format!("{addr} is {}", state.name()), || {
            self.row(addr).is_some_and(|row| row.state == state)
        });
    }

    /// The row of a backend.
    pub(crate) fn row(&self, addr: SocketAddr) -> Option<BackendStatus> {
        let rows = self.status().backends;
        rows.into_iter().find(|row| row.addr == addr.to_string())
    }

    /// The value of a metric with its labels.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        metric_in(&self.ask("GET", "/metrics").body, series)
    }

    /// Sessions that ended for a reason.
    pub(crate) fn closed(&self, reason: &str) -> f64 {
        self.metric(&format!("mainstay_connections_closed_total{{reason=\"{reason}\"}}"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Replaces the configuration file, asks for a reload and waits for its result.
    pub(crate) fn reload(&self, text: &str, result: &str) {
        let series = format!("mainstay_reloads_total{{result=\"{result}\"}}");
        let before = self.metric(&series);
        std::fs::write(self.dir().join(CONFIG), text).unwrap();
        self.signal(Signal::HUP);
        until(&format!("a reload is {result}"), || self.metric(&series) > before);
    }

    /// Whether a connection to the port is refused.
    pub(crate) fn refuses(&self) -> bool {
        let refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
        TcpStream::connect_timeout(&self.addr, DEADLINE).is_err_and(refused)
    }

    /// Waits for the end of the process.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        eventually("end of the balancer", || self.child.try_wait().unwrap())
    }

    pub(crate) fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Another process may have taken over meanwhile.
        let successor = self.try_status().map(|status| status.pid);
        if let Some(pid) = successor.filter(|pid| *pid != self.child.id()) {
            let pid = Pid::from_raw(i32::try_from(pid).unwrap());
            kill_process(pid.unwrap(), Signal::KILL).ok();
        }
        // Both fail only for a process that has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- log of the balancer\n{}---", self.log.lock());
        }
    }
}

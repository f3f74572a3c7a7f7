//! A machine that may become a master: its directories, its kubelet, and the commands run on it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::apiserver::{Etcd, Kubelet};
use crate::balancer::keep;
use crate::kubeadm;
use crate::place::Place;
use crate::support::command::install_script;
use crate::support::{Host, eventually, until};

/// Where an apiserver listens if nobody says otherwise.
const APISERVER_PORT: u16 = 6443;

/// A machine.
pub(crate) struct Machine {
    pub(crate) name: String,
    kubelet: Kubelet,
    addr: SocketAddr,
    place: Place,
    dir: TempDir,
}

impl Machine {
    /// On loopback, with a port of its own.
    pub(crate) fn new(name: &str, version: &str, etcd: &Arc<Etcd>) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::at(free, Place::default(), name, version, etcd)
    }

    /// On a host, with the usual port.
    pub(crate) fn on(host: &Host, name: &str, version: &str, etcd: &Arc<Etcd>) -> Self {
        // Its kubelet is a thread of the test, and its sockets are the host's.
        let addr = host.addr(APISERVER_PORT);
        host.inside(|| Self::at(addr, Place::on(host), name, version, etcd))
    }

    fn at(addr: SocketAddr, place: Place, name: &str, version: &str, etcd: &Arc<Etcd>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("kubernetes")).unwrap();
        fs::write(dir.path().join("version"), version).unwrap();
        let kubeadm = dir.path().join("kubeadm");
        install_script(&kubeadm::script(dir.path(), version), &kubeadm);
        let kubelet = Kubelet::start(&dir.path().join("kubernetes"), addr, Arc::clone(etcd));
        Self { name: name.to_owned(), kubelet, addr, place, dir }
    }

    /// Of its apiserver.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What kubeadm shall do at a point: `fail POINT`, `hang POINT`, or nothing.
    pub(crate) fn wish(&self, wish: &str) {
        crate::authority::write(&self.path("wish"), wish);
    }

    /// Waits until kubeadm has come to a point.
    pub(crate) fn until_at(&self, point: &str) {
        let at = || fs::read_to_string(self.path("at")).unwrap_or_default();
        until(&format!("kubeadm is at {point}"), || at() == point);
    }

    /// Kills kubeadm, as the machine's own death would.
    pub(crate) fn kill_kubeadm(&self) {
        let pid = fs::read_to_string(self.path("pid")).unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    /// What kubeadm was told so far, a line for each run, and what it noted.
    pub(crate) fn told(&self) -> String {
        fs::read_to_string(self.path("kubeadm.log")).unwrap_or_default()
    }

    /// Whether kubelet runs its apiserver.
    pub(crate) fn is_master(&self) -> bool {
        self.path("kubernetes/manifests/kube-apiserver.yaml").exists()
    }

    /// Whether its apiserver ran in the time before now.
    pub(crate) fn served_within(&self, time: Duration) -> bool {
        self.kubelet.served().is_some_and(|served| served.elapsed() < time)
    }

    /// Stops or starts its apiserver, as kubelet does when the manifest goes or comes.
    pub(crate) fn serve(&self, serves: bool) {
        let manifest = self.path("kubernetes/manifests/kube-apiserver.yaml");
        let away = self.path("kube-apiserver.yaml");
        let (from, to) = if serves { (away, manifest) } else { (manifest, away) };
        fs::rename(from, to).unwrap();
    }

    /// Starts `mainstay VERB`.
    pub(crate) fn start(&self, verb: &str, arguments: &[String]) -> Running {
        let mut command = self.place.mainstay();
        command.arg(verb).arg("--state-dir").arg(self.path("state"));
        if verb != "leave" {
            command.arg("--kubernetes-dir").arg(self.path("kubernetes"));
        }
        if matches!(verb, "init" | "join" | "register") {
            command.args(["--node-name", &self.name]);
            if !self.place.is_host() {
                command.args(["--apiserver-port", &self.addr.port().to_string()]);
            }
        }
        if matches!(verb, "init" | "join") {
            command.arg("--kubeadm").arg(self.path("kubeadm"));
        }
        command.args(arguments);
        Running::start(command, &format!("{} {verb}", self.name))
    }

    /// Runs `mainstay VERB` to its good end; what it said on stderr.
    pub(crate) fn run(&self, verb: &str, arguments: &[String]) -> String {
        let running = self.start(verb, arguments);
        let (status, said) = running.end();
        assert!(status.success(), "{} {verb}: {status}\n{said}", self.name);
        said
    }
}

/// A running `mainstay`; it is killed when it is dropped.
pub(crate) struct Running {
    what: String,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Running {
    fn start(mut command: Command, what: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::default();
        keep(&mut child, &log);
        Self { what: what.to_owned(), child, log }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        self.log.lock().clone()
    }

    /// Waits until it has said something.
    pub(crate) fn until_said(&self, text: &str) {
        until(&format!("{} says {text}", self.what), || self.said().contains(text));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status =
            eventually(&format!("end of {}", self.what), || self.child.try_wait().unwrap());
        // The thread that keeps the log may be a little behind.
        std::thread::sleep(std::time::Duration::from_millis(50));
        (status, self.said())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}---", self.what, self.said());
        }
    }
}

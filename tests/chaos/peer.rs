//! The balancers that are compared: each with the configuration that people are told to use, on a
//! host of its own, with clients on another.

use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use common::status::{BackendState, Status};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use crate::clients::Trust;
use crate::support::admin::AdminConnection;
use crate::support::command::MAINSTAY;
use crate::support::{Host, Network, until};
use crate::wall_clock::WallClock;

/// Where clients connect.
pub(crate) const PORT: u16 = 6443;

/// Where distributions put the stream module of NGINX.
const NGINX_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Open files of each process if they may be raised, so that the shell does not limit anybody.
pub(crate) const FILES: u64 = 200_000;

/// Which balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Mainstay,
    Nginx,
    Haproxy,
}

impl Kind {
    /// Those that can be started here; Mainstay first.
    pub(crate) fn installed() -> Vec<Self> {
        let there = |kind: &Self| match kind {
            Self::Mainstay => true,
            Self::Nginx => kind.program().is_file() && Path::new(NGINX_MODULE).is_file(),
            Self::Haproxy => kind.program().is_file(),
        };
        [Self::Mainstay, Self::Nginx, Self::Haproxy].into_iter().filter(there).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mainstay => "Mainstay",
            Self::Nginx => "NGINX",
            Self::Haproxy => "HAProxy",
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Mainstay => MAINSTAY.into(),
            Self::Nginx => "/usr/sbin/nginx".into(),
            Self::Haproxy => "/usr/sbin/haproxy".into(),
        }
    }

    /// The part of the network that is its own: the address of its host, and of its clients'.
    fn place(self) -> [u8; 2] {
        match self {
            Self::Mainstay => [2, 40],
            Self::Nginx => [3, 41],
            Self::Haproxy => [4, 42],
        }
    }

    /// The addresses of all balancers, for the masters' certificates.
    pub(crate) fn addresses() -> impl Iterator<Item = std::net::IpAddr> {
        [2, 3, 4].into_iter().map(|last| Network::address(last).into())
    }
}

/// Where a balancer writes, and by which clock it goes if not by the machine's.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) below: &'a Path,
    pub(crate) clock: Option<&'a WallClock>,
}

/// A balancer, its host, and the host of its clients.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) client: Host,
    pub(crate) trust: Trust,
    child: Option<Child>,
    pub(crate) host: Host,
    backends: Vec<SocketAddr>,
    ca: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    /// Everything that it writes.
    dir: TempDir,
}

impl Peer {
    /// Starts one and waits until it has reached every master.
    pub(crate) fn start(
        kind: Kind,
        network: &Network,
        backends: &[SocketAddr],
        ca: &Path,
        place: Place<'_>,
    ) -> Self {
        let name = kind.name().to_lowercase();
        Self::start_at(kind, &name, kind.place(), network, backends, ca, place)
    }

    /// The same under this name, with these last parts of the addresses of it and of its clients.
    pub(crate) fn start_at(
        kind: Kind,
        name: &str,
        [own, clients]: [u8; 2],
        network: &Network,
        backends: &[SocketAddr],
        ca: &Path,
        place: Place<'_>,
    ) -> Self {
        let client = network.host(&format!("c-{name}"), clients);
        let dir = tempfile::tempdir_in(place.below).unwrap();
        let mut peer = Self {
            kind,
            client,
            trust: Trust::of(ca),
            child: None,
            host: network.host(name, own),
            backends: backends.to_vec(),
            ca: ca.to_owned(),
            environment: place.clock.map(|clock| clock.environment().to_vec()).unwrap_or_default(),
            dir,
        };
        peer.launch();
        peer.reaches_all();
        peer
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.host.addr(PORT)
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts its process.
    pub(crate) fn launch(&mut self) {
        let dir = self.dir.path();
        let (file, text, args): (_, _, &[&str]) = match self.kind {
            Kind::Mainstay => ("mainstay.toml", self.mainstay(), &["serve", "--config"]),
            Kind::Nginx => ("nginx.conf", self.nginx(), &["-c"]),
            Kind::Haproxy => ("haproxy.cfg", self.haproxy(), &["-W", "-f"]),
        };
        let file = dir.join(file);
        std::fs::write(&file, text).unwrap();
        let output = File::options().append(true).create(true).open(dir.join("output")).unwrap();
        let mut command = self.host.command(self.kind.program());
        command.args(args).arg(&file).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let outputs = (output.try_clone().unwrap(), output);
        self.child = Some(command.stdout(outputs.0).stderr(outputs.1).spawn().unwrap());
    }

    /// Its processes: those whose command line names its directory, and those they have started.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let dir = self.dir().display().to_string();
        let ids = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok());
        let own = |id: &u32| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&dir)
        };
        let mut found: Vec<u32> = ids.filter(own).collect();
        let mut at = 0;
        while let Some(id) = found.get(at).copied() {
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
            let children = children.unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
            at += 1;
        }
        found.into_iter().filter_map(|id| Pid::from_raw(id as i32)).collect()
    }

    /// Overwrites what it has written with rubbish, but for its output.
    pub(crate) fn damage_state(&self) {
        let Ok(files) = std::fs::read_dir(self.dir().join("state")) else { return };
        for file in files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            std::fs::write(file, b"\xff{]rubbish\0").unwrap();
        }
    }

    /// Most open files of each of its processes.
    pub(crate) fn limit_files(&self, most: u64) {
        for process in self.processes() {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            match prlimit(Some(process), Resource::Nofile, limit) {
                // It has ended meanwhile.
                Ok(_) | Err(Errno::SRCH) => {}
                Err(error) => panic!("limit of {process}: {error}"),
            }
        }
    }

    /// All its processes are gone at once.
    pub(crate) fn kill(&mut self) {
        for process in self.processes() {
            // It may have ended with its parent.
            kill_process(process, Signal::KILL).ok();
        }
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
        until("all its processes are gone", || self.processes().is_empty());
    }

    /// Signals its first process. NGINX leaves the one that was started, or could not be upgraded.
    pub(crate) fn signal(&self, signal: Signal) {
        self.send(self.first(), signal);
    }

    /// Signals all its processes.
    pub(crate) fn signal_all(&self, signal: Signal) {
        self.processes().into_iter().for_each(|process| self.send(process, signal));
    }

    fn first(&self) -> Pid {
        let file = std::fs::read_to_string(self.dir().join("nginx.pid"));
        let id =
            file.map_or(self.child.as_ref().unwrap().id() as i32, |id| id.trim().parse().unwrap());
        Pid::from_raw(id).unwrap()
    }

    fn send(&self, to: Pid, signal: Signal) {
        kill_process(to, signal).unwrap_or_else(|error| panic!("{}: {error}", self.kind.name()));
    }

    /// Has it read its configuration again.
    pub(crate) fn reload(&self) {
        self.signal(match self.kind {
            Kind::Mainstay | Kind::Nginx => Signal::HUP,
            Kind::Haproxy => Signal::USR2,
        });
    }

    /// Puts the program on the disk into use, as its page says.
    pub(crate) fn upgrade(&self) {
        let old = self.first();
        self.signal(Signal::USR2);
        if self.kind == Kind::Nginx {
            let renamed = self.dir().join("nginx.pid.oldbin");
            until("NGINX has a new process", || renamed.exists());
            std::thread::sleep(Duration::from_secs(1));
            self.send(old, Signal::QUIT);
        }
        if self.kind == Kind::Mainstay {
            until("another process has taken over", || !self.processes().contains(&old));
        }
    }

    /// Waits until clients have been answered by every master.
    pub(crate) fn reaches_all(&self) {
        if self.kind == Kind::Mainstay {
            // Whoever came before that would see the slow start of the later ones.
            until("every master is UP", || self.up() == self.backends.len());
        }
        let mut seen = std::collections::HashSet::new();
        until(&format!("{} reaches every master", self.kind.name()), || {
            seen.extend(self.client.inside(|| self.trust.ask(self.addr())).ok());
            seen.len() == self.backends.len()
        });
    }

    /// How many masters are UP, as Mainstay says.
    fn up(&self) -> usize {
        let asked = AdminConnection::open(&self.dir().join("admin.sock"));
        let answer = asked.and_then(|mut admin| admin.ask("GET", "/v1/status"));
        let Ok(answer) = answer else { return 0 };
        let status: Status = serde_json::from_str(&answer.body).unwrap();
        status.backends.iter().filter(|row| row.state == BackendState::Up).count()
    }

    /// Its own defaults, and what it must know.
    fn mainstay(&self) -> String {
        let backends: Vec<String> = self.backends.iter().map(ToString::to_string).collect();
        let (ca, dir) = (self.ca.display(), self.dir.path().display());
        format!(
            "listen = ['0.0.0.0:{PORT}']\nbackends = {backends:?}\nadmin = 'unix:{dir}/admin.sock'\n\
             state_dir = '{dir}/state'\ncluster.ca = '{ca}'\n"
        )
    }

    /// As the walkthroughs have it.
    fn nginx(&self) -> String {
        let server = |addr: &SocketAddr| format!("server {addr};\n");
        let servers: String = self.backends.iter().map(server).collect();
        let dir = self.dir.path().display();
        // Its workers see no other variable, and only those of its own user can be limited without privileges.
        let kept = |(name, _): &(&str, OsString)| format!("env {name};\n");
        let kept: String = self.environment.iter().map(kept).collect();
        format!(
            "{kept}user root;\nload_module {NGINX_MODULE};\ndaemon on;\nworker_processes auto;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log;\n\
             events {{ worker_connections 16384; }}\n\
             stream {{\nupstream kubernetes {{\nleast_conn;\n{servers}}}\n\
             server {{\nlisten {};\nproxy_pass kubernetes;\nproxy_timeout 3s;\n\
             proxy_connect_timeout 1s;\n}}\n}}\n",
            everywhere()
        )
    }

    /// As kubeadm's page on high availability has it.
    fn haproxy(&self) -> String {
        let server = |(index, addr): (usize, &SocketAddr)| {
            format!("    server master{index} {addr} check verify none\n")
        };
        let servers: String = self.backends.iter().enumerate().map(server).collect();
        format!(
            "defaults\n    mode tcp\n    option redispatch\n    retries 1\n    timeout queue 20s\n\
             \x20   timeout connect 5s\n    timeout client 35s\n    timeout server 35s\n\
             \x20   timeout check 10s\n\
             frontend apiserver\n    bind {}\n    default_backend apiservers\n\
             backend apiservers\n    option httpchk\n    http-check connect ssl\n\
             \x20   http-check send meth GET uri /healthz\n    http-check expect status 200\n\
             \x20   balance roundrobin\n{servers}",
            everywhere()
        )
    }
}

/// All addresses of a host: also one that moves.
fn everywhere() -> SocketAddr {
    ([0, 0, 0, 0], PORT).into()
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let output = std::fs::read_to_string(self.dir().join("output")).unwrap_or_default();
            eprintln!("--- output of {}\n{output}---", self.kind.name());
        }
    }
}

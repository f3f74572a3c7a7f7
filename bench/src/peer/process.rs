//! A peer under test: started with its filled-in configuration, awaited until it balances, and
//! ended by its process id however the run ends.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};
use tempfile::TempDir;

use super::{Installed, Peer, nginx_stream_module, template};
use crate::{
    backend::BackendProcess,
    load, ports,
    usage::{self, Usage},
};

const NGINX: &str = include_str!("../../peers/nginx.conf.tmpl");
const HAPROXY: &str = include_str!("../../peers/haproxy.cfg.tmpl");
const ENVOY: &str = include_str!("../../peers/envoy.yaml.tmpl");
const MAINSTAY: &str = include_str!("../../peers/mainstay.toml.tmpl");

/// HAProxy's options for splicing. `splice-auto` alone would be enough in principle, but version 2.6
/// decides by it so seldom that the streams were copied; with all three the peer is at its best.
const SPLICE: &str = "option splice-auto\n    option splice-request\n    option splice-response";

#[cfg(test)]
pub(super) const TEMPLATES: [&str; 4] = [NGINX, HAPROXY, ENVOY, MAINSTAY];

/// Envoy takes a second or two to start; a peer that needs longer than this is broken.
const START_LIMIT: Duration = Duration::from_secs(15);

/// How long a peer may take to end on request before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(1);

const POLL: Duration = Duration::from_millis(20);

/// Lines of a peer's own output that are quoted when it does not start.
const QUOTED_LINES: usize = 5;

/// A running peer; it ends when this is dropped.
pub(crate) struct PeerProcess {
    /// None for the direct connection.
    child: Option<Child>,
    /// Where clients connect.
    pub(crate) targets: Vec<SocketAddr>,
    output: PathBuf,
    // Removed after the process has ended.
    _dir: TempDir,
}

impl PeerProcess {
    /// Starts the peer in front of `backends` and waits until it reaches each of them.
    pub(crate) async fn start(installed: &Installed, backends: &BackendProcess) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("mainstay-bench-").tempdir()?;
        let output = dir.path().join("output");
        let mut peer = Self { child: None, targets: backends.addresses.clone(), output, _dir: dir };
        if let Some(program) = &installed.program {
            let listen = ports::unused_address()?;
            let dir = peer._dir.path();
            let arguments = arguments(installed, listen, &backends.addresses, dir)?;
            let child = spawn(program, &arguments, &peer.output)?;
            peer.child = Some(child);
            peer.targets = vec![listen];
        }
        match tokio::time::timeout(START_LIMIT, peer.balances(backends)).await {
            Ok(result) => result?,
            Err(_) => bail!("does not reach all backends: {}", peer.last_words()),
        }
        Ok(peer)
    }

    /// What the kernel has accounted to it; nothing for the direct connection.
    pub(crate) fn usage(&self) -> Result<Option<Usage>> {
        self.child.as_ref().map(|child| Usage::of_tree(child.id())).transpose()
    }

    /// Its processes; none for the direct connection.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.child.as_ref().map_or_else(Vec::new, |child| usage::tree(child.id()))
    }

    /// Waits until every backend has been seen through the peer.
    async fn balances(&mut self, backends: &BackendProcess) -> Result<()> {
        loop {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose())
            {
                bail!("ended at once with {}: {}", status?, self.last_words());
            }
            if load::reaches_all(&self.targets, backends).await {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(QUOTED_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let family = usage::tree(child.id());
        signal(child.id(), Signal::TERM);
        let limit = Instant::now() + STOP_LIMIT;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < limit {
            thread::sleep(POLL);
        }
        if matches!(child.try_wait(), Ok(None)) {
            family.iter().for_each(|pid| signal(*pid, Signal::KILL));
            child.wait().ok();
        }
    }
}

/// Signals one process; it may have ended before.
fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).ok();
    }
}

fn spawn(program: &Path, arguments: &[String], output: &Path) -> Result<Child> {
    let output = File::create(output)?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))
}

/// Writes the peer's configuration into `dir` and says how it is told of it.
fn arguments(
    installed: &Installed,
    listen: SocketAddr,
    backends: &[SocketAddr],
    dir: &Path,
) -> Result<Vec<String>> {
    let load_module = nginx_stream_module()
        .map(|module| format!("load_module {};", module.display()))
        .unwrap_or_default();
    let splice = if installed.peer == Peer::HaproxySplice { SPLICE } else { "" };
    let values = template::Values {
        listen,
        admin: ports::unused_address()?,
        backends,
        dir,
        descriptors: getrlimit(Resource::Nofile).current.unwrap_or(u64::from(u32::MAX)),
        load_module,
        splice,
    };
    let write = |name: &str, template: &str| -> Result<String> {
        let path = dir.join(name);
        fs::write(&path, template::fill(template, &values)?)?;
        Ok(path.display().to_string())
    };
    let dir = dir.display().to_string();
    Ok(match installed.peer {
        Peer::Direct => Vec::new(),
        Peer::Nginx => words(["-p", &dir, "-c", &write("nginx.conf", NGINX)?]),
        Peer::Haproxy | Peer::HaproxySplice => {
            words(["-db", "-f", &write("haproxy.cfg", HAPROXY)?])
        }
        Peer::Envoy => words([
            "--concurrency",
            "2",
            "--disable-hot-restart",
            "--log-level",
            "error",
            "-c",
            &write("envoy.yaml", ENVOY)?,
        ]),
        Peer::Mainstay => {
            let own = words([
                "serve",
                "--join-listen",
                "off",
                "--config",
                &write("mainstay.toml", MAINSTAY)?,
            ])
            .into_iter();
            own.chain(installed.arguments.iter().cloned()).collect()
        }
    })
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Raises the soft limit of descriptors to the hard one; the peers inherit it.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(rustix::process::setrlimit(Resource::Nofile, limit)?)
}

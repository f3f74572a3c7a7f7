//! The balancer itself: `mainstay serve`, the very program, as a child process.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bootstrap::kubeadm::CaPin;
use bootstrap::ticket::JoinTicket;
use common::Tasks;
use common::status::{BackendState, BackendStatus, Status};
use http_body_util::BodyExt;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

use crate::client::request;
use crate::logs;
use crate::screen::Screen;

/// Longest wait for the admin endpoint to open.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the end after a signal: the clients are gone by then.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Time between two looks at the child.
const LOOK: Duration = Duration::from_millis(20);

/// The running balancer. Dropping it kills the process.
pub(crate) struct Balancer {
    child: Child,
    /// The program that runs.
    pub(crate) program: PathBuf,
    /// Where clients are accepted.
    pub(crate) listen: SocketAddr,
    /// Where it answers questions about itself.
    pub(crate) admin: SocketAddr,
    /// Its configuration file.
    pub(crate) config: PathBuf,
}

impl Balancer {
    /// Starts the program that was built beside this example, on free ports.
    pub(crate) async fn start(dir: &Path, screen: &Arc<Screen>) -> anyhow::Result<Self> {
        let program = program()?;
        let config = dir.join("mainstay.toml");
        std::fs::write(&config, configuration(dir))?;
        let mut child = Command::new(&program)
            .args(["serve", "--config"])
            .arg(&config)
            // A group of its own: Ctrl-C is for the demo, which then stops the balancer in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let Some(stderr) = child.stderr.take() else {
            anyhow::bail!("the child has no stderr");
        };
        let admin = logs::follow(stderr, Arc::clone(screen))?;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut balancer = Self { child, program, listen: nowhere, admin: nowhere, config };
        balancer.admin = match tokio::time::timeout(START_TIMEOUT, admin).await {
            Ok(Ok(Ok(addr))) => addr,
            Ok(Ok(Err(last))) => anyhow::bail!("the balancer did not start; it said: {last}"),
            _ => anyhow::bail!("the balancer opened no admin endpoint within 10s"),
        };
        let listen = status(balancer.admin).await?.listen;
        let first = listen.first().context("the balancer listens nowhere")?;
        balancer.listen = first.parse()?;
        Ok(balancer)
    }

    /// Waits until a registered master is in rotation.
    pub(crate) async fn until_up(&self, name: &str) -> anyhow::Result<()> {
        let looking = async {
            loop {
                let now = status(self.admin).await?;
                let up = |row: &BackendStatus| row.name == name && row.state == BackendState::Up;
                if now.backends.iter().any(up) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let up = tokio::time::timeout(START_TIMEOUT, looking).await;
        up.with_context(|| format!("{name} was not UP within 10s"))?
    }

    /// Makes a ticket with which masters register.
    pub(crate) async fn ticket(&self) -> anyhow::Result<JoinTicket> {
        let making = tokio::process::Command::new(&self.program)
            .args(["ticket", "create", "-o", "json", "--admin", &self.admin.to_string()])
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let made = tokio::time::timeout(START_TIMEOUT, making).await;
        let made = made.context("`mainstay ticket create` did not end within 10s")??;
        let said = String::from_utf8_lossy(&made.stderr);
        anyhow::ensure!(made.status.success(), "no ticket: {}", said.trim());
        let made: NewTicket = serde_json::from_slice(&made.stdout)?;
        let pins = made.ca_cert_hashes.iter().map(|pin| pin.parse());
        let pins = pins.collect::<Result<Vec<CaPin>, _>>()?;
        Ok(JoinTicket::new(&made.addresses, made.token.parse()?, pins)?)
    }

    /// Stops it as a service manager does, and waits for its end.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        // The second signal cuts the sessions that the user may still hold.
        for _ in 0..2 {
            let _sent = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let deadline = Instant::now() + STOP_TIMEOUT;
            while Instant::now() < deadline {
                if let Some(ended) = self.child.try_wait()? {
                    anyhow::ensure!(ended.success(), "the balancer ended with {ended}");
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        anyhow::bail!("the balancer did not stop when it was asked to")
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It is gone already if this fails.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// `target/…/mainstay`, seen from `target/…/examples/demo`.
fn program() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let built = here.parent().and_then(Path::parent);
    let program = built.context("no directory above the demo")?.join("mainstay");
    anyhow::ensure!(
        program.is_file(),
        "{} is not there; `make demo` builds it first",
        program.display()
    );
    Ok(program)
}

/// What `mainstay ticket create -o json` prints.
#[derive(serde::Deserialize)]
struct NewTicket {
    addresses: Vec<String>,
    token: String,
    ca_cert_hashes: Vec<String>,
}

/// A configuration file as an operator would write it, but for the ports. It names no master.
fn configuration(dir: &Path) -> String {
    format!(
        "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nstate_dir = {:?}\n\n\
         [join]\nlisten = \"127.0.0.1:0\"\n\n[limits]\nmax_connections = 1000\n\n\
         [log]\nformat = \"json\"\n",
        dir.join("state"),
    )
}

/// What `GET /v1/status` answers.
pub(crate) async fn status(admin: SocketAddr) -> anyhow::Result<Status> {
    let tasks = Tasks::new();
    let exchange = async {
        let stream = TcpStream::connect(admin).await?;
        let answer = request(stream, "/v1/status", &tasks).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok(serde_json::from_slice(&body)?)
    };
    let status = tokio::time::timeout(STOP_TIMEOUT, exchange).await;
    tasks.stop();
    status
        .unwrap_or_else(|late| Err(late.into()))
        .with_context(|| format!("the balancer does not answer at {admin}"))
}

//! The balancer itself: `mainstay serve`, the very program, as a child process.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use common::Tasks;
use common::status::{BackendState, Status};
use http_body_util::BodyExt;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

use crate::client::request;
use crate::logs;
use crate::master::Master;
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
    pub(crate) async fn start(
        dir: &Path,
        masters: &[Master],
        screen: &Arc<Screen>,
    ) -> anyhow::Result<Self> {
        let program = program()?;
        let config = dir.join("mainstay.toml");
        std::fs::write(&config, configuration(dir, masters))?;
        let mut child = Command::new(&program)
            .args(["serve", "--join-listen", "off"])
            .arg("--config")
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
        let ready = tokio::time::timeout(START_TIMEOUT, all_up(balancer.admin)).await;
        let listen = ready.context("not every master was UP within 10s")??.listen;
        let first = listen.first().context("the balancer listens nowhere")?;
        balancer.listen = first.parse()?;
        Ok(balancer)
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

/// The status once every backend is UP: the probes have seen each of them.
async fn all_up(admin: SocketAddr) -> anyhow::Result<Status> {
    loop {
        let now = status(admin).await?;
        if now.backends.iter().all(|backend| backend.state == BackendState::Up) {
            return Ok(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A configuration file as an operator would write it, but for the ports.
fn configuration(dir: &Path, masters: &[Master]) -> String {
    let backends: Vec<String> = masters
        .iter()
        .map(|master| format!("    \"{}={}\",\n", master.name, master.addr))
        .collect();
    format!(
        "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nstate_dir = {:?}\n\
         backends = [\n{}]\n\n[cluster]\nca = {:?}\n\n[limits]\nmax_connections = 1000\n\n\
         [log]\nformat = \"json\"\n",
        dir.join("state"),
        backends.concat(),
        dir.join("ca.crt"),
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

//! The wiring of the running balancer: configuration → ports → members → signals → stop.
//!
//! The control thread runs here; bytes move on the workers of `lb`.

mod health_feed;
mod limits;
mod members;
mod probe;
mod reload;
mod state_dir;
mod stop;

use std::sync::Arc;

use anyhow::Context;
use common::Tasks;
use common::config::Config;
use common::events::{EventKind, Journal};
use lb::Balancer;
use lb::balancer::StartError;
use lb::health::Keeper;
use lb::health::prober::ProbeMethod;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::admin::{self, AdminSocket, AdminToken, Report};
use crate::cli::ConfigOptions;
use crate::exit::{Exit, Stop};
use crate::ledger;
use crate::telemetry;
use members::Members;
use reload::Reloader;

/// Runs until a signal asks to stop.
pub(crate) fn run(options: ConfigOptions) -> anyhow::Result<()> {
    let (layers, config) = options.load()?;
    let _log = telemetry::init(&config)?;
    info!(build = telemetry::BUILD, pid = std::process::id(), "mainstay starts");
    state_dir::prepare(&config)?;
    let method = probe::method(&config).map_err(|reason| Stop::new(Exit::Usage, reason))?;
    let budget = limits::apply(&config);
    let journal = Journal::new();
    let balancer = Balancer::start(&config, budget, journal.clone());
    let balancer = Arc::new(balancer.map_err(|error| not_started(&error))?);
    journal.note(EventKind::Started, format!("mainstay {} starts", telemetry::BUILD));
    let ledger = ledger::keep(config.ledger.as_deref(), &balancer)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reloader = Reloader::new(options, layers, &config);
    let stopped = runtime.block_on(control(&balancer, &config, method, reloader, ledger.reopen()));
    drop(runtime);
    match Arc::try_unwrap(balancer) {
        Ok(balancer) => balancer.stop(),
        Err(_) => anyhow::bail!("internal: a task still holds the balancer after the stop"),
    }
    ledger.finish();
    stopped
}

/// Everything that is not moving bytes.
async fn control(
    balancer: &Arc<Balancer>,
    config: &Config,
    method: ProbeMethod,
    mut reloader: Reloader,
    ledger: Option<ledger::Reopen>,
) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    let mut signals = Signals::new()?;
    tasks.spawn_until_stopped("ledger", ledger::reopen_on_signals(ledger)?);
    let token = admin_token(config)?;
    let socket =
        AdminSocket::bind(&config.admin).await.map_err(|error| not_bound(config, &error))?;
    info!(admin = %socket.addr, "admin endpoint open");

    let members = Members::known(config);
    let (keeper, handle) =
        Keeper::new(Arc::clone(balancer), method, config.listen_when_empty, tasks.child());
    tasks.spawn_until_stopped("keeper", keeper.run(members.writer.feed()));
    members.follow(handle.health.clone(), balancer.now(), &tasks);
    let report = Report::new(Arc::clone(balancer), handle.clone(), members.remembered.clone());
    let report = Arc::new(report);
    tasks.spawn_until_stopped(
        "admin",
        admin::serve(socket, Arc::clone(&report), token, tasks.child()),
    );

    notify(&[NotifyState::Ready]);
    while let Wish::Reload = signals.next().await {
        notify_reloading();
        report.reloaded(reloader.reload(balancer, &members.writer, &handle).await);
        notify(&[NotifyState::Ready]);
    }
    notify(&[NotifyState::Stopping]);
    stop::in_phases(&report, reloader.stop_limits(), &mut signals).await;
    tasks.stop();
    tasks.finished().await;
    info!("mainstay stopped");
    Ok(())
}

/// The token of the state directory; none where there is no such directory.
fn admin_token(config: &Config) -> anyhow::Result<Option<AdminToken>> {
    if !config.state_dir.is_dir() {
        return Ok(None);
    }
    match AdminToken::of(&config.state_dir) {
        // The default directory may belong to the service while somebody else tries the program.
        Err(error) if !config.state_dir_chosen => {
            let error = format!("{error:#}");
            tracing::warn!(error, "no admin token: drain and rebalance need a unix socket");
            Ok(None)
        }
        token => token.map(Some),
    }
}

/// What a signal asks for.
enum Wish {
    Reload,
    Stop,
}

/// The signals we listen to.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// The next wish. Cancel-safe.
    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
        }
    }

    /// Resolves when we are asked to stop, once more. Cancel-safe.
    async fn stop(&mut self) {
        while matches!(self.next().await, Wish::Reload) {}
    }
}

/// Tells systemd, if it started us.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot notify the service manager"),
    }
}

/// The sentence for an address that cannot be listened on.
fn not_started(error: &StartError) -> anyhow::Error {
    match error {
        StartError::Bind(bind) => {
            cannot_bind(&format!("listen on {}", bind.addr), &bind.source).into()
        }
        StartError::Worker(source) => anyhow::anyhow!("{error}: {source}"),
    }
}

fn not_bound(config: &Config, error: &std::io::Error) -> Stop {
    cannot_bind(&format!("open the admin endpoint {}", config.admin), error)
}

fn cannot_bind(what: &str, error: &std::io::Error) -> Stop {
    use std::io::ErrorKind as Kind;
    let (exit, reason) = match error.kind() {
        Kind::AddrInUse => (
            Exit::Unavailable,
            "the address is in use; stop the other program (`ss -ltnp` names it) or choose another".to_owned(),
        ),
        Kind::PermissionDenied => (
            Exit::Refused,
            "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, sockets a writable directory"
                .to_owned(),
        ),
        Kind::AddrNotAvailable => (
            Exit::Unavailable,
            "this host does not have that address; `ip address` lists those it has".to_owned(),
        ),
        Kind::NotFound => (Exit::Unavailable, "its directory does not exist".to_owned()),
        _ => (Exit::Unavailable, error.to_string()),
    };
    Stop::new(exit, format!("cannot {what}: {reason}"))
}

//! The wiring of the running balancer: configuration → ports → members → signals → stop.
//!
//! The control thread runs here; bytes move on the workers of `lb`.

mod cluster;
mod coordinator;
pub(crate) mod handover;
mod health_feed;
mod limits;
mod members;
mod probe;
mod rehearsal;
mod reload;
mod signals;
mod state_dir;
mod stop;

use std::sync::Arc;

use bootstrap::MembershipWriter;
use common::Tasks;
use common::config::Config;
use common::events::{EventKind, Journal};
use lb::Balancer;
use lb::balancer::StartError;
use lb::budget::Budget;
use lb::health::Keeper;
use lb::health::keeper::KeeperHandle;
use lb::health::prober::ProbeMethod;
use sd_notify::NotifyState;
use tracing::{error, info, warn};

use crate::admin::{self, AdminSocket, AdminToken, Report};
use crate::cli::ConfigOptions;
use crate::exit::{Exit, Stop};
use crate::ledger;
use crate::telemetry::{self, LogGuard};
pub(crate) use cluster::Cluster;
pub(crate) use coordinator::Join;
use coordinator::Surroundings;
use handover::{Claim, Giver, Heir, Outcome, Passed};
pub(crate) use limits::fitting;
use members::Members;
pub(crate) use probe::PEM_BYTES_MAX;
pub(crate) use rehearsal::rehearse;
use reload::Reloader;
use signals::{Signals, Wish};

/// Runs until a signal asks to stop.
pub(crate) fn run(options: ConfigOptions) -> anyhow::Result<()> {
    let claim = Claim::from_environment()?;
    let (prepared, _log) = match Prepared::of(options) {
        Ok(prepared) => prepared,
        Err(error) => {
            if let Some(claim) = claim {
                claim.refuse(&error);
            }
            return Err(error);
        }
    };
    let (config, budget) = (&prepared.config, prepared.budget);
    let journal = Journal::new();
    journal.note(EventKind::Started, format!("mainstay {} starts", telemetry::BUILD));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let heir = match claim {
        Some(claim) => Some(runtime.block_on(Heir::open(claim, config))?),
        None => None,
    };
    let started = match &heir {
        Some(heir) => Balancer::start_after(config, budget, journal, heir.predecessor()),
        None => Balancer::start(config, budget, journal),
    };
    let balancer = Arc::new(started.map_err(|error| not_started(&error))?);
    let ledger = ledger::keep(config.ledger.as_deref(), &balancer)?;
    let stopped = runtime.block_on(control(&balancer, prepared, heir, ledger.reopen()));
    drop(runtime);
    match Arc::try_unwrap(balancer) {
        Ok(balancer) => balancer.stop(),
        Err(_) => anyhow::bail!("internal: a task still holds the balancer after the stop"),
    }
    ledger.finish();
    stopped
}

/// What is read and checked before anything is bound or taken over.
struct Prepared {
    config: Config,
    cluster: Arc<Cluster>,
    method: ProbeMethod,
    budget: Budget,
    reloader: Reloader,
}

impl Prepared {
    fn of(options: ConfigOptions) -> anyhow::Result<(Self, LogGuard)> {
        let (layers, config) = options.load()?;
        let log = telemetry::init(&config)?;
        info!(build = telemetry::BUILD, pid = std::process::id(), "mainstay starts");
        state_dir::prepare(&config)?;
        let cluster = Arc::new(Cluster::new(&config));
        let method = cluster.method(&config).map_err(|reason| Stop::new(Exit::Usage, reason))?;
        let budget = limits::apply(&config);
        let reloader = Reloader::new(options, layers, &config);
        Ok((Self { config, cluster, method, budget, reloader }, log))
    }
}

/// Everything that is not moving bytes.
async fn control(
    balancer: &Arc<Balancer>,
    prepared: Prepared,
    mut heir: Option<Heir>,
    ledger: Option<ledger::Reopen>,
) -> anyhow::Result<()> {
    let Prepared { config, cluster, method, mut reloader, .. } = prepared;
    let tasks = Tasks::new();
    let mut signals = Signals::new()?;
    tasks.spawn_until_stopped("ledger", ledger::reopen_on_signals(ledger)?);
    let (lock, socket, mut passed) = own(&config, heir.as_mut()).await?;
    let token = admin_token(&config);
    let ownership = socket.ownership();
    let members = Members::known(&config);
    let (mut keeper, handle) =
        Keeper::new(Arc::clone(balancer), method, config.listen_when_empty, tasks.child());
    let sources = members.sources(&cluster);
    let report = Arc::new(Report::new(Arc::clone(balancer), handle.clone(), sources));
    if let Some(heir) = &mut heir {
        inherit(heir, balancer, &mut keeper, (&report, &members)).await?;
        ownership.assume();
    }
    lock.iter().for_each(state_dir::Lock::sign);
    tasks.spawn_until_stopped("keeper", keeper.run(members.writer.feed()));
    let health = members.follow(handle.health.clone(), balancer.now(), &tasks);
    cluster.follow(balancer, &members.writer, health.clone(), handle.commands.clone(), &tasks);
    info!(admin = %socket.addr, "admin endpoint open");
    let door = tasks.child();
    let around = Surroundings {
        balancer,
        writer: &members.writer,
        health,
        keeper: handle.commands.clone(),
        cluster: &cluster,
        tasks: &door,
        passed: heir.as_mut().and_then(|heir| heir.socket(handover::JOIN)),
    };
    passed.extend(coordinator(&config, around, heir.is_some(), &report).await?);
    let giver = Giver::new(Arc::clone(&report), &config, passed);
    door.spawn_until_stopped(
        "admin",
        admin::serve(socket, Arc::clone(&report), token, tasks.child()),
    );
    let predecessor = follow_predecessor(heir, balancer, &signals, &tasks);
    let release = |successor| {
        ownership.renounce();
        door.stop();
        notify(&[NotifyState::MainPid(successor)]);
    };

    notify(&[NotifyState::Ready]);
    loop {
        match signals.wish(report.desk()).await {
            Wish::Reload => {
                let told = (&*members.writer, &handle, &*cluster);
                reload(&mut reloader, balancer, &report, told).await;
            }
            Wish::HandOver => match giver.hand_over(&mut signals, &predecessor, release).await {
                Outcome::Kept => {}
                Outcome::KeptAndStop => break stop(&report, &reloader, &mut signals).await,
                Outcome::Gone => break,
            },
            Wish::Stop => break stop(&report, &reloader, &mut signals).await,
        }
    }
    tasks.stop();
    tasks.finished().await;
    info!("mainstay stopped");
    Ok(())
}

/// Takes over what the process before knew and counted.
async fn inherit(
    heir: &mut Heir,
    balancer: &Arc<Balancer>,
    keeper: &mut Keeper,
    (report, members): (&Report, &Members),
) -> anyhow::Result<()> {
    let took_over = heir.take_over(balancer).await?;
    keeper.inherit(heir.estate());
    report.inherit(heir.program(), took_over);
    members.inherit(heir.program());
    Ok(())
}

/// Takes what the process before still has to finish; its task ends with that process.
fn follow_predecessor(
    heir: Option<Heir>,
    balancer: &Arc<Balancer>,
    signals: &Signals,
    tasks: &Tasks,
) -> Tasks {
    let predecessor = tasks.child();
    if let Some(heir) = heir {
        let following = heir.follow(Arc::clone(balancer), signals.handed_on());
        predecessor.spawn_until_stopped("hand-over", following);
    }
    predecessor
}

/// Reads the configuration again and tells systemd and the report.
async fn reload(
    reloader: &mut Reloader,
    balancer: &Balancer,
    report: &Report,
    (writer, keeper, cluster): (&MembershipWriter, &KeeperHandle, &Cluster),
) {
    notify_reloading();
    report.reloaded(reloader.reload(balancer, writer, keeper, (report, cluster)).await);
    notify(&[NotifyState::Ready]);
}

/// Starts the coordinator, if it is switched on; its socket is for a process that takes over. Once
/// sessions were taken over nothing may end this process, so that it then goes on without.
async fn coordinator(
    config: &Config,
    around: Surroundings<'_>,
    took_over: bool,
    report: &Report,
) -> anyhow::Result<Option<Passed>> {
    let started = async {
        let Some(join) = Join::start(config, around).await? else {
            return anyhow::Ok(None);
        };
        let passed = Passed { name: handover::JOIN, socket: join.handle()? };
        report.joins(join);
        Ok(Some(passed))
    };
    match started.await {
        Err(error) if took_over => {
            let reason = format!("{error:#}");
            error!(reason, "no coordinator: masters cannot register here");
            Ok(None)
        }
        started => started,
    }
}

async fn stop(report: &Report, reloader: &Reloader, signals: &mut Signals) {
    notify(&[NotifyState::Stopping]);
    stop::in_phases(report, reloader.stop_limits(), signals).await;
}

/// What this process has alone: the state directory and the admin socket. With handles of both for a
/// process that takes over.
async fn own(
    config: &Config,
    mut heir: Option<&mut Heir>,
) -> anyhow::Result<(Option<state_dir::Lock>, AdminSocket, Vec<Passed>)> {
    let passed = heir.as_mut().and_then(|heir| heir.socket(handover::STATE_DIR));
    let lock = state_dir::Lock::take(config, passed).await?;
    let socket = admin_socket(config, heir).await?;
    let mut passed = vec![Passed { name: handover::ADMIN, socket: socket.handle()? }];
    if let Some(lock) = &lock {
        passed.push(Passed { name: handover::STATE_DIR, socket: lock.handle()? });
    }
    Ok((lock, socket, passed))
}

/// The admin socket: that of the process before, if there is one.
async fn admin_socket(config: &Config, heir: Option<&mut Heir>) -> Result<AdminSocket, Stop> {
    let bound = match heir.and_then(|heir| heir.socket(handover::ADMIN)) {
        Some(socket) => AdminSocket::adopt(&config.admin, socket),
        None => AdminSocket::bind(&config.admin).await,
    };
    bound.map_err(|error| not_bound(config, &error))
}

/// The token of the state directory; none where there is no such directory, or no token can be had:
/// clients need none.
fn admin_token(config: &Config) -> Option<AdminToken> {
    if !config.state_dir.is_dir() {
        return None;
    }
    let token = AdminToken::of(&config.state_dir);
    let told = token.inspect_err(|error| {
        let reason = format!("{error:#}");
        warn!(reason, "no admin token: drain and rebalance need a unix socket");
    });
    told.ok()
}

/// Tells systemd, if it started us.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot notify the service manager");
    }
}

fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "cannot notify the service manager"),
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

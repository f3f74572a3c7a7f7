//! `mainstay join`: a further master.

use std::net::IpAddr;

use bootstrap::identity::{Kubeadm, Seat};
use bootstrap::kubeadm::JoinFile;
use bootstrap::plan::{Extra, Goal, JoinCommandLine, KubeadmCommand, Step};
use bootstrap::protocol::Intent;
use common::Tasks;

use super::kubeadm::{self, PrivateFile};
use super::progress::Progress;
use super::rotation::rotation;
use super::settings::{KubeadmSettings, MasterSettings};
use super::station::Station;
use super::turn::{self, Given, Turn};
use super::work::{self, Work};
use super::{client_failed, command, network, service};
use crate::exit::Stop;

/// Holds the secrets of one join, as long as kubeadm runs.
const FILE: &str = "kubeadm-join.yaml";

/// Makes this machine a further master.
pub(crate) fn run(settings: MasterSettings, kubeadm: KubeadmSettings) -> anyhow::Result<()> {
    command(|tasks| async move {
        let version = kubeadm::version(&kubeadm.program).await?;
        version.config_api().map_err(Stop::failed)?;
        let with_file = JoinFile::suits(&version);
        let flags = Extra::new(kubeadm.flags.clone(), &version, with_file).map_err(Stop::usage)?;
        let opens = if kubeadm.dry_run { Station::look } else { Station::open };
        let station = opens(settings, Intent::Join)?;
        let mut work = Work::plan(station, kubeadm, version, flags, Goal::Join)?;
        if work.kubeadm.dry_run {
            return work.show(None);
        }
        // What a run that was killed could not remove.
        kubeadm::remove(&work.station.dir.path().join(FILE));
        let mut progress = Progress::new();
        let mut turn = None;
        for step in work.todo() {
            carry_out(step, &mut work, &mut turn, &mut progress, &tasks).await?;
        }
        progress.says("This machine is a master now.");
        Ok(())
    })
}

async fn carry_out(
    step: Step,
    work: &mut Work,
    turn: &mut Option<(Turn, Option<Given>)>,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    match step {
        Step::Register => work.station.register(progress, tasks).await,
        Step::Reset => work.reset(Goal::Join, progress, tasks).await,
        Step::Confirm => work.confirm(Goal::Join, progress, tasks).await,
        Step::AwaitTurn => {
            let clients = work.station.all_answering().await?;
            let name = work.station.identity.name.clone();
            let (taken, given) = Turn::take(clients, &name, progress, tasks).await?;
            *turn = Some((taken, Some(given)));
            Ok(())
        }
        Step::RunJoin => {
            let Some((turn, given)) = turn else { return Ok(()) };
            let Some(given) = given.take() else { return Ok(()) };
            run_join(work, turn, &given, progress, tasks).await
        }
        Step::Report => {
            let told = turn::tell(&work.station.clients(), true, "").await;
            Ok(told.map_err(|error| client_failed(&error))?)
        }
        Step::AwaitRotation => {
            let settled = match turn {
                Some((turn, _)) => turn.settle(progress, tasks).await?,
                None => false,
            };
            let (client, seat) = work.station.answering().await?;
            if !settled {
                rotation(&client, progress, tasks).await?;
            }
            progress.says(&format!("In rotation: clients reach it through {}.", seat.endpoint));
            Ok(())
        }
        Step::StartAgent => {
            service::start_agent(work.station.dir.path(), progress);
            Ok(())
        }
        Step::RunInit | Step::Announce => Ok(()),
    }
}

/// Runs kubeadm and keeps the turn meanwhile. A failure frees the turn.
async fn run_join(
    work: &mut Work,
    turn: &Turn,
    given: &Given,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let ran = try_join(work, turn, given, progress, tasks).await;
    if let Err(error) = &ran {
        turn.give_up(&format!("{error:#}")).await;
    }
    ran
}

async fn try_join(
    work: &mut Work,
    turn: &Turn,
    given: &Given,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let (_, seat) = work.station.seat()?;
    let command = join_command(work, given, &seat)?;
    let path = work.station.dir.path().join(FILE);
    let file = command.file.as_ref().map(|content| PrivateFile::write(path, content));
    let _file = file.transpose()?;
    progress.says(&format!("Running {}", command.shown()));
    work.station.change(|identity| identity.kubeadm = Kubeadm::Started)?;
    let ended = {
        let running = kubeadm::run(&work.kubeadm.program, &command, work.station.lock()?, tasks);
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => ended?,
            lost = turn.keep() => {
                // To stop kubeadm in the middle would leave half a master.
                progress.says(&format!("The turn is lost ({lost}); kubeadm goes on."));
                running.await?
            }
        }
    };
    work::ended(&mut work.station, ended, "kubeadm join")
}

fn join_command(work: &Work, given: &Given, seat: &Seat) -> anyhow::Result<KubeadmCommand> {
    let identity = &work.station.identity;
    let join = JoinFile {
        kubeadm: &work.version,
        endpoint: &given.endpoint,
        token: &given.token,
        pins: &given.pins,
        certificate_key: &given.key,
        node_name: &identity.name,
        node: work.flags.node(),
        advertise: advertise(identity.address, seat),
        port: identity.port,
    };
    let line = JoinCommandLine { join, extra: &work.flags };
    Ok(line.command(&work.station.dir.path().join(FILE)).map_err(Stop::failed)?)
}

fn advertise(given: Option<IpAddr>, seat: &Seat) -> Option<IpAddr> {
    given.or_else(|| Some(seat.apiserver.ip()).filter(|ip| network::is_ours(*ip)))
}

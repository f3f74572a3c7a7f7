//! `mainstay init`: the first master.

use std::net::IpAddr;
use std::time::Duration;

use bootstrap::agent::{announce, cluster_ca};
use bootstrap::identity::{Kubeadm, Seat};
use bootstrap::kubeadm::{ControlPlaneEndpoint, KubernetesVersion, Networking};
use bootstrap::plan::{
    ExternalCa, Extra, Goal, InitCommand, KubeadmCommand, Step, has_authorities,
};
use bootstrap::protocol::{ClusterFacts, Intent};
use common::Tasks;

use super::kubeadm;
use super::progress::Progress;
use super::rotation::rotation;
use super::settings::{KubeadmSettings, MasterSettings};
use super::station::Station;
use super::work::{self, INIT_FILE, Work};
use super::{command, network, service};
use crate::exit::Stop;

/// How often the CA is looked for while kubeadm runs: it is the first thing that kubeadm writes,
/// and the first apiserver is probed some seconds later.
const CA_LOOK: Duration = Duration::from_millis(250);

/// What `kubeadm init` is told.
#[derive(Clone, Debug)]
pub(crate) struct InitSettings {
    /// The balancer; `None`: as the coordinator says.
    pub(crate) endpoint: Option<ControlPlaneEndpoint>,
    /// Networks.
    pub(crate) networking: Networking,
    /// Further names for the apiserver certificates.
    pub(crate) cert_sans: Vec<String>,
}

/// Makes this machine the first master.
pub(crate) fn run(
    settings: MasterSettings,
    kubeadm: KubeadmSettings,
    init: InitSettings,
) -> anyhow::Result<()> {
    command(|tasks| async move {
        let version = kubeadm::version(&kubeadm.program).await?;
        let flags = Extra::new(kubeadm.flags.clone(), &version, true).map_err(Stop::usage)?;
        version.config_api().map_err(Stop::failed)?;
        let opens = if kubeadm.dry_run { Station::look } else { Station::open };
        let station = opens(settings, Intent::Init)?;
        let mut work = Work::plan(station, kubeadm, version, flags, Goal::Init)?;
        if work.kubeadm.dry_run {
            return dry_run(&work, &init);
        }
        let mut progress = Progress::new();
        for step in work.todo() {
            carry_out(step, &mut work, &init, &mut progress, &tasks).await?;
        }
        progress.says("This is the first master. Further ones join with the same ticket:");
        progress.says("  mainstay join TICKET");
        Ok(())
    })
}

async fn carry_out(
    step: Step,
    work: &mut Work,
    init: &InitSettings,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    match step {
        Step::Register => work.station.register(progress, tasks).await,
        Step::Reset => work.reset(Goal::Init, progress, tasks).await,
        Step::Confirm => work.confirm(Goal::Init, progress, tasks).await,
        Step::RunInit => run_init(work, init, progress, tasks).await,
        Step::Announce => tell_facts(&work.station, progress).await,
        Step::AwaitRotation => {
            let (client, seat) = work.station.answering().await?;
            rotation(&client, progress, tasks).await?;
            progress.says(&format!("In rotation: clients reach it through {}.", seat.endpoint));
            Ok(())
        }
        Step::StartAgent => {
            service::start_agent(work.station.dir.path(), progress);
            Ok(())
        }
        Step::AwaitTurn | Step::RunJoin | Step::Report => Ok(()),
    }
}

async fn run_init(
    work: &mut Work,
    init: &InitSettings,
    progress: &mut Progress,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let (_, seat) = work.station.seat()?;
    let command = init_command(work, init, Some(&seat))?;
    let file = work.station.dir.path().join(INIT_FILE);
    let content = command.file.as_ref().map_or("", |content| content.as_str());
    kubeadm::write_private(&file, content)?;
    progress.says(&format!("Running {}", command.shown()));
    let authorities = has_authorities(&work.station.settings.master.kubernetes_dir);
    work.station.change(|identity| {
        // A later run finds those that kubeadm made.
        if identity.kubeadm == Kubeadm::NotStarted {
            identity.own_authorities = authorities;
        }
        identity.kubeadm = Kubeadm::Started;
    })?;
    let ended = {
        let watching = watch_ca(&work.station);
        let running = kubeadm::run(&work.kubeadm.program, &command, work.station.lock()?, tasks);
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => ended?,
            () = watching => running.await?,
        }
    };
    work::ended(&mut work.station, ended, "kubeadm init")
}

/// `kubeadm init`, as far as it is known: before registering, the balancer may not be.
fn init_command(
    work: &Work,
    init: &InitSettings,
    seat: Option<&Seat>,
) -> anyhow::Result<KubeadmCommand> {
    let endpoint = match (&init.endpoint, seat) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Some(seat)) => seat.endpoint.parse().map_err(|error| {
            let said = &seat.endpoint;
            Stop::failed(format!(
                "the coordinator names `{said}` as endpoint: {error}; give --endpoint"
            ))
        })?,
        (None, None) => {
            return Err(Stop::usage(
                "the balancer's address is known only after registering; give --endpoint HOST:PORT \
                 to see the configuration",
            )
            .into());
        }
    };
    let version: KubernetesVersion = work.version.clone();
    let command = InitCommand {
        kubeadm: version,
        endpoint,
        node_name: work.station.identity.name.clone(),
        advertise: advertise(work, seat),
        port: work.station.identity.port,
        networking: init.networking.clone(),
        cert_sans: cert_sans(&init.cert_sans, seat),
        external_ca: ExternalCa::look(&work.station.settings.master.kubernetes_dir),
        extra: work.flags.clone(),
    };
    let file = work.station.dir.path().join(INIT_FILE);
    Ok(command.command(&file).map_err(Stop::usage)?)
}

/// Where the apiserver listens: as given, else where the coordinator will probe it, if that is an
/// address of this machine.
fn advertise(work: &Work, seat: Option<&Seat>) -> Option<IpAddr> {
    let seen = seat.map(|seat| seat.apiserver.ip());
    work.station.identity.address.or(seen.filter(|seen| network::is_ours(*seen)))
}

/// The names that were asked for, and the address at which the coordinator sees this machine, if
/// kubeadm cannot know it: there is a translation in between.
fn cert_sans(asked: &[String], seat: Option<&Seat>) -> Vec<String> {
    let seen = seat.map(|seat| seat.apiserver.ip()).filter(|seen| !network::is_ours(*seen));
    let seen = seen.map(|seen| seen.to_string()).filter(|seen| !asked.contains(seen));
    asked.iter().cloned().chain(seen).collect()
}

/// Tells every coordinator the cluster's CA as soon as kubeadm has made it, so that the first
/// apiserver is verified from its first probe on.
async fn watch_ca(station: &Station) {
    let mut to_tell = station.clients();
    while !to_tell.is_empty() {
        tokio::time::sleep(CA_LOOK).await;
        let Some(ca) = cluster_ca(&station.settings.master) else { continue };
        let facts = ClusterFacts { ca: Some(ca), kubeconfig: None };
        let mut left = Vec::new();
        for client in to_tell {
            match client.announce(&facts).await {
                Err(error) if error.may_work_later() => left.push(client),
                // The end of init says it once more, and then the operator sees why not.
                _ => {}
            }
        }
        to_tell = left;
    }
}

async fn tell_facts(station: &Station, progress: &mut Progress) -> anyhow::Result<()> {
    let master = &station.settings.master;
    let ca = cluster_ca(master);
    for client in station.clients() {
        match announce(master, ca.clone(), &client).await {
            // What is missing the agent tells later.
            Ok(_) => {}
            Err(error) => progress.says(&format!("Cannot tell about the cluster: {error}")),
        }
    }
    Ok(())
}

fn dry_run(work: &Work, init: &InitSettings) -> anyhow::Result<()> {
    let seat = work.station.identity.first_seat().map(|(_, seat)| seat.clone());
    let command = init_command(work, init, seat.as_ref());
    work.show(command.as_ref().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_names_the_address_that_a_translation_gives_us() {
        let seat = |ip: &str| Seat {
            ca: String::new(),
            certificate: String::new(),
            renew_at: 0,
            ends_at: 0,
            apiserver: format!("{ip}:6443").parse().unwrap(),
            endpoint: String::new(),
            intent: None,
        };
        let asked = ["lb.example.com".to_owned()];
        let names = |ip: Option<&str>| cert_sans(&asked, ip.map(seat).as_ref()).join(" ");
        assert_eq!(names(None), "lb.example.com");
        assert_eq!(names(Some("127.0.0.1")), "lb.example.com", "ours");
        assert_eq!(names(Some("203.0.113.7")), "lb.example.com 203.0.113.7");
    }
}

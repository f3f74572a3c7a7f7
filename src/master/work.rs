//! What `init` and `join` share: the plan over what is there, a reset, and the end of kubeadm.

use std::io::Write;

use bootstrap::identity::Kubeadm;
use bootstrap::kubeadm::KubernetesVersion;
use bootstrap::plan::{
    ExternalCa, Extra, Goal, KubeadmCommand, MasterFiles, Planned, Stage, Step, plan,
};
use common::Tasks;

use super::confirm::{self, End};
use super::interrupted;
use super::kubeadm::{self, Ended};
use super::progress::Progress;
use super::settings::KubeadmSettings;
use super::station::Station;
use crate::exit::Stop;

/// What `kubeadm init` was told. It stays for the operator to read; it holds no secret.
pub(crate) const INIT_FILE: &str = "kubeadm-config.yaml";

/// A command at work.
pub(crate) struct Work {
    pub(crate) station: Station,
    pub(crate) kubeadm: KubeadmSettings,
    pub(crate) version: KubernetesVersion,
    pub(crate) flags: Extra,
    steps: Vec<Planned>,
}

impl Work {
    /// Plans over what is there; refuses what a person must decide.
    pub(crate) fn plan(
        station: Station,
        kubeadm: KubeadmSettings,
        version: KubernetesVersion,
        flags: Extra,
        goal: Goal,
    ) -> anyhow::Result<Self> {
        let files = MasterFiles::look(&station.settings.master.kubernetes_dir);
        let stage = Stage::of(files, station.identity.kubeadm);
        let directory = station.settings.master.kubernetes_dir.display();
        if kubeadm.reset && stage.is_cleared_by_reset() {
            may_be_deleted(&station)?;
        }
        match &stage {
            Stage::Half(_) if files.external_ca => return Err(keep_external(&station).into()),
            Stage::Half(found) if !kubeadm.reset => {
                return Err(Stop::failed(format!(
                    "an earlier run of kubeadm failed or ended half-way and left {} in {directory}; \
                     run this again with --reset, which runs `kubeadm reset` first",
                    found.join(", ")
                ))
                .into());
            }
            Stage::Complete if kubeadm.reset => {
                return Err(Stop::failed(
                    "kubeadm came to its end on this machine, and --reset is for runs that did not: \
                     run this again without it to go on, or, to begin anew, `kubeadm reset` (with \
                     `mainstay leave` before it if clients still come here) and then this again",
                )
                .into());
            }
            Stage::Foreign(found) => {
                return Err(Stop::failed(format!(
                    "{directory} holds {}, which Mainstay did not make; if nothing of it is needed, \
                     run `kubeadm reset` and then this again",
                    found.join(", ")
                ))
                .into());
            }
            _ => {}
        }
        let steps = plan(goal, &stage, station.is_registered(), kubeadm.reset);
        Ok(Self { station, kubeadm, version, flags, steps })
    }

    /// What is to be done, in order.
    pub(crate) fn todo(&self) -> Vec<Step> {
        self.steps.iter().filter(|it| !it.done).map(|it| it.step).collect()
    }

    /// Asks the cluster whether the run that was lost came to its end, and notes the answer.
    pub(crate) async fn confirm(
        &mut self,
        goal: Goal,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<()> {
        let Station { identity, settings, .. } = &self.station;
        let (name, master) = (&identity.name, &settings.master);
        let sign = match confirm::end_of(goal, name, master, progress, tasks).await? {
            End::Lost(sign) => sign,
            End::Seen(without) => {
                progress.says("The cluster confirms that the earlier kubeadm came to its end.");
                if !without.is_empty() {
                    progress.says(&format!(
                        "It has no {}; if that is not on purpose, run `kubeadm init phase \
                         kubelet-finalize all --config {file}` (from 1.18 on) and `kubeadm init phase \
                         addon all --config {file}`.",
                        without.join(" and no "),
                        file = self.station.dir.path().join(INIT_FILE).display()
                    ));
                }
                return self.station.change(|identity| identity.kubeadm = Kubeadm::Done);
            }
        };
        self.station.change(|identity| identity.kubeadm = Kubeadm::Failed)?;
        Err(Stop::failed(format!(
            "an earlier kubeadm was lost before its end, says the cluster: {sign}; run this again \
             with --reset, which runs `kubeadm reset` first"
        ))
        .into())
    }

    /// `kubeadm reset`, for what a run of ours has left.
    pub(crate) async fn reset(
        &mut self,
        goal: Goal,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<()> {
        if goal == Goal::Join {
            let Station { identity, settings, .. } = &self.station;
            confirm::etcd_member_can_go(&identity.name, &settings.master, progress, tasks).await?;
        }
        let command = KubeadmCommand::reset(&self.flags);
        progress.says(&format!("Running {}", command.shown()));
        // What a reset that is lost leaves is no master, whatever the cluster still says.
        self.station.change(|identity| identity.kubeadm = Kubeadm::Failed)?;
        match kubeadm::run(&self.kubeadm.program, &command, self.station.lock()?, tasks).await? {
            Ended::Well => self.station.change(|identity| identity.kubeadm = Kubeadm::NotStarted),
            Ended::Badly(status) => {
                Err(Stop::failed(format!("kubeadm reset ended with {status}; see above")).into())
            }
            Ended::Interrupted => Err(interrupted("run it again with --reset").into()),
        }
    }

    /// Prints what would be done.
    pub(crate) fn show(&self, command: Option<&KubeadmCommand>) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let identity = &self.station.identity;
        writeln!(out, "Plan for {} with kubeadm {}:", identity.name, self.version)?;
        for (index, Planned { step, done }) in self.steps.iter().enumerate() {
            let done = if *done { " (done already)" } else { "" };
            writeln!(out, "  {}. {step}{done}", index + 1)?;
        }
        for known in &identity.coordinators {
            writeln!(out, "Coordinator: {}", known.address)?;
        }
        if let Some(command) = command {
            writeln!(out, "Command: {}", command.shown())?;
            if let Some(file) = &command.file {
                write!(out, "Configuration:\n{}", file.as_str())?;
            }
        }
        Ok(())
    }
}

/// Refuses a reset that would delete what cannot be made again on this machine.
fn may_be_deleted(station: &Station) -> Result<(), Stop> {
    let directory = &station.settings.master.kubernetes_dir;
    // They are external for what kubeadm refuses to upload.
    if !ExternalCa::look(directory).lets_upload() {
        return Err(keep_external(station));
    }
    if station.identity.own_authorities {
        let deletes = format!(
            "`kubeadm reset` would delete the CAs that were in {}/pki before it",
            directory.display()
        );
        return Err(keep(&deletes, "`pki`"));
    }
    Ok(())
}

fn keep_external(station: &Station) -> Stop {
    let directory = &station.settings.master.kubernetes_dir;
    let name = if ExternalCa::look(directory).cluster { "ca" } else { "front-proxy-ca" };
    let directory = directory.display();
    let deletes = format!(
        "the key of {directory}/pki/{name}.crt is elsewhere, and `kubeadm reset` would delete what \
         that CA signed"
    );
    keep(&deletes, &format!("`pki` and the kubeconfigs of {directory}"))
}

/// How to reset by hand and lose nothing.
fn keep(deletes: &str, aside: &str) -> Stop {
    Stop::failed(format!(
        "an earlier run of kubeadm failed or ended half-way; {deletes}: put {aside} aside, run \
         `kubeadm reset`, put back what was put aside, and run this again without --reset"
    ))
}

/// Notes how kubeadm ended. The files that it leaves cannot tell a failure later.
pub(crate) fn ended(station: &mut Station, ended: Ended, what: &str) -> anyhow::Result<()> {
    let failure = match ended {
        Ended::Well => return station.change(|identity| identity.kubeadm = Kubeadm::Done),
        Ended::Badly(status) => Stop::failed(format!(
            "{what} ended with {status}; mend what it says, and run this again with --reset"
        )),
        Ended::Interrupted => {
            interrupted(&format!("{what} was stopped; run this again with --reset to begin anew"))
        }
    };
    if let Err(error) = station.change(|identity| identity.kubeadm = Kubeadm::Failed) {
        // What it said itself matters more; the next run asks the cluster.
        crate::cli::warn(&format!("cannot note that {what} failed: {error:#}"));
    }
    Err(failure.into())
}

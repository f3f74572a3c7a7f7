//! What `init` and `join` share: the plan over what is there, a reset, and the end of kubeadm.

use std::io::Write;

use bootstrap::identity::Kubeadm;
use bootstrap::kubeadm::KubernetesVersion;
use bootstrap::plan::{Extra, Goal, KubeadmCommand, MasterFiles, Planned, Stage, Step, plan};
use common::Tasks;
use zeroize::Zeroizing;

use super::interrupted;
use super::kubeadm::{self, Ended};
use super::progress::Progress;
use super::settings::KubeadmSettings;
use super::station::Station;
use crate::exit::Stop;

/// A command at work.
pub(crate) struct Work {
    pub(crate) station: Station,
    pub(crate) kubeadm: KubeadmSettings,
    pub(crate) version: KubernetesVersion,
    pub(crate) flags: Extra,
    stage: Stage,
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
        match &stage {
            Stage::Half(found) if !kubeadm.reset => {
                return Err(Stop::failed(format!(
                    "an earlier run of kubeadm ended half-way and left {} in {directory}; run this \
                     again with --reset, which runs `kubeadm reset` first",
                    found.join(", ")
                ))
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
        Ok(Self { station, kubeadm, version, flags, stage, steps })
    }

    /// What is to be done, in order.
    pub(crate) fn todo(&self) -> Vec<Step> {
        if self.stage == Stage::EndNotSeen && !self.kubeadm.reset {
            crate::cli::warn(
                "the end of an earlier kubeadm was not seen, but all its files are there; if this \
                 master misbehaves, run this again with --reset",
            );
        }
        self.steps.iter().filter(|it| !it.done).map(|it| it.step).collect()
    }

    /// `kubeadm reset`, for what a run of ours has left.
    pub(crate) async fn reset(
        &mut self,
        progress: &mut Progress,
        tasks: &Tasks,
    ) -> anyhow::Result<()> {
        let arguments = ["reset", "--force"].map(|text| Zeroizing::new(text.to_owned()));
        let command =
            KubeadmCommand { arguments: arguments.into(), file: None, secret_arguments: false };
        progress.says(&format!("Running {}", command.shown()));
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

/// Notes how kubeadm ended.
pub(crate) fn ended(station: &mut Station, ended: Ended, what: &str) -> anyhow::Result<()> {
    match ended {
        Ended::Well => station.change(|identity| identity.kubeadm = Kubeadm::Done),
        Ended::Badly(status) => Err(Stop::failed(format!(
            "{what} ended with {status}; mend what it says, and run this again with --reset"
        ))
        .into()),
        Ended::Interrupted => Err(interrupted(&format!(
            "{what} was stopped; run this again with --reset to begin anew"
        ))
        .into()),
    }
}

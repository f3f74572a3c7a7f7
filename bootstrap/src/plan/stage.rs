//! How far kubeadm came on this machine, by the files that it leaves.

use std::path::{Path, PathBuf};

use super::external_ca::ExternalCa;
use crate::identity::Kubeadm;

/// What is there of a control plane. All of these are there long before kubeadm ends: with `init`
/// before it waits for the control plane, with `join` before etcd has the new member. So they show
/// that it has begun and never that it has ended. Certificates may have been put there by hand before
/// and say nothing at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MasterFiles {
    /// `admin.conf`.
    pub admin_conf: bool,
    /// `manifests/kube-apiserver.yaml`.
    pub apiserver: bool,
    /// `kubelet.conf`.
    pub kubelet_conf: bool,
    /// Whether the cluster's CA is external: then the two kubeconfigs are there before kubeadm begins.
    pub external_ca: bool,
}

/// kubeadm's directory, as everybody has it.
pub(super) const KUBERNETES_DIR: &str = "/etc/kubernetes";

impl MasterFiles {
    /// Looks below kubeadm's directory, usually `/etc/kubernetes`.
    #[must_use]
    pub fn look(directory: &Path) -> Self {
        let there = |name: &str| directory.join(name).exists();
        Self {
            admin_conf: there("admin.conf"),
            apiserver: there("manifests/kube-apiserver.yaml"),
            kubelet_conf: there("kubelet.conf"),
            external_ca: ExternalCa::look(directory).cluster,
        }
    }

    /// kubeadm's directory if nobody says otherwise.
    #[must_use]
    pub fn usual_directory() -> PathBuf {
        KUBERNETES_DIR.into()
    }

    fn all(self) -> bool {
        self.admin_conf && self.apiserver && self.kubelet_conf
    }

    /// Those that show that kubeadm has begun.
    fn list(self) -> Vec<&'static str> {
        let files = [
            (self.admin_conf && !self.external_ca, "admin.conf"),
            (self.apiserver, "manifests/kube-apiserver.yaml"),
            (self.kubelet_conf && !self.external_ca, "kubelet.conf"),
        ];
        files.into_iter().filter_map(|(there, name)| there.then_some(name)).collect()
    }
}

/// What files and memory together mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// kubeadm has not run here.
    Fresh,
    /// A run of ours failed or was lost before it wrote one of these files. Certificates may be there,
    /// or somebody has reset the machine since.
    Begun,
    /// kubeadm has ended well.
    Complete,
    /// Every file is there, but the run that we started was lost before its end: the cluster knows.
    EndNotSeen,
    /// A run of ours failed or ended half-way; these files are there.
    Half(Vec<&'static str>),
    /// Some of the files are there, and we did not make them.
    Foreign(Vec<&'static str>),
}

impl Stage {
    /// The meaning of `files`, when this is what we remember.
    #[must_use]
    pub fn of(files: MasterFiles, remembered: Kubeadm) -> Self {
        let found = files.list();
        match (remembered, files.all()) {
            (Kubeadm::Started | Kubeadm::Failed, false) if found.is_empty() => Self::Begun,
            // It never ran, or somebody reset the machine since.
            (_, false) if found.is_empty() => Self::Fresh,
            (Kubeadm::Done | Kubeadm::NotStarted, true) => Self::Complete,
            (Kubeadm::Started, true) => Self::EndNotSeen,
            (Kubeadm::Failed, _) | (Kubeadm::Started, false) => Self::Half(found),
            (Kubeadm::Done | Kubeadm::NotStarted, false) => Self::Foreign(found),
        }
    }

    /// Whether there may be something for `kubeadm reset` to clear.
    #[must_use]
    pub fn is_cleared_by_reset(&self) -> bool {
        matches!(self, Self::Begun | Self::Half(_) | Self::EndNotSeen)
    }

    /// Whether kubeadm need not run any more, with [`Stage::EndNotSeen`] if the cluster agrees.
    #[must_use]
    pub fn is_master(&self) -> bool {
        matches!(self, Self::Complete | Self::EndNotSeen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_a_meaning() {
        let mut seen = 0;
        for bits in 0..16 {
            let [admin_conf, apiserver, kubelet_conf, external_ca] =
                [1, 2, 4, 8].map(|bit| bits & bit != 0);
            let files = MasterFiles { admin_conf, apiserver, kubelet_conf, external_ca };
            let made = admin_conf || kubelet_conf;
            let none = !(apiserver || made && !external_ca);
            let all = admin_conf && apiserver && kubelet_conf;
            let states = [Kubeadm::NotStarted, Kubeadm::Started, Kubeadm::Failed, Kubeadm::Done];
            for remembered in states {
                let stage = Stage::of(files, remembered);
                let expected = match (none, all, remembered) {
                    (true, false, Kubeadm::Started | Kubeadm::Failed) => stage == Stage::Begun,
                    (true, ..) => stage == Stage::Fresh,
                    (_, true, Kubeadm::Started) => stage == Stage::EndNotSeen,
                    (_, _, Kubeadm::Started | Kubeadm::Failed) => {
                        matches!(&stage, Stage::Half(list) if !list.is_empty())
                    }
                    (_, true, _) => stage == Stage::Complete,
                    _ => matches!(&stage, Stage::Foreign(list) if !list.is_empty()),
                };
                assert!(expected, "{files:?} {remembered:?} → {stage:?}");
                assert_eq!(stage.is_master(), all && remembered != Kubeadm::Failed);
                seen += 1;
            }
        }
        assert_eq!(seen, 64);
    }

    #[test]
    fn files_are_looked_for_where_kubeadm_puts_them() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(MasterFiles::look(temp.path()), MasterFiles::default());
        std::fs::create_dir(temp.path().join("manifests")).unwrap();
        std::fs::write(temp.path().join("manifests/kube-apiserver.yaml"), "").unwrap();
        std::fs::write(temp.path().join("admin.conf"), "").unwrap();
        let found = MasterFiles::look(temp.path());
        assert_eq!(found.list(), ["admin.conf", "manifests/kube-apiserver.yaml"]);
    }
}

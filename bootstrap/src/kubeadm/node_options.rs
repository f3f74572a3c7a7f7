//! What a configuration file says about the node itself, the same for `init` and for `join`.

use super::config_file::ConfigFileError;
use super::version::{ConfigApi, KubernetesVersion};
use super::yaml::Yaml;

/// Settings of the node that kubeadm takes from its file; kubeadm's defaults where `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOptions {
    /// The container runtime's socket; must be told where a machine has two.
    pub cri_socket: Option<String>,
    /// The directory with patches for the static pods; in the file since kubeadm 1.22.
    pub patches: Option<String>,
}

impl NodeOptions {
    /// Whether this kubeadm takes the patches' directory from its file.
    #[must_use]
    pub fn has_patches(kubeadm: &KubernetesVersion) -> bool {
        kubeadm.config_api().is_ok_and(|api| api >= ConfigApi::V1beta3)
    }

    /// `nodeRegistration` and `patches`, each where there is something to say.
    pub(super) fn write(
        &self,
        yaml: &mut Yaml,
        api: ConfigApi,
        name: Option<&str>,
    ) -> Result<(), ConfigFileError> {
        let registration = [("name", name), ("criSocket", self.cri_socket.as_deref())];
        let mut given = registration.into_iter().filter_map(|(key, value)| Some((key, value?)));
        if let Some(first) = given.next() {
            yaml.line(0, "nodeRegistration:");
            for (key, value) in std::iter::once(first).chain(given) {
                yaml.quoted(2, key, value);
            }
        }
        if let Some(directory) = &self.patches {
            if api < ConfigApi::V1beta3 {
                return Err(ConfigFileError::NoPatches);
            }
            yaml.line(0, "patches:");
            yaml.quoted(2, "directory", directory);
        }
        Ok(())
    }
}

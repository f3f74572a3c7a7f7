//! A configuration file for `kubeadm init` behind a balancer, in the format that the installed
//! kubeadm reads.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::cluster_config::Networking;
use super::endpoint::ControlPlaneEndpoint;
use super::key::CertificateKey;
use super::node_options::NodeOptions;
use super::version::{ConfigApi, KubernetesVersion, VersionError};
use super::yaml::{Yaml, quote};

/// First release line whose apiserver knows `shutdown-delay-duration` (kubernetes#74416).
const SHUTDOWN_DELAY_SINCE: u32 = 16;

/// First release line whose apiserver knows `goaway-chance` (kubernetes#88567).
const GOAWAY_SINCE: u32 = 18;

/// A static pod is killed after this time, so a longer delay would end in a kill.
const POD_GRACE: Duration = Duration::from_secs(30);

/// Name and value of an argument.
type Argument = (&'static str, String);

/// What goes into the file. `render` writes an `InitConfiguration` and a `ClusterConfiguration`.
#[derive(Debug, Clone)]
pub struct ConfigFile<'a> {
    /// The kubeadm that will read the file; if its patch is known, also the version to install.
    pub kubeadm: KubernetesVersion,
    /// The balancer's address.
    pub endpoint: ControlPlaneEndpoint,
    /// Name of the node; kubeadm takes the machine's if `None`.
    pub node_name: Option<String>,
    /// More about the node.
    pub node: NodeOptions,
    /// Further names and addresses for the apiserver certificates; the endpoint's host is added.
    pub cert_sans: Vec<String>,
    /// Networks; kubeadm's defaults where `None`.
    pub networking: Networking,
    /// Address of the first apiserver; kubeadm finds it itself if `None`.
    pub advertise: Option<IpAddr>,
    /// Its port; kubeadm's 6443 if `None`.
    pub bind_port: Option<u16>,
    /// How long an apiserver goes on serving after it has said that it will stop. Longer than the
    /// balancer needs to notice, shorter than 30 s.
    pub shutdown_delay: Option<Duration>,
    /// How often the apiserver sends a client away, so that load spreads again.
    pub goaway_chance: Option<GoawayChance>,
    /// How long kubeadm waits for the control plane; 4 minutes if `None`.
    pub control_plane_timeout: Option<Duration>,
    /// Key to upload the certificates with; a secret in the file.
    pub certificate_key: Option<&'a CertificateKey>,
}

impl ConfigFile<'_> {
    /// The file as YAML, two documents.
    ///
    /// # Errors
    /// [`ConfigFileError`] if this version of kubeadm or of the apiserver lacks something asked for.
    pub fn render(&self) -> Result<Zeroizing<String>, ConfigFileError> {
        let api = self.kubeadm.config_api()?;
        let arguments = self.extra_arguments()?;
        let mut yaml = Yaml::new();
        self.write_init(&mut yaml, api)?;
        yaml.line(0, "---");
        self.write_cluster(&mut yaml, api, &arguments);
        Ok(yaml.into_text())
    }

    fn write_init(&self, yaml: &mut Yaml, api: ConfigApi) -> Result<(), ConfigFileError> {
        yaml.field(0, "apiVersion", api.api_version());
        yaml.field(0, "kind", "InitConfiguration");
        if let Some(key) = self.certificate_key {
            if api == ConfigApi::V1beta1 {
                return Err(ConfigFileError::NoCertificateKey);
            }
            yaml.quoted(0, "certificateKey", &key.to_hex());
        }
        self.node.write(yaml, api, self.node_name.as_deref())?;
        if self.advertise.is_some() || self.bind_port.is_some() {
            yaml.line(0, "localAPIEndpoint:");
        }
        if let Some(advertise) = self.advertise {
            yaml.quoted(2, "advertiseAddress", &advertise.to_string());
        }
        if let Some(port) = self.bind_port {
            yaml.field(2, "bindPort", &port.to_string());
        }
        if let Some(timeout) = self.control_plane_timeout
            && api >= ConfigApi::V1beta4
        {
            yaml.line(0, "timeouts:");
            yaml.field(2, "controlPlaneComponentHealthCheck", &go_duration(timeout));
        }
        Ok(())
    }

    fn write_cluster(&self, yaml: &mut Yaml, api: ConfigApi, arguments: &[Argument]) {
        yaml.field(0, "apiVersion", api.api_version());
        yaml.field(0, "kind", "ClusterConfiguration");
        if self.kubeadm.patch.is_some() {
            yaml.quoted(0, "kubernetesVersion", &self.kubeadm.to_string());
        }
        yaml.quoted(0, "controlPlaneEndpoint", &self.endpoint.to_string());
        self.write_networking(yaml);
        yaml.line(0, "apiServer:");
        yaml.line(2, "certSANs:");
        let host = self.endpoint.host();
        let others = self.cert_sans.iter().map(String::as_str).filter(|name| *name != host);
        for name in std::iter::once(host).chain(others) {
            yaml.line(2, &format!("- {}", *quote(name)));
        }
        write_arguments(yaml, api, arguments);
        if let Some(timeout) = self.control_plane_timeout
            && api < ConfigApi::V1beta4
        {
            yaml.field(2, "timeoutForControlPlane", &go_duration(timeout));
        }
    }

    fn write_networking(&self, yaml: &mut Yaml) {
        let Networking { dns_domain, pod_subnet, service_subnet } = &self.networking;
        let fields = [
            ("dnsDomain", dns_domain),
            ("podSubnet", pod_subnet),
            ("serviceSubnet", service_subnet),
        ];
        let given: Vec<_> =
            fields.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
        if !given.is_empty() {
            yaml.line(0, "networking:");
        }
        for (name, value) in given {
            yaml.quoted(2, name, value);
        }
    }

    /// The arguments of the apiserver, by name.
    fn extra_arguments(&self) -> Result<Vec<Argument>, ConfigFileError> {
        let mut arguments = Vec::new();
        if let Some(chance) = self.goaway_chance {
            if !self.kubeadm.is_at_least(GOAWAY_SINCE) {
                return Err(ConfigFileError::NoGoaway);
            }
            arguments.push(("goaway-chance", chance.0.to_string()));
        }
        if let Some(delay) = self.shutdown_delay {
            if !self.kubeadm.is_at_least(SHUTDOWN_DELAY_SINCE) {
                return Err(ConfigFileError::NoShutdownDelay);
            }
            if delay >= POD_GRACE {
                return Err(ConfigFileError::ShutdownDelay);
            }
            arguments.push(("shutdown-delay-duration", go_duration(delay)));
        }
        Ok(arguments)
    }
}

/// Extra arguments: a list since v1beta4, a map before.
fn write_arguments(yaml: &mut Yaml, api: ConfigApi, arguments: &[Argument]) {
    if !arguments.is_empty() {
        yaml.line(2, "extraArgs:");
    }
    for (name, value) in arguments {
        if api >= ConfigApi::V1beta4 {
            yaml.line(2, &format!("- name: {name}"));
            yaml.quoted(4, "value", value);
        } else {
            yaml.quoted(4, name, value);
        }
    }
}

/// A duration as Go writes it, cut to seconds: `20s`, `4m0s`, `24h0m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// The share of HTTP/2 requests that an apiserver answers with GOAWAY, 0 to 0.02; 0.001 is usual.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct GoawayChance(f64);

impl GoawayChance {
    /// The most that the apiserver takes.
    const MAX: f64 = 0.02;
}

impl FromStr for GoawayChance {
    type Err = ConfigFileError;

    fn from_str(text: &str) -> Result<Self, ConfigFileError> {
        match text.parse() {
            Ok(chance) if (0.0..=Self::MAX).contains(&chance) => Ok(Self(chance)),
            _ => Err(ConfigFileError::GoawayChance),
        }
    }
}

/// Why there is no configuration file. Ask for less, or for a newer kubeadm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFileError {
    /// The version of kubeadm is not supported.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// v1beta1 has no place for the key, and the flag may not stand beside a file.
    #[error(
        "kubeadm 1.14 takes no certificate key from a file; leave it out and let kubeadm make one"
    )]
    NoCertificateKey,
    /// The apiserver is too old for GOAWAY.
    #[error("kube-apiserver knows goaway-chance since 1.18; leave it out")]
    NoGoaway,
    /// The apiserver is too old for a delay.
    #[error("kube-apiserver knows shutdown-delay-duration since 1.16; leave it out")]
    NoShutdownDelay,
    /// The delay would outlast the static pod.
    #[error("the shutdown delay must be shorter than 30s, after which the static pod is killed")]
    ShutdownDelay,
    /// No place for the patches' directory.
    #[error("kubeadm takes a directory of patches from its configuration file since 1.22")]
    NoPatches,
    /// Not a share that the apiserver takes.
    #[error("goaway-chance is a number from 0 to 0.02, such as 0.001")]
    GoawayChance,
}

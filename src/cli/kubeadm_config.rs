//! `mainstay kubeadm-config`: a configuration file for `kubeadm init` behind this balancer.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bootstrap::kubeadm::{
    CertificateKey, ConfigFile, ConfigFileError, ControlPlaneEndpoint, GoawayChance,
    KubernetesVersion, Networking, NodeOptions,
};
use bootstrap::plan::recommended;
use clap::Args;
use common::duration;

use super::input;
use crate::exit::Stop;

/// Write a kubeadm configuration for a cluster behind this balancer.
///
/// The file is in the newest format that the kubeadm reads: v1beta1 for 1.14 to v1beta4 for 1.31
/// and later. It holds the balancer's address as controlPlaneEndpoint and among the names of the
/// apiserver's certificate, and two arguments for the apiserver: shutdown-delay-duration, so that
/// the balancer sees a stop before it happens, and goaway-chance, so that load spreads again after
/// a master returns.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay kubeadm-config --endpoint 192.168.122.170:6443 \
--pod-subnet 10.244.0.0/16 > kubeadm.yaml\n  kubeadm init --config kubeadm.yaml --upload-certs")]
pub(super) struct KubeadmConfig {
    /// Address of the balancer.
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: ControlPlaneEndpoint,

    /// The kubeadm that will read the file, as 1.20 or v1.20.2 [default: asked from `kubeadm`].
    #[arg(long, value_name = "1.x")]
    kubeadm_version: Option<KubernetesVersion>,

    /// Network of the pods.
    #[arg(long, value_name = "CIDR", value_parser = super::subnets::checked)]
    pod_subnet: Option<String>,

    /// Network of the services [default: kubeadm's, 10.96.0.0/12].
    #[arg(long, value_name = "CIDR", value_parser = super::subnets::checked)]
    service_subnet: Option<String>,

    /// DNS domain of the services [default: kubeadm's, cluster.local].
    #[arg(long, value_name = "DOMAIN")]
    dns_domain: Option<String>,

    /// A further name or address for the apiserver certificates; repeat for each.
    #[arg(long = "cert-san", value_name = "NAME")]
    cert_sans: Vec<String>,

    /// Address and port of the first apiserver [default: kubeadm finds them].
    #[arg(long, value_name = "IP:PORT")]
    advertise: Option<SocketAddr>,

    /// How long a stopping apiserver goes on serving; 0s leaves it out [default: 20s where known].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    shutdown_delay: Option<Duration>,

    /// How often a client is asked to connect anew, 0 to 0.02; 0 leaves it out [default: 0.001
    /// where known].
    #[arg(long, value_name = "SHARE")]
    goaway_chance: Option<GoawayChance>,

    /// How long `kubeadm init` waits for the apiserver [default: kubeadm's, 4m].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    control_plane_timeout: Option<Duration>,

    /// Put the certificate key of this file (`-`: standard input) into the configuration, where
    /// whoever reads it sees the key. Not for kubeadm 1.14.
    #[arg(long, value_name = "FILE")]
    certificate_key_file: Option<PathBuf>,
}

impl KubeadmConfig {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let key = self.certificate_key_file.as_deref();
        let key = key.map(input::certificate_key).transpose()?;
        if key.as_ref().is_some_and(|key| !key.can_seal()) {
            return Err(Stop::usage(
                "the certificate key is shorter than 32 bytes, which kubeadm takes no more; make \
                 one with `mainstay certs key`",
            )
            .into());
        }
        let kubeadm = match self.kubeadm_version.clone() {
            Some(version) => version,
            None => installed_kubeadm()?,
        };
        let file = self.file(kubeadm, key.as_ref()).map_err(Stop::usage)?;
        let text = file.render().map_err(Stop::usage)?;
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }

    fn file(
        self,
        kubeadm: KubernetesVersion,
        key: Option<&CertificateKey>,
    ) -> Result<ConfigFile<'_>, ConfigFileError> {
        let (usual_delay, usual_chance) = recommended(&kubeadm)?;
        let none: GoawayChance = "0".parse()?;
        let shutdown_delay = self.shutdown_delay.or(usual_delay).filter(|delay| !delay.is_zero());
        let goaway_chance = self.goaway_chance.or(usual_chance).filter(|chance| *chance != none);
        Ok(ConfigFile {
            kubeadm,
            endpoint: self.endpoint,
            node_name: None,
            node: NodeOptions::default(),
            cert_sans: self.cert_sans,
            networking: Networking {
                dns_domain: self.dns_domain,
                pod_subnet: self.pod_subnet,
                service_subnet: self.service_subnet,
            },
            advertise: self.advertise.map(|advertise| advertise.ip()),
            bind_port: self.advertise.map(|advertise| advertise.port()),
            shutdown_delay,
            goaway_chance,
            control_plane_timeout: self.control_plane_timeout,
            certificate_key: key,
        })
    }
}

/// The version of the kubeadm on this machine.
fn installed_kubeadm() -> anyhow::Result<KubernetesVersion> {
    let missing = |why: &dyn std::fmt::Display| {
        Stop::usage(format!("cannot ask `kubeadm version`: {why}; give --kubeadm-version"))
    };
    let answer = Command::new("kubeadm")
        .args(["version", "-o", "short"])
        .output()
        .map_err(|error| missing(&error))?;
    let text = String::from_utf8_lossy(&answer.stdout);
    Ok(text.trim().parse().map_err(|error| missing(&error))?)
}

//! `mainstay init`: the first master.

use bootstrap::kubeadm::{ControlPlaneEndpoint, Networking};
use clap::Args;

use super::ticket_options::{KubeadmOptions, MasterOptions, TicketOptions};
use crate::master::{self, InitSettings};

/// Make this machine the first master.
///
/// Registers with the coordinator, writes a kubeadm configuration for a cluster behind its
/// balancer, runs `kubeadm init --upload-certs`, tells the coordinator the cluster's CA, waits
/// until this master is in rotation, and starts the agent. Run again, it goes on where it was
/// interrupted. What kubeadm prints is shown.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay init 192.168.122.170:6445 --ca-cert-hash sha256:… \
--token-file token \\\n    --pod-subnet 10.244.0.0/16 -- --ignore-preflight-errors=NumCPU")]
pub(super) struct Init {
    #[command(flatten)]
    ticket: TicketOptions,

    #[command(flatten)]
    master: MasterOptions,

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

    /// Address of the control plane [default: the balancer, as the coordinator knows it].
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<ControlPlaneEndpoint>,

    /// Register as first master even though the coordinator knows one.
    #[arg(long)]
    first: bool,

    #[command(flatten)]
    kubeadm: KubeadmOptions,
}

impl Init {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let networking = Networking {
            dns_domain: self.dns_domain,
            pod_subnet: self.pod_subnet,
            service_subnet: self.service_subnet,
        };
        let init = InitSettings { endpoint: self.endpoint, networking, cert_sans: self.cert_sans };
        let settings = self.master.settings(self.ticket, self.first)?;
        master::run_init(settings, self.kubeadm.settings(), init)
    }
}

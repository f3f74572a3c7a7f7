//! `mainstay ca-hash`: the pin by which a joiner knows the cluster.

use std::io::Write;
use std::path::PathBuf;

use bootstrap::kubeadm::CaPin;
use clap::Args;

use super::input;
use crate::exit::Stop;

/// Print the hash of the cluster's CA for `kubeadm join --discovery-token-ca-cert-hash`.
///
/// One line for each certificate of the file, in its order. Put all of them on a join command;
/// kubeadm up to 1.21.0 looks at the first only.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay ca-hash --ca /etc/kubernetes/pki/ca.crt")]
pub(super) struct CaHash {
    /// The CA certificate in PEM, or `-` for the standard input.
    #[arg(long, value_name = "FILE", default_value = "/etc/kubernetes/pki/ca.crt")]
    ca: PathBuf,
}

impl CaHash {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let bundle = input::bytes(&self.ca)?;
        let pins = CaPin::of_bundle(&bundle)
            .map_err(|error| Stop::failed(format!("{}: {error}", self.ca.display())))?;
        let mut out = std::io::stdout().lock();
        for pin in pins {
            writeln!(out, "{pin}")?;
        }
        Ok(())
    }
}

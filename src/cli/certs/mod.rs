//! `mainstay certs`: the certificates that a new master needs, as kubeadm hands them over.

mod download;
mod files;
mod key;
mod listing;
mod show;
mod source;
mod upload;

pub(super) use files::{CertificateFiles, end_of_upload};

use clap::{Args, Subcommand};

/// Hand the cluster's certificates to new masters, as kubeadm does.
///
/// `kubeadm join --control-plane --certificate-key` fetches them from the Secret `kubeadm-certs`,
/// where they are sealed with the certificate key. What kubeadm uploaded can be read here, and
/// what is uploaded here kubeadm can join with.
#[derive(Args, Debug)]
pub(super) struct Certs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Key(key::Key),
    Upload(upload::Upload),
    Show(show::Show),
    Download(download::Download),
}

impl Certs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::Key(key) => key.run(),
            Verb::Upload(upload) => upload.run(),
            Verb::Show(show) => show.run(),
            Verb::Download(download) => download.run(),
        }
    }
}

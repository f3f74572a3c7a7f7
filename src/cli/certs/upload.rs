//! `mainstay certs upload`: the certificates of this master, for others to join with.

use std::io::Write;
use std::time::Duration;

use bootstrap::cluster::{kubeadm_config, upload_certs};
use bootstrap::kubeadm::{CertificateKey, OsRandom};
use clap::Args;

use super::super::api::{self, ClusterOption};
use super::super::input;
use super::files::{CertificateFiles, end_of_upload};
use crate::exit::Stop;

/// Upload the certificates of this master, so that others can join as masters.
///
/// Writes the Secret `kubeadm-certs`, sealed with the certificate key, its owner token, whose end
/// is the end of the Secret, and the rule that lets joiners read it. An earlier upload is replaced,
/// and its key is worth nothing then. If a step fails, what was written is taken back.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  mainstay certs upload --print-key\n  \
mainstay certs upload --certificate-key-file certs.key --ttl 30m")]
pub(super) struct Upload {
    /// How long the upload lives; kubeadm's own lives 2h.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = api::lifetime)]
    ttl: Duration,

    #[command(flatten)]
    files: CertificateFiles,

    /// Print the certificate key, on the standard output and nothing else there.
    #[arg(long)]
    print_key: bool,

    #[command(flatten)]
    cluster: ClusterOption,
}

impl Upload {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if !self.print_key && !self.files.has_key_file() {
            return Err(Stop::usage(
                "nobody would know the new certificate key; add --print-key, or make one with \
                 `mainstay certs key > FILE` and give --certificate-key-file FILE",
            )
            .into());
        }
        end_of_upload(self.ttl)?;
        let key = self.files.key()?;
        api::block_on(self.upload(&key))
    }

    async fn upload(&self, key: &CertificateKey) -> anyhow::Result<()> {
        let cluster = self.cluster.connect()?;
        let config = kubeadm_config(&cluster).await;
        let config = config.map_err(|error| api::config_failed(&error))?;
        let certs = self.files.read(config.as_ref())?;
        let end = end_of_upload(self.ttl)?;
        let stop = api::interrupt();
        let uploaded = upload_certs(&cluster, &certs, key, end, &mut OsRandom, stop).await;
        let uploaded = uploaded.map_err(|error| api::upload_failed(&error))?;
        let replaced = if uploaded.replaced {
            "; an earlier upload was replaced, its key is worth nothing now"
        } else {
            ""
        };
        input::tell(&format!(
            "Uploaded the certificates to Secret \"kubeadm-certs\" in the \"kube-system\" \
             Namespace until {}{replaced}",
            uploaded.expiration
        ));
        if self.print_key {
            writeln!(std::io::stdout().lock(), "{}", *key.to_hex())?;
        }
        Ok(())
    }
}

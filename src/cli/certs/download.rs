//! `mainstay certs download`: the uploaded certificates, back into files.

use std::io::Write;
use std::path::PathBuf;

use bootstrap::kubeadm::{
    CertSet, CertificateKey, ClusterConfiguration, FileOutcome, PkiDirectory, PkiError,
    SealedCerts, Secret, Topology, WriteMode,
};
use clap::Args;
use jiff::Timestamp;

use super::super::{api, input};
use super::files::{CERTIFICATES_DIR, disk_failed, warn_of_dates};
use super::source::SecretSource;
use crate::exit::Stop;

/// Write the uploaded certificates into the certificates directory of a new master.
///
/// Everything is opened and checked before the first file is written; private keys get mode 0600,
/// the others 0644. Files that are there already with other content are kept unless --force is
/// given.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  mainstay certs download --certificate-key-file certs.key\n  \
mainstay certs download --secret-file kubeadm-certs.json --certificate-key-file certs.key")]
pub(super) struct Download {
    /// The certificate key, as printed by the upload; `-` for the standard input.
    #[arg(long, value_name = "FILE")]
    certificate_key_file: PathBuf,

    #[command(flatten)]
    source: SecretSource,

    /// Beside --secret-file, a saved ConfigMap kubeadm-config: it names the paths of an external
    /// etcd's files.
    #[arg(long, value_name = "FILE", requires = "secret_file")]
    kubeadm_config_file: Option<PathBuf>,

    /// Where the files go [default: /etc/kubernetes/pki, or what kubeadm-config says].
    #[arg(long, value_name = "DIR")]
    certificate_dir: Option<PathBuf>,

    /// Replace files that are there with other content.
    #[arg(long)]
    force: bool,
}

impl Download {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let files = [
            Some(self.certificate_key_file.as_path()),
            self.source.secret_file(),
            self.kubeadm_config_file.as_deref(),
        ];
        input::one_stdin(&files)?;
        let key = input::certificate_key(&self.certificate_key_file)?;
        match self.source.secret_file() {
            Some(file) => self.write(&input::saved_secret(file)?, &key, self.saved_config()?),
            None => api::block_on(self.fetch(&key)),
        }
    }

    async fn fetch(&self, key: &CertificateKey) -> anyhow::Result<()> {
        let cluster = self.source.connect()?;
        let secret = SecretSource::fetch(&cluster).await?;
        let config = api::config_if_readable(&cluster).await?;
        self.write(&secret, key, config)
    }

    fn saved_config(&self) -> anyhow::Result<Option<ClusterConfiguration>> {
        let map = self.kubeadm_config_file.as_deref();
        let map = map.map(input::saved_config_map).transpose()?;
        let config = map.map(|map| ClusterConfiguration::from_config_map(&map));
        Ok(config.transpose().map_err(Stop::failed)?)
    }

    fn write(
        &self,
        secret: &Secret,
        key: &CertificateKey,
        config: Option<ClusterConfiguration>,
    ) -> anyhow::Result<()> {
        let sealed = SealedCerts::from_secret(secret).map_err(Stop::failed)?;
        let certs = sealed.open(key).map_err(Stop::failed)?;
        let directory = self.directory(sealed.topology(), config)?;
        write(&certs, &directory, self.force)
    }

    fn directory(
        &self,
        topology: Topology,
        config: Option<ClusterConfiguration>,
    ) -> anyhow::Result<PkiDirectory> {
        let given = self.certificate_dir.clone();
        match (config, topology) {
            (Some(mut cluster), _) => {
                cluster.certificates_dir = given.unwrap_or(cluster.certificates_dir);
                Ok(PkiDirectory::of(&cluster))
            }
            (None, Topology::Stacked) => {
                Ok(PkiDirectory::stacked(given.unwrap_or_else(|| CERTIFICATES_DIR.into())))
            }
            (None, Topology::External) => Err(Stop::usage(
                "the paths of an external etcd's files stand in kubeadm-config, which was not \
                 given or may not be read; save it with `kubectl get configmap kubeadm-config -n \
                 kube-system -o json` and give it with --kubeadm-config-file, beside --secret-file",
            )
            .into()),
        }
    }
}

fn write(certs: &CertSet, directory: &PkiDirectory, force: bool) -> anyhow::Result<()> {
    let mode = if force { WriteMode::Force } else { WriteMode::Keep };
    let outcomes = directory.write(certs, mode).map_err(|error| {
        let way_out = match error {
            PkiError::Exists { .. } => "; give --force to replace them, or another directory",
            PkiError::Defects(_) => "; mend the files on a master and upload again",
            _ => "",
        };
        disk_failed(&error, way_out)
    })?;
    let mut out = std::io::stdout().lock();
    for (path, outcome) in outcomes {
        let became = match outcome {
            FileOutcome::Written => "written",
            FileOutcome::Unchanged => "unchanged",
        };
        writeln!(out, "{became:9} {}", path.display())?;
    }
    warn_of_dates(certs, Timestamp::now());
    for (entry, _) in certs.entries().filter(|(_, file)| file.is_none()) {
        if !entry.may_be_empty() {
            input::warn(&format!("{entry} was not uploaded; copy it by hand before the join"));
        }
    }
    Ok(())
}

//! `mainstay certs download`: the uploaded certificates, back into files.

use std::io::Write;
use std::path::PathBuf;

use bootstrap::kubeadm::{
    CertSet, ClusterConfiguration, FileOutcome, PkiDirectory, PkiError, SealedCerts, Topology,
    WriteMode,
};
use clap::Args;

use super::super::input;
use crate::exit::Stop;

/// kubeadm's default of `certificatesDir`.
const CERTIFICATES_DIR: &str = "/etc/kubernetes/pki";

/// Write the uploaded certificates into the certificates directory of a new master.
///
/// Everything is opened and checked before the first file is written; private keys get mode 0600,
/// the others 0644. Files that are there already with other content are kept unless --force is
/// given.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  mainstay certs download --secret-file kubeadm-certs.json \
--certificate-key-file certs.key"
)]
pub(super) struct Download {
    /// The certificate key, as printed by the upload; `-` for the standard input.
    #[arg(long, value_name = "FILE")]
    certificate_key_file: PathBuf,

    /// A Secret saved as JSON or YAML instead of the one in the cluster; `-` for the standard input.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,

    /// A saved ConfigMap kubeadm-config, for the paths of an external etcd's files.
    #[arg(long, value_name = "FILE")]
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
            Some(&self.secret_file),
            self.kubeadm_config_file.as_deref(),
        ];
        input::one_stdin(&files)?;
        let key = input::certificate_key(&self.certificate_key_file)?;
        let secret = input::saved_secret(&self.secret_file)?;
        let sealed = SealedCerts::from_secret(&secret).map_err(Stop::failed)?;
        let certs = sealed.open(&key).map_err(Stop::failed)?;
        let directory = self.directory(sealed.topology())?;
        write(&certs, &directory, self.force)
    }

    fn directory(&self, topology: Topology) -> anyhow::Result<PkiDirectory> {
        let given = self.certificate_dir.clone();
        if let Some(file) = &self.kubeadm_config_file {
            let map = input::saved_config_map(file)?;
            let mut cluster = ClusterConfiguration::from_config_map(&map).map_err(Stop::failed)?;
            cluster.certificates_dir = given.unwrap_or(cluster.certificates_dir);
            return Ok(PkiDirectory::of(&cluster));
        }
        if topology == Topology::External {
            return Err(Stop::usage(
                "the paths of an external etcd's files stand in kubeadm-config; save it with \
                 `kubectl get configmap kubeadm-config -n kube-system -o json` and give \
                 --kubeadm-config-file",
            )
            .into());
        }
        Ok(PkiDirectory::stacked(
            given.unwrap_or_else(|| CERTIFICATES_DIR.into()),
        ))
    }
}

fn write(certs: &CertSet, directory: &PkiDirectory, force: bool) -> anyhow::Result<()> {
    let mode = if force {
        WriteMode::Force
    } else {
        WriteMode::Keep
    };
    let outcomes = directory.write(certs, mode).map_err(|error| {
        let way_out = match error {
            PkiError::Exists { .. } => "; give --force to replace them, or another directory",
            PkiError::Defects(_) => "; mend the files on a master and upload again",
            _ => "",
        };
        Stop::failed(format!("{error}{way_out}"))
    })?;
    let mut out = std::io::stdout().lock();
    for (path, outcome) in outcomes {
        let became = match outcome {
            FileOutcome::Written => "written",
            FileOutcome::Unchanged => "unchanged",
        };
        writeln!(out, "{became:9} {}", path.display())?;
    }
    for (entry, _) in certs.entries().filter(|(_, file)| file.is_none()) {
        if !entry.may_be_empty() {
            input::warn(&format!(
                "{entry} was not uploaded; copy it by hand before the join"
            ));
        }
    }
    Ok(())
}

//! `mainstay certs show`: what is in `kubeadm-certs`, and whether a join can use it.

use std::io::Write;
use std::path::{Path, PathBuf};

use bootstrap::cluster::{Cluster, Owner, owners};
use bootstrap::kubeadm::{
    CertificateKey, OwnerState, PkiDirectory, SealedCerts, Secret, short_human_duration,
};
use clap::Args;
use jiff::Timestamp;

use super::super::api;
use super::super::input;
use super::listing::Listing;
use super::source::SecretSource;
use crate::exit::Stop;

/// Show the uploaded certificates: which entries, for which kind of etcd, until when.
///
/// With the certificate key each entry is opened and checked: content, keys against certificates,
/// dates. Private keys are never shown. Fails if a join with them would.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  mainstay certs show --certificate-key-file certs.key\n  \
mainstay certs show --secret-file kubeadm-certs.yaml --certificate-key-file -")]
pub(super) struct Show {
    /// The certificate key, as printed by the upload; `-` for the standard input.
    #[arg(long, value_name = "FILE")]
    certificate_key_file: Option<PathBuf>,

    #[command(flatten)]
    source: SecretSource,
}

impl Show {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let key = self.certificate_key_file.as_deref();
        input::one_stdin(&[key, self.source.secret_file()])?;
        let key = key.map(input::certificate_key).transpose()?;
        match self.source.secret_file() {
            Some(file) => saved(file, key.as_ref()),
            None => api::block_on(self.stored(key.as_ref())),
        }
    }

    /// The Secret in the cluster.
    async fn stored(&self, key: Option<&CertificateKey>) -> anyhow::Result<()> {
        let cluster = self.source.connect()?;
        let secret = SecretSource::fetch(&cluster).await?;
        let now = Timestamp::now();
        let owners = owners(&cluster, &secret, now).await;
        let owners = owners.map_err(|error| api::failed(&error))?;
        warn_of_other_topology(&cluster, &secret).await?;
        let lines: Vec<_> = owners.iter().map(|owner| owner_line(owner, now)).collect();
        list(&secret, key, lines, now)
    }
}

/// A Secret in a file.
fn saved(file: &Path, key: Option<&CertificateKey>) -> anyhow::Result<()> {
    let secret = input::saved_secret(file)?;
    let owners = secret.metadata.owner_references.iter();
    let lines = owners.map(|owner| {
        let name = printable(&owner.name);
        format!("Owner {name}: not known (a saved Secret does not tell whether it is still there)")
    });
    list(&secret, key, lines.collect(), Timestamp::now())
}

/// Prints the list; fails if a join would.
fn list(
    secret: &Secret,
    key: Option<&CertificateKey>,
    mut owners: Vec<String>,
    now: Timestamp,
) -> anyhow::Result<()> {
    if owners.is_empty() {
        owners.push("No owner: it stays until somebody deletes it".to_owned());
    }
    let sealed = SealedCerts::from_secret(secret).map_err(Stop::failed)?;
    let opened = key.map(|key| sealed.open(key)).transpose();
    let opened = opened.map_err(Stop::failed)?;
    let listing = Listing::new(&sealed, opened.as_ref(), now);
    let page = listing.page(&owners.join("\n"));
    write!(std::io::stdout().lock(), "{page}")?;
    listing.verdict()
}

/// A joiner goes by the cluster's configuration, not by the Secret.
async fn warn_of_other_topology(cluster: &Cluster, secret: &Secret) -> anyhow::Result<()> {
    let config = api::config_if_readable(cluster).await?;
    let sealed = SealedCerts::from_secret(secret).map_err(Stop::failed)?;
    if let Some(config) = config {
        let expected = PkiDirectory::of(&config).topology();
        let found = sealed.topology();
        if found != expected {
            input::warn(&format!(
                "the Secret is of a cluster with {found}, but kubeadm-config says {expected}; a \
                 join would fail, so upload again"
            ));
        }
    }
    Ok(())
}

fn owner_line(owner: &Owner, now: Timestamp) -> String {
    const DOOMED: &str = "the Secret is about to be collected";
    let state = match owner.state {
        None => "not known (no right to look at it)".to_owned(),
        Some(OwnerState::Live(None)) => "never expires".to_owned(),
        Some(OwnerState::Live(Some(end))) => {
            let left = short_human_duration(end.at().duration_since(now));
            format!("lives until {end} ({left}), then the Secret is collected")
        }
        Some(OwnerState::Expired(end)) => format!("expired at {end}; {DOOMED}"),
        Some(OwnerState::Unreadable) => format!("has an unreadable expiration; {DOOMED}"),
        Some(OwnerState::Missing) => format!("missing; {DOOMED}"),
        Some(OwnerState::OtherUid) => {
            format!("gone, another object has its name (other UID); {DOOMED}")
        }
    };
    format!("Owner {}: {state}", printable(&owner.name))
}

/// A name from the cluster, fit for a terminal.
fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).collect()
}

//! `mainstay token create`: a new token, and the command that joins with it.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bootstrap::cluster::{
    Cluster, NewToken, TokenCallError, UploadError, create_token, kubeadm_config, server_version,
    upload_certs,
};
use bootstrap::kubeadm::{
    BootstrapToken, CaPin, CertSet, CertificateKey, DEFAULT_TOKEN_GROUP, JoinCommand, JoinRole,
    KubernetesVersion, OsRandom, TokenSecret, Usage,
};
use clap::Args;
use jiff::Timestamp;

use super::super::api::{self, ClusterOption};
use super::super::certs::CertificateFiles;
use super::super::input;
use crate::exit::{Exit, Stop};

/// How often another id is tried for a generated token. There are 2 × 10^9 ids.
const TOKEN_TRIES: usize = 3;

/// Make a bootstrap token and print it, or the command that joins with it.
///
/// With --control-plane the certificates of this master are uploaded too, and the printed command
/// joins a further master: it holds the certificate key.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  mainstay token create --ttl 2h --print-join-command\n  \
mainstay token create --print-join-command --control-plane")]
pub(super) struct Create {
    /// The token, as abcdef.0123456789abcdef; `-` reads it from the standard input [default: a
    /// new one].
    #[arg(value_name = "TOKEN")]
    token: Option<String>,

    /// How long the token lives; 0 for ever.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = api::lifetime)]
    ttl: Duration,

    /// What the token is good for, with commas between [default: signing,authentication].
    #[arg(long, value_name = "USAGE", value_delimiter = ',')]
    usages: Vec<Usage>,

    /// Groups of whoever logs in with it, with commas between [default:
    /// system:bootstrappers:kubeadm:default-node-token].
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    groups: Vec<String>,

    /// A description for people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Print the whole `kubeadm join` command instead of the token.
    #[arg(long)]
    print_join_command: bool,

    /// Upload the certificates as well and print the command for a further master.
    #[arg(long, requires = "print_join_command")]
    control_plane: bool,

    /// With --control-plane: how long the upload lives.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = api::lifetime)]
    certs_ttl: Duration,

    #[command(flatten)]
    files: CertificateFiles,

    #[command(flatten)]
    cluster: ClusterOption,
}

/// What a join command needs besides the token.
struct Join {
    address: String,
    pins: Vec<CaPin>,
    version: KubernetesVersion,
    handover: Option<Handover>,
}

/// What a join as master needs besides.
struct Handover {
    certs: CertSet,
    key: CertificateKey,
}

impl Create {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let given = self.token.as_deref().filter(|text| *text == "-");
        let stdin = given.map(Path::new);
        input::one_stdin(&[stdin, self.files.key_file()])?;
        if self.files.is_given() && !self.control_plane {
            return Err(Stop::usage(
                "--certificate-key-file and --certificate-dir are for --control-plane, which \
                 uploads the certificates; add it together with --print-join-command",
            )
            .into());
        }
        let token = self.given_token()?;
        // Everything that can be wrong without the cluster is found before it is asked.
        self.secret(BootstrapToken::generate(&mut OsRandom)?).to_secret().map_err(Stop::usage)?;
        api::block_on(self.create(token))
    }

    async fn create(&self, given: Option<BootstrapToken>) -> anyhow::Result<()> {
        let access = self.cluster.access()?;
        let (address, pins) = (access.join_address().to_owned(), access.pins());
        let cluster = api::connect(access)?;
        let join = if self.print_join_command {
            let pins = pins.map_err(Stop::failed)?;
            Some(self.join(&cluster, address, pins).await?)
        } else {
            None
        };
        let (secret, stored) = self.store(&cluster, given).await?;
        let line = match &join {
            None => secret.token.to_text(),
            Some(join) => {
                if let Some(handover) = &join.handover {
                    self.upload(&cluster, handover, &stored).await?;
                }
                join.line(&secret.token)
            }
        };
        Ok(writeln!(std::io::stdout().lock(), "{}", *line)?)
    }

    /// Learns and reads all that the join command needs; changes nothing.
    async fn join(
        &self,
        cluster: &Cluster,
        address: String,
        pins: Vec<CaPin>,
    ) -> anyhow::Result<Join> {
        let version = server_version(cluster).await;
        let version = version.map_err(|error| api::config_failed(&error))?;
        let handover = if self.control_plane { Some(self.handover(cluster).await?) } else { None };
        Ok(Join { address, pins, version, handover })
    }

    async fn handover(&self, cluster: &Cluster) -> anyhow::Result<Handover> {
        let key = self.files.key()?;
        super::super::certs::end_of_upload(self.certs_ttl)?;
        let config = kubeadm_config(cluster).await;
        let config = config.map_err(|error| api::config_failed(&error))?;
        let endpoint = config.as_ref().map(|config| config.control_plane_endpoint.is_some());
        if endpoint == Some(false) {
            return Err(Stop::failed(
                "the cluster has no controlPlaneEndpoint, so no further master can join; set it in \
                 kubeadm-config to the address of the balancer",
            )
            .into());
        }
        let certs = self.files.read(config.as_ref())?;
        Ok(Handover { certs, key })
    }

    /// Stores the token; with a generated one, another id is tried if it is taken.
    async fn store(
        &self,
        cluster: &Cluster,
        given: Option<BootstrapToken>,
    ) -> anyhow::Result<(TokenSecret, NewToken)> {
        let mut tries = 0;
        loop {
            let token = match &given {
                Some(token) => token.clone(),
                None => BootstrapToken::generate(&mut OsRandom)?,
            };
            let secret = self.secret(token);
            tries += 1;
            match create_token(cluster, &secret).await {
                Ok(stored) => return Ok((secret, stored)),
                Err(TokenCallError::Exists { .. }) if given.is_none() && tries < TOKEN_TRIES => {}
                Err(error) => return Err(not_created(&error).into()),
            }
        }
    }

    /// Uploads the certificates; takes the token back if that fails.
    async fn upload(
        &self,
        cluster: &Cluster,
        handover: &Handover,
        stored: &NewToken,
    ) -> anyhow::Result<()> {
        let end = super::super::certs::end_of_upload(self.certs_ttl)?;
        let Handover { certs, key } = handover;
        let stop = api::interrupt();
        let uploaded = upload_certs(cluster, certs, key, end, &mut OsRandom, stop).await;
        let error: UploadError = match uploaded {
            Ok(uploaded) => {
                input::tell(&format!(
                    "Uploaded the certificates to Secret \"kubeadm-certs\" in the \"kube-system\" \
                     Namespace until {}",
                    uploaded.expiration
                ));
                return Ok(());
            }
            Err(error) => error,
        };
        if stored.take_back(cluster).await.is_err() {
            input::warn("the new token could not be deleted again; see `mainstay token list`");
        }
        Err(api::upload_failed(&error).into())
    }

    fn given_token(&self) -> anyhow::Result<Option<BootstrapToken>> {
        let token = match self.token.as_deref() {
            None => return Ok(None),
            Some("-") => input::secret_text(Path::new("-"))?.trim().parse(),
            Some(text) => text.parse(),
        };
        Ok(Some(token.map_err(Stop::usage)?))
    }

    fn secret(&self, token: BootstrapToken) -> TokenSecret {
        let mut secret = TokenSecret::new(token, api::end_of(self.ttl, Timestamp::now()));
        secret.description = self.description.clone().unwrap_or_default();
        if !self.usages.is_empty() {
            secret.usages = self.usages.iter().cloned().collect();
        }
        // The usual group is for logging in; a token that cannot would be refused with it.
        if !self.groups.is_empty() {
            secret.groups.clone_from(&self.groups);
        } else if !secret.usages.contains(&Usage::AUTHENTICATION) {
            secret.groups.retain(|group| group != DEFAULT_TOKEN_GROUP);
        }
        secret
    }
}

impl Join {
    fn line(&self, token: &BootstrapToken) -> bootstrap::kubeadm::JoinLine {
        let role = match &self.handover {
            Some(handover) => JoinRole::ControlPlane(&handover.key),
            None => JoinRole::Worker,
        };
        JoinCommand { address: &self.address, token, pins: &self.pins, role }.render(&self.version)
    }
}

fn not_created(error: &TokenCallError) -> Stop {
    let exit = match error {
        TokenCallError::Api(error) => api::exit(error),
        TokenCallError::Exists { .. } => Exit::Failed,
        TokenCallError::Token(_) => Exit::Usage,
    };
    Stop::new(exit, error)
}

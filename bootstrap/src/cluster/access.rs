//! How to reach a cluster: which kubeconfig, and what it says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{Kubeconfig, KubeconfigError};

use crate::kubeadm::{CaPin, CaPinError};

/// The administrator's kubeconfig that kubeadm leaves on each master.
pub const ADMIN_CONF: &str = "/etc/kubernetes/admin.conf";

/// Where a kubeconfig may be, in the order in which they are looked at: the flag, the variable,
/// the home directory, and last the file that kubeadm leaves on a master.
#[derive(Debug, Clone, Default)]
pub struct KubeconfigFiles {
    /// `--kubeconfig`; the only one if it is given.
    pub flag: Option<PathBuf>,
    /// Value of `KUBECONFIG`: files with colons between, merged; those that do not exist are
    /// passed over, as by kubectl.
    pub environment: Option<OsString>,
    /// The home directory, for `.kube/config`; not looked at if `KUBECONFIG` names any file.
    pub home: Option<PathBuf>,
    /// Looked at if none of the others is there; usually [`ADMIN_CONF`].
    pub admin_conf: Option<PathBuf>,
}

impl KubeconfigFiles {
    /// The files to merge, at least one.
    ///
    /// # Errors
    /// [`AccessError::NoKubeconfig`] names all places that were looked at.
    pub fn find(&self) -> Result<Vec<PathBuf>, AccessError> {
        if let Some(file) = &self.flag {
            return Ok(vec![file.clone()]);
        }
        let mut usual = self.named_by_environment();
        if usual.is_empty() {
            let home = self.home.as_ref();
            usual.extend(home.map(|home| home.join(".kube").join("config")));
        }
        let last = self.admin_conf.clone().into_iter().collect();
        let there = |files: &[PathBuf]| -> Vec<PathBuf> {
            files.iter().filter(|file| file.exists()).cloned().collect()
        };
        for files in [&usual, &last] {
            let found = there(files);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        usual.extend(last);
        Err(AccessError::NoKubeconfig { tried: usual })
    }

    fn named_by_environment(&self) -> Vec<PathBuf> {
        let value = self.environment.clone().unwrap_or_default();
        std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect()
    }
}

/// A cluster as the current context of a kubeconfig names it, with credentials.
pub struct Access {
    config: Config,
    server: String,
}

impl Access {
    /// Reads and merges kubeconfigs. Proxies are not used: `HTTPS_PROXY` is passed over.
    ///
    /// # Errors
    /// [`AccessError`]; no message shows any of the text.
    pub fn load(files: &[PathBuf]) -> Result<Self, AccessError> {
        let mut merged = Kubeconfig::default();
        for file in files {
            let unusable = |error| AccessError::kubeconfig(file, &error);
            let next = Kubeconfig::read_from(file).map_err(unusable)?;
            merged = merged.merge(next).map_err(unusable)?;
        }
        let shown = files.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
        let wants_proxy = current_cluster(&merged).is_some_and(|it| it.proxy_url.is_some());
        if wants_proxy {
            return Err(AccessError::Proxy { file: shown.to_owned() });
        }
        let mut config =
            Config::try_from(merged).map_err(|error| AccessError::kubeconfig(shown, &error))?;
        config.proxy_url = None;
        // A repeated POST could find its own object; the callers say what may be tried again.
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        Ok(Self { config, server })
    }

    /// The URL of the apiserver, or of the balancer before it.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The server as kubeadm puts it on a join command: without `https://`.
    #[must_use]
    pub fn join_address(&self) -> &str {
        self.server.strip_prefix("https://").unwrap_or(&self.server)
    }

    /// The pins of the kubeconfig's CAs, in its order.
    ///
    /// # Errors
    /// [`AccessError`] if it names no CA, or a certificate cannot be read.
    pub fn pins(&self) -> Result<Vec<CaPin>, AccessError> {
        let certificates = self.config.root_cert.as_deref().unwrap_or_default();
        if certificates.is_empty() {
            return Err(AccessError::NoAuthority);
        }
        let pins = certificates.iter().map(|der| CaPin::of_certificate(der));
        Ok(pins.collect::<Result<_, _>>()?)
    }

    pub(super) fn into_config(self) -> Config {
        self.config
    }
}

/// The cluster of the current context.
fn current_cluster(config: &Kubeconfig) -> Option<&kube::config::Cluster> {
    let current = config.current_context.as_ref()?;
    let mut contexts = config.contexts.iter();
    let context = contexts.find(|named| named.name == *current)?;
    let name = &context.context.as_ref()?.cluster;
    let mut clusters = config.clusters.iter();
    clusters.find(|named| named.name == *name)?.cluster.as_ref()
}

/// Why there is no way to the cluster. Wrong input; give another kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// None of the usual places has one.
    #[error("there is no kubeconfig (looked at {}); give one with --kubeconfig", list(.tried))]
    NoKubeconfig {
        /// Where one was looked for.
        tried: Vec<PathBuf>,
    },
    /// A file that cannot be used.
    #[error("kubeconfig {}: {reason}", .file.display())]
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Proxies are not supported.
    #[error(
        "kubeconfig {}: proxy-url is not supported; use a kubeconfig that names the apiserver \
         directly", .file.display()
    )]
    Proxy {
        /// The file.
        file: PathBuf,
    },
    /// Certificate, key or other credentials are broken.
    #[error("the credentials of the kubeconfig cannot be used: {reason}")]
    Credentials {
        /// Why not, without any of them.
        reason: String,
    },
    /// Without a CA there is nothing to pin.
    #[error("the kubeconfig names no CA of the cluster, so there is no hash for a join command")]
    NoAuthority,
    /// The CA cannot be pinned.
    #[error("the CA of the kubeconfig: {0}")]
    Pin(#[from] CaPinError),
}

impl AccessError {
    fn kubeconfig(file: &Path, error: &KubeconfigError) -> Self {
        let reason = match error {
            // The parser's message may quote a secret.
            KubeconfigError::Parse(error) => match error.location() {
                Some(at) => {
                    format!("not a kubeconfig (line {}, column {})", at.line(), at.column())
                }
                None => "not a kubeconfig".to_owned(),
            },
            KubeconfigError::ReadConfig(source, _) => format!("cannot read it: {source}"),
            KubeconfigError::LoadContext(_) | KubeconfigError::CurrentContextNotSet => {
                "it has no context of the name that current-context gives".to_owned()
            }
            KubeconfigError::LoadClusterOfContext(_) => {
                "it has no cluster of the name that its context gives".to_owned()
            }
            KubeconfigError::ParseCertificates(_) => {
                "certificate-authority holds no PEM certificates".to_owned()
            }
            other => other.to_string(),
        };
        Self::Kubeconfig { file: file.to_owned(), reason }
    }

    pub(super) fn credentials(error: &kube::Error) -> Self {
        let reason = match error {
            // Messages about PEM may quote a line of it.
            kube::Error::RustlsTls(_) => {
                "client certificate or key are no PEM of a certificate and its key".to_owned()
            }
            // Messages about a login command may quote what it printed.
            kube::Error::Auth(_) => {
                "its command, provider or file for logging in does not work".to_owned()
            }
            other => other.to_string(),
        };
        Self::Credentials { reason }
    }
}

/// Paths for a message.
fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

//! How to reach a cluster: which kubeconfig, and what it says.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::files;
use http::Uri;
use kube::Config;
use kube::config::{Kubeconfig, KubeconfigError};

use crate::kubeadm::{CaPin, CaPinError};

/// The administrator's kubeconfig that kubeadm leaves on each master.
pub const ADMIN_CONF: &str = "/etc/kubernetes/admin.conf";

/// Stands where the library would look for a proxy of the environment.
const NO_PROXY: &str = "http://127.0.0.1:1";

/// What messages call a kubeconfig that came over the network.
const HANDED: &str = "(handed over by a master)";

/// Longest kubeconfig that is taken from the network; usual ones have 6 KiB.
const HANDED_BYTES_MAX: usize = 256 << 10;

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
            files::check_given(file).map_err(|error| AccessError::unreadable(file, &error))?;
            let next = Kubeconfig::read_from(file).map_err(unusable)?;
            merged = merged.merge(next).map_err(unusable)?;
        }
        let shown = files.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
        Self::of(merged, shown)
    }

    /// Reads a kubeconfig that somebody else wrote. It must stand alone: one that names files of this
    /// machine, a command, a login provider or a proxy, or that skips TLS, is refused.
    ///
    /// # Errors
    /// [`AccessError`]; no message shows any of the text.
    pub fn handed(text: &str) -> Result<Self, AccessError> {
        let shown = Path::new(HANDED);
        if text.len() > HANDED_BYTES_MAX {
            let reason = "it is longer than 256 KiB".to_owned();
            return Err(AccessError::Kubeconfig { file: shown.to_owned(), reason });
        }
        let config =
            Kubeconfig::from_yaml(text).map_err(|error| AccessError::kubeconfig(shown, &error))?;
        match reaches_out(&config) {
            Some(what) => {
                let reason = format!("{what} is not accepted from a master");
                Err(AccessError::Kubeconfig { file: shown.to_owned(), reason })
            }
            None => Self::of(config, shown),
        }
    }

    /// A server that is asked without credentials and whose certificate is not verified: what it
    /// says must be checked in another way.
    ///
    /// # Errors
    /// [`AccessError`] if the address cannot stand in a URL.
    pub fn unverified(addr: SocketAddr) -> Result<Self, AccessError> {
        let server = format!("https://{addr}");
        let url = server.parse().map_err(|_| AccessError::address(&server))?;
        let mut config = Config::new(url);
        config.accept_invalid_certs = true;
        config.root_cert = Some(Vec::new());
        config.default_retry = false;
        Ok(Self { config, server })
    }

    /// A server that is asked without credentials and whose certificate one of these must have
    /// signed, as DER.
    ///
    /// # Errors
    /// [`AccessError`] if the address cannot stand in a URL.
    pub fn verified(addr: SocketAddr, authorities: Vec<Vec<u8>>) -> Result<Self, AccessError> {
        let mut access = Self::unverified(addr)?;
        access.config.accept_invalid_certs = false;
        access.config.root_cert = Some(authorities);
        Ok(access)
    }

    fn of(mut merged: Kubeconfig, shown: &Path) -> Result<Self, AccessError> {
        let wants_proxy = current_cluster(&merged).is_some_and(|it| it.proxy_url.is_some());
        if wants_proxy {
            return Err(AccessError::Proxy { file: shown.to_owned() });
        }
        // Ours go before those of the environment, which may be no URL; none of them is used.
        for cluster in merged.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.proxy_url = Some(NO_PROXY.to_owned());
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

    /// The same server, reached through another address; TLS still wants the server's own name.
    #[must_use]
    pub fn through(mut self, entrance: SocketAddr) -> Self {
        let url = &self.config.cluster_url;
        let host = url.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mut parts = url.clone().into_parts();
        parts.authority = entrance.to_string().parse().ok();
        if let Ok(url) = Uri::from_parts(parts) {
            self.config.cluster_url = url;
            self.config.tls_server_name.get_or_insert(name);
        }
        self
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

/// The first thing by which a kubeconfig would make this machine read a file, run a command, ask
/// somebody else, or believe any certificate.
fn reaches_out(config: &Kubeconfig) -> Option<&'static str> {
    let clusters = config.clusters.iter().filter_map(|named| named.cluster.as_ref());
    for cluster in clusters {
        let found = [
            (cluster.certificate_authority.is_some(), "certificate-authority"),
            (cluster.insecure_skip_tls_verify == Some(true), "insecure-skip-tls-verify"),
            (cluster.certificate_authority_data.is_none(), "a cluster without CA"),
        ];
        if let Some((_, what)) = found.into_iter().find(|(found, _)| *found) {
            return Some(what);
        }
    }
    let users = config.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    for user in users {
        let found = [
            (user.exec.is_some(), "exec"),
            (user.auth_provider.is_some(), "auth-provider"),
            (user.token_file.is_some(), "tokenFile"),
            (user.client_certificate.is_some(), "client-certificate"),
            (user.client_key.is_some(), "client-key"),
        ];
        if let Some((_, what)) = found.into_iter().find(|(found, _)| *found) {
            return Some(what);
        }
    }
    None
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
    pub(crate) fn unreadable(file: &Path, error: &io::Error) -> Self {
        Self::Kubeconfig { file: file.to_owned(), reason: format!("cannot read it: {error}") }
    }

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

    fn address(server: &str) -> Self {
        Self::Credentials { reason: format!("{server} is no URL") }
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

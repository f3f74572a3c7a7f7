//! Which kubeadm knows what: configuration formats and flags by version.

use std::fmt;
use std::str::FromStr;

/// A version of kubeadm or Kubernetes, such as `v1.20.2`, `1.14` or `v1.36.0-rc.1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesVersion {
    /// 1.
    pub major: u32,
    /// The release line, such as 20.
    pub minor: u32,
    /// The release within the line and what follows it, such as `2` or `0-rc.1`; `None` if only the
    /// line is known.
    pub patch: Option<String>,
}

impl KubernetesVersion {
    /// Whether this is release line 1.`minor` or later.
    #[must_use]
    pub fn is_at_least(&self, minor: u32) -> bool {
        (self.major, self.minor) >= (1, minor)
    }

    /// The flag of `kubeadm init` that uploads the certificates. It was experimental in 1.14.
    #[must_use]
    pub fn upload_certs_flag(&self) -> &'static str {
        if self.is_at_least(15) { "--upload-certs" } else { "--experimental-upload-certs" }
    }

    /// The flag of `kubeadm init` that keeps the key of the certificates off the screen. 1.14 may not
    /// know it yet.
    #[must_use]
    pub fn silent_key_flag(&self) -> Option<&'static str> {
        self.is_at_least(15).then_some("--skip-certificate-key-print")
    }

    /// The flag of `kubeadm join` that makes a master. It was experimental in 1.14.
    #[must_use]
    pub fn control_plane_flag(&self) -> &'static str {
        if self.is_at_least(15) { "--control-plane" } else { "--experimental-control-plane" }
    }

    /// The newest configuration format that this kubeadm reads.
    ///
    /// # Errors
    /// [`VersionError::TooOld`] before 1.14, where certificates could not be uploaded yet.
    pub fn config_api(&self) -> Result<ConfigApi, VersionError> {
        match (self.major, self.minor) {
            (0, _) | (1, ..14) => Err(VersionError::TooOld),
            (1, 14) => Ok(ConfigApi::V1beta1),
            (1, 15..22) => Ok(ConfigApi::V1beta2),
            (1, 22..31) => Ok(ConfigApi::V1beta3),
            _ => Ok(ConfigApi::V1beta4),
        }
    }
}

impl FromStr for KubernetesVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let mut parts = text.strip_prefix('v').unwrap_or(text).splitn(3, '.');
        let mut number = || {
            let digits = parts.next()?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let (major, minor) = number().zip(number()).ok_or(VersionError::Shape)?;
        let patch = parts.next().map(str::to_owned);
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        let sound = |patch: &String| {
            patch.starts_with(|c: char| c.is_ascii_digit()) && patch.chars().all(known)
        };
        if !patch.as_ref().is_none_or(sound) {
            return Err(VersionError::Shape);
        }
        Ok(Self { major, minor, patch })
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.major, self.minor)?;
        self.patch.as_ref().map_or(Ok(()), |patch| write!(f, ".{patch}"))
    }
}

/// A format of kubeadm's configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigApi {
    /// kubeadm 1.13 to 1.21; knows no certificate key.
    V1beta1,
    /// kubeadm 1.15 to 1.26.
    V1beta2,
    /// kubeadm 1.22 and later.
    V1beta3,
    /// kubeadm 1.31 and later: extra arguments are lists, timeouts have a block of their own.
    V1beta4,
}

impl ConfigApi {
    /// The `apiVersion` of such a document.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1beta1 => "kubeadm.k8s.io/v1beta1",
            Self::V1beta2 => "kubeadm.k8s.io/v1beta2",
            Self::V1beta3 => "kubeadm.k8s.io/v1beta3",
            Self::V1beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }

    /// The format with this `apiVersion`, or `None` for one that is not known.
    #[must_use]
    pub fn from_api_version(text: &str) -> Option<Self> {
        [Self::V1beta1, Self::V1beta2, Self::V1beta3, Self::V1beta4]
            .into_iter()
            .find(|api| api.api_version() == text)
    }
}

/// Why a version is of no use. Wrong input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not of the form of a version.
    #[error("a version has the form v1.20.2 or 1.20")]
    Shape,
    /// Older than what this program knows.
    #[error("kubeadm before 1.14 cannot upload certificates and is not supported")]
    TooOld,
}

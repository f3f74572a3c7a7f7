//! What one probe saw: the closed list of answers that an apiserver, its host or the network can
//! give.

use std::fmt;

/// What one probe saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is ready: 200, or a TCP connect where that is the whole probe.
    Ready,
    /// It answered, but may not tell us whether it is ready (401, 403, 404).
    Alive,
    /// It is ready or alive, but whether it is ours cannot be told yet: the cluster's CA is not
    /// known.
    Unidentified,
    /// It answered that it is not ready (500).
    NotReady,
    /// Its certificate is of our cluster and for this address, but has ended or is not valid yet, by
    /// our clock.
    Outdated,
    /// TLS answered, HTTP did not in time.
    Slow,
    /// TCP connected, TLS did not answer in time.
    Silent,
    /// The connection was refused or reset, or there is no way to the host.
    Refused,
    /// TCP did not connect in time.
    ConnectTimeout,
    /// Its certificate is not of our cluster, or not for this address.
    WrongIdentity,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 10] = [
        Self::Ready,
        Self::Alive,
        Self::Unidentified,
        Self::NotReady,
        Self::Outdated,
        Self::Slow,
        Self::Silent,
        Self::Refused,
        Self::ConnectTimeout,
        Self::WrongIdentity,
    ];

    /// Whether the backend may serve.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Ready | Self::Alive)
    }

    /// Whether TLS answered, so that the process runs.
    #[must_use]
    pub fn answered(self) -> bool {
        match self {
            Self::Ready
            | Self::Alive
            | Self::Unidentified
            | Self::NotReady
            | Self::Outdated
            | Self::Slow => true,
            Self::Silent | Self::Refused | Self::ConnectTimeout | Self::WrongIdentity => false,
        }
    }

    /// As metrics name it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Alive => "alive",
            Self::Unidentified => "unidentified",
            Self::NotReady => "not_ready",
            Self::Outdated => "outdated",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::WrongIdentity => "wrong_identity",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "it answered that it is ready",
            Self::Alive => "it answered, but may not say whether it is ready (401, 403 or 404)",
            Self::Unidentified => "it answered, but the cluster's CA is not known yet",
            Self::NotReady => "/readyz answered that it is not ready",
            Self::Outdated => "its certificate has ended or is not valid yet, by our clock",
            Self::Slow => "TLS answered, HTTP did not in time",
            Self::Silent => "TCP connected, TLS did not answer in time",
            Self::Refused => "the connection was refused, reset or unreachable",
            Self::ConnectTimeout => "TCP did not connect in time",
            Self::WrongIdentity => "its certificate is not of this cluster or not for this address",
        })
    }
}

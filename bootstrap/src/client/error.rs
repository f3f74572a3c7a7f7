//! Why a coordinator gave no answer, as sentences for the operator of a master.

use std::io::ErrorKind;
use std::time::Duration;

use http::StatusCode;

use crate::kubeadm::CaPin;
use crate::ticket::CoordinatorAddr;

/// Most of a coordinator's own words that is shown.
const SAID_MAX: usize = 400;

/// What went wrong at a coordinator. Try again if [`ClientError::may_work_later`]; else a person
/// has to act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{coordinator}: {failure}")]
pub struct ClientError {
    /// Which coordinator.
    pub coordinator: CoordinatorAddr,
    /// What.
    pub failure: Failure,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Its name has no address.
    #[error("the name of the coordinator cannot be resolved ({reason}); try its IP address")]
    Name {
        /// The resolver's words.
        reason: String,
    },
    /// Nobody listens.
    #[error(
        "connection refused; does `mainstay serve` run there, and is this the address of its join \
         API (port 6445 unless configured otherwise)?"
    )]
    NobodyListens,
    /// No way to the host.
    #[error("no way to the coordinator ({reason}); is a firewall or a route missing?")]
    NoRoute {
        /// The system's words.
        reason: String,
    },
    /// No answer in time.
    #[error("no answer within {} s; is a firewall in between?", .limit.as_secs())]
    Silent {
        /// How long it was waited for.
        limit: Duration,
    },
    /// Somebody else answered, or the coordinator has a new CA.
    #[error(
        "this is not the coordinator of the ticket: {}; copy the ticket again, and if it is right, \
         somebody stands in between", offered_words(.offered)
    )]
    WrongPin {
        /// Pins of the CAs that it showed.
        offered: Vec<CaPin>,
    },
    /// Its certificate is not one of the CA that we know.
    #[error(
        "the certificate of the coordinator cannot be verified: {reason}; if it was set up anew, \
         use a new ticket, and check the clock of this machine"
    )]
    Certificate {
        /// Why.
        reason: String,
    },
    /// The TLS handshake failed otherwise.
    #[error("no TLS connection: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// It does not believe our certificate.
    #[error("the coordinator does not accept the certificate of this member: {reason}")]
    CertificateRefused {
        /// Its words.
        reason: String,
    },
    /// It answered that it will not.
    #[error("{}", refusal_words(*.status, .said))]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Its words; may be empty.
        said: String,
        /// When it may be asked again.
        retry_after: Option<Duration>,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection ended before the answer was there: {reason}")]
    Broken {
        /// Why.
        reason: String,
    },
    /// The answer is none of ours.
    #[error("the answer to {path} cannot be read: {reason}")]
    Unreadable {
        /// Of the call.
        path: &'static str,
        /// What is wrong, without the content.
        reason: &'static str,
    },
    /// Our own certificate or CA cannot be used.
    #[error("{what} in the state directory cannot be used: {reason}")]
    Identity {
        /// Which part.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl Failure {
    /// A connection that could not be made.
    pub(super) fn connect(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::NobodyListens,
            _ => Self::NoRoute { reason: error.to_string() },
        }
    }

    /// An answer that is no success; `said` comes from the network.
    pub(super) fn refused(status: StatusCode, said: &str, retry_after: Option<Duration>) -> Self {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let said = said.chars().take(SAID_MAX).map(plain).collect::<String>().trim().to_owned();
        Self::Refused { status, said, retry_after }
    }
}

impl ClientError {
    /// Whether the same call may work later without anybody's help.
    #[must_use]
    pub fn may_work_later(&self) -> bool {
        match &self.failure {
            Failure::Name { .. }
            | Failure::NobodyListens
            | Failure::NoRoute { .. }
            | Failure::Silent { .. }
            | Failure::Tls { .. }
            | Failure::Broken { .. } => true,
            Failure::Refused { status, .. } => {
                *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
            }
            Failure::WrongPin { .. }
            | Failure::Certificate { .. }
            | Failure::CertificateRefused { .. }
            | Failure::Unreadable { .. }
            | Failure::Identity { .. } => false,
        }
    }

    /// Whether the coordinator does not know us: no token, a wrong one, or no member any more.
    #[must_use]
    pub fn is_unknown_to_it(&self) -> bool {
        matches!(self.failure, Failure::CertificateRefused { .. })
            || self.status() == Some(StatusCode::UNAUTHORIZED)
    }

    /// Whether it knows us and does not permit it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.is_unknown_to_it()
            || self.status() == Some(StatusCode::FORBIDDEN)
            || matches!(self.failure, Failure::WrongPin { .. } | Failure::Certificate { .. })
    }

    /// Status of the refusal, if it was one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match &self.failure {
            Failure::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// When it wants to be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.failure {
            Failure::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn offered_words(offered: &[CaPin]) -> String {
    if offered.is_empty() {
        return "it shows no CA at all".to_owned();
    }
    let pins: Vec<_> = offered.iter().map(ToString::to_string).collect();
    format!("the ticket does not name its CA {}", pins.join(", "))
}

/// The coordinator's own words where it has some, else what the status means.
fn refusal_words(status: StatusCode, said: &str) -> String {
    let meant = match status {
        StatusCode::UNAUTHORIZED => {
            "the token is wrong, used up, revoked or has ended; make a new ticket with `mainstay \
             ticket create` on the balancer"
        }
        StatusCode::FORBIDDEN => "this is not permitted",
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            "the coordinator does not know this call; is it an older version of mainstay?"
        }
        StatusCode::CONFLICT => "this does not fit what the coordinator knows",
        StatusCode::TOO_MANY_REQUESTS => "too many tries; wait a little",
        status if status.is_server_error() => "the coordinator has trouble of its own; see its log",
        _ => "the coordinator refuses",
    };
    if said.is_empty() { format!("{meant} ({})", status.as_u16()) } else { said.to_owned() }
}

//! Why a call to the API failed, in words for the operator.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

/// Longest message of a server that is shown.
const MESSAGE_CHARS_MAX: usize = 400;

/// Why a call failed. [`ApiError::may_work_later`] tells whether to try again,
/// [`ApiError::is_denied`] whether other credentials are needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The apiserver said no.
    #[error("{}{}", .status.message, .status.way_out(.server))]
    Status {
        /// The URL of the apiserver.
        server: String,
        /// What it said.
        status: ApiStatus,
    },
    /// No connection, or it broke.
    #[error(
        "cannot reach the apiserver at {server}: {reason}; is it running, and is its address right?"
    )]
    Unreachable {
        /// The URL of the apiserver.
        server: String,
        /// The innermost cause.
        reason: String,
        /// Whether there was a connection, so that what was asked may have been done nevertheless.
        connected: bool,
    },
    /// No answer in time; what was asked may have been done nevertheless.
    #[error("the apiserver at {server} did not answer within {}s; try again", .limit.as_secs())]
    Timeout {
        /// The URL of the apiserver.
        server: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The server's certificate is not to be trusted, or it refuses ours.
    #[error(
        "no trusted connection to the apiserver at {server}: {reason}; the kubeconfig must name the \
         CA of this cluster and an address that the apiserver's certificate is valid for"
    )]
    Untrusted {
        /// The URL of the apiserver.
        server: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// No credentials could be had for the call.
    #[error(
        "the kubeconfig's command, provider or file for logging in does not work; see what `kubectl \
         get nodes` says"
    )]
    NoLogin,
    /// The answer is not what the API promises.
    #[error("{server} gave an answer to {path} that cannot be read; is it a kube-apiserver?")]
    Unreadable {
        /// The URL of the server.
        server: String,
        /// What was asked for.
        path: String,
    },
}

impl ApiError {
    /// The error for a request that was not answered.
    pub(super) fn of_request(server: &str, error: &kube::Error) -> Self {
        match error {
            // The message may quote what a login command printed.
            kube::Error::Auth(_) => Self::NoLogin,
            other => Self::of(server, other),
        }
    }

    /// The error for a failed exchange.
    pub(super) fn of(server: &str, error: &(dyn Error + 'static)) -> Self {
        let server = server.to_owned();
        let Cause { reason, tls, connected } = innermost(error);
        if tls {
            Self::Untrusted { server, reason }
        } else {
            Self::Unreachable { server, reason, connected }
        }
    }

    /// What the apiserver said, if it said anything.
    #[must_use]
    pub fn status(&self) -> Option<&ApiStatus> {
        match self {
            Self::Status { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Whether the same call may succeed after a while.
    #[must_use]
    pub fn may_work_later(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Status { status, .. } => {
                status.is_conflict() || matches!(status.code, 429 | 500..=599)
            }
            _ => false,
        }
    }

    /// Whether the call may have been carried out although it failed.
    #[must_use]
    pub fn may_have_been_done(&self) -> bool {
        match self {
            Self::Unreachable { connected, .. } => *connected,
            Self::Timeout { .. } | Self::Unreadable { .. } => true,
            _ => false,
        }
    }

    /// Whether these credentials are not accepted or not enough.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.status(), Some(ApiStatus { code: 401 | 403, .. }))
    }
}

/// A failed answer: HTTP code, and reason and message of the `Status` object that comes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ApiStatus {
    /// HTTP code.
    #[serde(default)]
    pub code: u16,
    /// One word, such as `AlreadyExists`; empty if the answer was no `Status`.
    #[serde(default)]
    pub reason: String,
    /// A sentence; without control characters and cut.
    #[serde(default)]
    pub message: String,
}

impl ApiStatus {
    /// Reads an answer; proxies and balancers in between answer without a `Status`.
    pub(super) fn read(code: StatusCode, content: &[u8]) -> Self {
        let mut status: Self = serde_json::from_slice(content).unwrap_or_default();
        status.code = code.as_u16();
        if status.message.is_empty() {
            status.message = format!("the answer was {code}");
        }
        status.message = clean(&status.message);
        status
    }

    /// Whether there is no such object. A server that knows no such path at all says 404 as well,
    /// but without this reason.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code == 404 && self.reason == "NotFound"
    }

    /// Whether an object of this name is there already.
    #[must_use]
    pub fn already_exists(&self) -> bool {
        self.code == 409 && self.reason == "AlreadyExists"
    }

    /// Whether somebody else changed the object at the same time.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code == 409 && !self.already_exists()
    }

    /// What to do about it, as the end of a sentence.
    fn way_out(&self, server: &str) -> String {
        match self.code {
            401 => format!(
                " (401 from {server}): the credentials are not accepted; a client certificate may \
                 have expired, `kubeadm certs renew admin.conf` on a master makes a new one"
            ),
            403 => "; use the kubeconfig of an administrator, such as /etc/kubernetes/admin.conf \
                    of a master"
                .to_owned(),
            404 if self.reason.is_empty() => {
                format!("; is {server} the address of a kube-apiserver?")
            }
            409 if self.is_conflict() => {
                "; somebody else changed it at the same time, try again".to_owned()
            }
            429 | 500..=599 => format!(" ({} from {server}); try again", self.code),
            _ => String::new(),
        }
    }
}

impl fmt::Display for ApiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A server's text, fit for a terminal.
fn clean(message: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    message.chars().map(printable).take(MESSAGE_CHARS_MAX).collect()
}

/// What the causes of an error tell.
struct Cause {
    /// The text of the innermost one.
    reason: String,
    /// Whether TLS is among them.
    tls: bool,
    /// Whether the connection stood before.
    connected: bool,
}

fn innermost(error: &(dyn Error + 'static)) -> Cause {
    let mut current = error;
    let mut tls = false;
    let mut connected = true;
    loop {
        tls |= current.is::<rustls::Error>();
        let client = current.downcast_ref::<hyper_util::client::legacy::Error>();
        connected &= !client.is_some_and(hyper_util::client::legacy::Error::is_connect);
        // An `io::Error` passes over the error that it wraps when asked for its source.
        let wrapped = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static));
        match wrapped.or_else(|| current.source()) {
            Some(next) if !tls => current = next,
            _ => return Cause { reason: clean(&current.to_string()), tls, connected },
        }
    }
}

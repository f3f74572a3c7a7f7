//! Looks at this host and at the masters, and says what would go wrong and how to mend it.
//!
//! What is seen is gathered at the edges ([`host`], [`ports`], [`masters`]); what it means is decided in
//! functions that take the facts and touch nothing.

mod certificate;
mod host;
mod masters;
mod ports;

use common::config::Config;
use serde::Serialize;

pub(crate) use masters::Endpoint;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grade {
    /// As it should be.
    Ok,
    /// It works, but will not always, or not as well as it could.
    Warn,
    /// It does not work.
    Fail,
}

impl Grade {
    /// As the table shows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: String,
    pub(crate) grade: Grade,
    /// What was seen.
    pub(crate) found: String,
    /// What to do; empty if nothing is.
    pub(crate) fix: String,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), grade: Grade::Ok, found: found.into(), fix: String::new() }
    }

    fn warn(check: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: check.into(), grade: Grade::Warn, found: found.into(), fix: fix.into() }
    }

    fn fail(check: impl Into<String>, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: check.into(), grade: Grade::Fail, found: found.into(), fix: fix.into() }
    }
}

/// Looks at everything, the host first.
pub(crate) fn examine(
    config: &Config,
    endpoint: Option<&Endpoint>,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = ports::examine(config);
    findings.extend(host::examine(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    findings.extend(runtime.block_on(masters::examine(config, endpoint)));
    Ok(findings)
}

//! `mainstay token list`: the tokens of the cluster, as kubeadm lists them.

use std::io::Write;

use bootstrap::cluster::list_tokens;
use bootstrap::kubeadm::{Expiration, TokenSecret, token_table};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;
use zeroize::Zeroizing;

use super::super::api::{self, ClusterOption};
use super::super::input;

/// List the bootstrap tokens, those that only time an upload included.
///
/// The columns are kubeadm's, and so is the JSON: one object after the other. Whole tokens are
/// shown.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mainstay token list -o json | jq -r .token")]
pub(super) struct ListTokens {
    /// A table for people or JSON for machines.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,

    #[command(flatten)]
    cluster: ClusterOption,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Table,
    Json,
}

impl ListTokens {
    pub(super) fn run(self) -> anyhow::Result<()> {
        api::block_on(self.list())
    }

    async fn list(&self) -> anyhow::Result<()> {
        let cluster = self.cluster.connect()?;
        let found = list_tokens(&cluster).await;
        let found = found.map_err(|error| api::failed(&error))?;
        for error in &found.unreadable {
            input::warn(&format!("left out: {error}"));
        }
        let text = match self.output {
            Output::Table => token_table(&found.tokens, Timestamp::now()),
            Output::Json => json(&found.tokens)?,
        };
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }
}

/// kubeadm's `output.kubeadm.k8s.io` object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    kind: &'static str,
    api_version: &'static str,
    token: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    usages: Vec<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
}

/// One object for each token, indented by four as kubeadm does.
fn json(tokens: &[TokenSecret]) -> serde_json::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(Vec::new());
    for secret in tokens {
        let token = secret.token.to_text();
        let row = Row {
            kind: "BootstrapToken",
            api_version: "output.kubeadm.k8s.io/v1alpha3",
            token: &token,
            description: &secret.description,
            expires: secret.expiration.map(|end| Expiration::utc(end.at()).to_string()),
            usages: secret.usages.iter().map(ToString::to_string).collect(),
            groups: &secret.groups,
        };
        let layout = PrettyFormatter::with_indent(b"    ");
        row.serialize(&mut Serializer::with_formatter(&mut *text, layout))?;
        text.push(b'\n');
    }
    // JSON is always text.
    Ok(Zeroizing::new(String::from_utf8_lossy(&text).into_owned()))
}
